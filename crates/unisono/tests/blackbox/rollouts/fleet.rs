//! A fleet that reports over HTTP and does what it is told.

use std::collections::{BTreeMap, BTreeSet};

use unisono_client::{Basis, Client, Entity, PageRequest, TargetQuery};
use unisono_model::rollout::{
    Done, Instruction, Report, RolloutState, RolloutView, Said, TargetView, VerbName, VerbRequest, Version, read_policy,
};

use crate::harness::{Server, eventually};

/// Everything at once, and proven at once.
pub(crate) const QUICK: &str = r#"{"batch": "100%", "health": {"healthyForSeconds": 0, "deadlineSeconds": 60}}"#;

/// Targets with what each of them runs.
pub(crate) struct Fleet {
    pub(crate) entity: Entity,
    pub(crate) runs: BTreeMap<String, String>,
    /// Targets that say nothing any more.
    pub(crate) dead: BTreeSet<String>,
}

impl Fleet {
    /// Targets `t0`, `t1`, … of the entity `app`, which run v1, the last known good version, under this policy.
    pub(crate) async fn settled(server: &Server, targets: usize, policy: &str) -> Self {
        let mut fleet = Self::new(&server.client(), "app", targets);
        fleet.report().await;
        fleet.set_policy(QUICK).await;
        fleet.set_version("v1").await;
        fleet.in_state(RolloutState::Succeeded).await;
        fleet.set_policy(policy).await;
        fleet
    }

    /// The same, of which nothing has been reported.
    pub(crate) fn new(client: &Client, entity: &str, targets: usize) -> Self {
        Self {
            entity: client.entity(entity),
            runs: (0..targets)
                .map(|number| (format!("t{number}"), "v1".to_owned()))
                .collect(),
            dead: BTreeSet::new(),
        }
    }

    pub(crate) async fn set_policy(&self, policy: &str) -> Done {
        let policy = read_policy(policy).unwrap();
        self.entity.set_policy(&policy, None, &Basis::default()).await.unwrap()
    }

    pub(crate) async fn set_version(&self, version: &str) -> Done {
        let request = VerbRequest {
            version: Some(Version::parse(version).unwrap()),
            ..VerbRequest::default()
        };
        self.entity.set_version(&request, &Basis::default()).await.unwrap()
    }

    pub(crate) async fn act(&self, verb: VerbName) -> Done {
        self.entity
            .act(verb, &VerbRequest::default(), &Basis::default())
            .await
            .unwrap()
    }

    /// Those that live say what they run and that they are well; what each should do.
    pub(crate) async fn report(&mut self) -> Vec<Instruction> {
        let alive = self.runs.iter().filter(|(name, _)| !self.dead.contains(*name));
        let reports: Vec<Report<'_>> = alive
            .map(|(name, version)| Report {
                name: name.into(),
                version: Some(version.into()),
                health: Some(Said::Healthy),
                ..Report::default()
            })
            .collect();
        self.entity.report(&reports).await.unwrap()
    }

    /// They report, and take what they are told. How many changed.
    pub(crate) async fn obey(&mut self) -> usize {
        let told = self.report().await;
        let mut changed = 0;
        for instruction in told.into_iter().filter(|it| it.change) {
            let version = instruction.version.unwrap().to_string();
            self.runs.insert(instruction.name.to_string(), version);
            changed += 1;
        }
        changed
    }

    pub(crate) async fn rollout(&self) -> RolloutView {
        self.entity.rollout().await.unwrap()
    }

    /// Waits until the rollout stands like this.
    pub(crate) async fn in_state(&self, state: RolloutState) -> RolloutView {
        eventually(&format!("the rollout is {state}"), || async {
            let view = self.rollout().await;
            (view.summary.state == state).then_some(view)
        })
        .await
    }

    /// They report and obey until the rollout stands like this.
    pub(crate) async fn until(&mut self, state: RolloutState) -> RolloutView {
        for _ in 0..2_000 {
            self.obey().await;
            let view = self.rollout().await;
            if view.summary.state == state {
                return view;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("not {state}: {:?}", self.rollout().await.reasons);
    }

    pub(crate) async fn targets(&self) -> Vec<TargetView> {
        let mut targets = Vec::new();
        let mut page = PageRequest::default();
        loop {
            let found = self.entity.targets(&TargetQuery::default(), &page).await.unwrap();
            targets.extend(found.items);
            page.page_token = found.next_page_token;
            if page.page_token.is_none() {
                return targets;
            }
        }
    }
}
