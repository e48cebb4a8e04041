//! A fleet in a partition without a node: its targets report, time passes, people act.

use std::collections::BTreeMap;
use std::sync::Arc;

use unisono_engine::rollout::{By, Fleet, RolloutCommand, RolloutRejection, RolloutReply, TargetFilter, Verb};
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::rollout::{
    Answer, CallView, Done, EntityName, Instruction, Phase, Policy, Report, Reports, RolloutState, RolloutView, Said,
    TargetId, TargetView, Version, WhyView, read_policy,
};

use crate::documents::space;
use crate::sim::Sim;

pub(crate) struct World {
    pub(crate) sim: Sim,
}

pub(crate) fn entity() -> EntityName {
    EntityName::parse("app").unwrap()
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

pub(crate) fn target(name: &str) -> TargetId {
    TargetId::parse("", name).unwrap()
}

pub(crate) fn policy(json: &str) -> Policy {
    read_policy(json).unwrap()
}

pub(crate) fn rejected(rejection: Rejection) -> RolloutRejection {
    match rejection {
        Rejection::Rollout(rejection) => rejection,
        other => panic!("{other}"),
    }
}

/// A report of a target without a group.
pub(crate) fn says<'a>(name: &'a str, version: &'a str, said: Said) -> Report<'a> {
    Report {
        name: name.into(),
        version: Some(version.into()),
        health: Some(said),
        ..Report::default()
    }
}

pub(crate) fn labelled<'a>(name: &'a str, version: &'a str, labels: &[(&str, &str)]) -> Report<'a> {
    let pairs = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Report {
        labels: Some(pairs.collect()),
        ..says(name, version, Said::Healthy)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self { sim: Sim::new() }
    }

    /// With targets `t0`, `t1`, … that run v1, which is the last known good version, under this policy.
    pub(crate) fn with(targets: usize, json: &str) -> Self {
        let mut world = Self::new();
        let names: Vec<String> = (0..targets).map(|number| format!("t{number}")).collect();
        let reports: Vec<Report<'_>> = names.iter().map(|name| says(name, "v1", Said::Healthy)).collect();
        world.settle(&reports, json);
        world
    }

    /// These targets run v1, which becomes the last known good version; then this policy is set.
    pub(crate) fn settle(&mut self, reports: &[Report<'_>], json: &str) {
        self.report(reports);
        let quick = r#"{"batch": "100%", "health": {"healthyForSeconds": 0}}"#;
        self.set_policy(quick).unwrap();
        self.set_version("v1").unwrap();
        assert_eq!(self.state(), RolloutState::Succeeded);
        self.set_policy(json).unwrap();
    }

    pub(crate) fn command(&mut self, command: RolloutCommand) -> Result<RolloutReply, Rejection> {
        match self.sim.apply(Command::Rollout(command))? {
            Reply::Rollout(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn act_as(&mut self, actor: &str, verb: Verb) -> Result<Done, RolloutRejection> {
        self.act_by(
            By {
                actor: Some(actor.to_owned()),
                ..By::default()
            },
            verb,
        )
    }

    pub(crate) fn act_by(&mut self, by: By, verb: Verb) -> Result<Done, RolloutRejection> {
        let reply = self.command(RolloutCommand::Do {
            namespace: space(),
            entity: entity(),
            by,
            verb,
        });
        match reply.map_err(rejected)? {
            RolloutReply::Done(done) => Ok(done),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn act(&mut self, verb: Verb) -> Result<Done, RolloutRejection> {
        self.act_as("ann", verb)
    }

    pub(crate) fn set_policy(&mut self, json: &str) -> Result<Done, RolloutRejection> {
        self.act(Verb::SetPolicy {
            policy: Box::new(policy(json)),
            classic: None,
        })
    }

    pub(crate) fn set_version(&mut self, text: &str) -> Result<Done, RolloutRejection> {
        self.act(Verb::SetVersion {
            version: version(text),
            force: false,
        })
    }

    /// Targets report; what each should do.
    pub(crate) fn report(&mut self, reports: &[Report<'_>]) -> Vec<Instruction> {
        let mut packed = Reports::default();
        for report in reports {
            packed.push(report).unwrap();
        }
        let reply = self.command(RolloutCommand::Report {
            namespace: space(),
            entity: entity(),
            reports: Arc::new(packed),
        });
        let RolloutReply::Reported(reported) = reply.unwrap() else {
            panic!("no answer to a report");
        };
        let fleet = self.fleet();
        reported
            .slots
            .iter()
            .map(|slot| fleet.instruction(*slot).unwrap())
            .collect()
    }

    pub(crate) fn say(&mut self, name: &str, version: &str, said: Said) -> Instruction {
        self.report(&[says(name, version, said)]).remove(0)
    }

    /// Every target takes what it is told, and says that it is well. True when any had to.
    pub(crate) fn obey(&mut self) -> bool {
        self.obey_but(|_| None)
    }

    /// The same, but some say or do something else.
    pub(crate) fn obey_but(&mut self, other: impl Fn(&TargetView) -> Option<(String, Said)>) -> bool {
        let targets = self.targets();
        let mut changed = false;
        for view in targets {
            let runs = view.version.as_ref().map(ToString::to_string).unwrap_or_default();
            let expected = view.expected.as_ref().map(ToString::to_string).unwrap_or_default();
            let (runs_now, said) = other(&view).unwrap_or((expected, Said::Healthy));
            changed |= runs != runs_now;
            let report = Report {
                group: view.group.as_str().into(),
                ..says(&view.name, &runs_now, said)
            };
            self.report(&[report]);
        }
        changed
    }

    pub(crate) fn answer(&mut self, call: u64, answer: Answer) -> Result<RolloutReply, RolloutRejection> {
        let command = RolloutCommand::Answer {
            namespace: space(),
            entity: entity(),
            call,
            answer,
        };
        self.command(command).map_err(rejected)
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        let end = self.sim.now.plus_millis(seconds * 1_000);
        // Timers are punctual: whatever is due on the way happens when it is due.
        while let Some(due) = self.sim.state.next_timer().filter(|due| *due <= end) {
            let wait = due.millis_since(self.sim.now);
            self.sim.advance(wait);
        }
        self.sim.advance(end.millis_since(self.sim.now));
        self.sim.follow();
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        self.sim.state.rollouts().get(&space(), &entity()).unwrap()
    }

    pub(crate) fn rollout(&self) -> RolloutView {
        let rollouts = self.sim.state.rollouts();
        rollouts.rollout_view(&space(), &entity(), self.sim.now).unwrap()
    }

    pub(crate) fn state(&self) -> RolloutState {
        self.rollout().summary.state
    }

    /// The codes of the reasons, in order.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.rollout()
            .reasons
            .iter()
            .map(|reason| reason.code.to_string())
            .collect()
    }

    pub(crate) fn calls(&self) -> Vec<CallView> {
        self.fleet().open_calls()
    }

    pub(crate) fn targets(&self) -> Vec<TargetView> {
        self.fleet().page(0, usize::MAX, &TargetFilter::default()).targets
    }

    pub(crate) fn view(&self, name: &str) -> TargetView {
        let fleet = self.fleet();
        fleet.target_view(fleet.find("", name).unwrap()).unwrap()
    }

    pub(crate) fn why(&self, name: Option<&str>) -> WhyView {
        let rollouts = self.sim.state.rollouts();
        let target = name.map(|name| ("", name));
        rollouts.why(&space(), &entity(), target, self.sim.now).unwrap()
    }

    /// How many targets stand in a phase.
    pub(crate) fn count(&self, phase: Phase) -> usize {
        self.targets().iter().filter(|view| view.phase == phase).count()
    }

    /// How many targets run which version.
    pub(crate) fn running(&self) -> BTreeMap<String, usize> {
        let mut running = BTreeMap::new();
        for view in self.targets() {
            *running.entry(view.version.unwrap().to_string()).or_default() += 1;
        }
        running
    }

    pub(crate) fn good(&self) -> Option<String> {
        self.fleet().summary().last_known_good.map(|it| it.to_string())
    }

    pub(crate) fn bad(&self) -> Option<String> {
        self.fleet().summary().last_known_bad.map(|it| it.to_string())
    }
}
