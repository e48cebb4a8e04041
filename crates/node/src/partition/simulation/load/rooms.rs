//! What is asked of a simulated partition besides runs and values: leases with locks and elections, futures, and rollouts.

use std::sync::Arc;

use serde_json::json;
use unisono_engine::Command;
use unisono_engine::lease::{Acquire, Grant, LeaseCommand, LockAddress, Mode};
use unisono_engine::rollout::{By, RolloutCommand, Verb};
use unisono_engine::value::{Data, Declare, Operation, Put, ValueCommand, Write};
use unisono_journal::simulation::Random;
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::rollout::{EntityName, Report, Reports, Said, Version, read_policy};

use super::super::super::batch::Responder;
use super::{Asked, Load, name, namespace, payload};

/// Leases that are remembered, ended ones among them.
const MOST_LEASES: usize = 4;

impl Load {
    /// Something of another room.
    pub(super) fn elsewhere(&mut self, random: &mut Random) -> (Command, Responder) {
        match random.below(4) {
            0 | 1 => self.lease(random),
            2 => self.future(random),
            _ => self.rollout(random),
        }
    }

    pub(super) fn granted(&mut self, lease: Revision) {
        self.leases.push(lease);
        if self.leases.len() > MOST_LEASES {
            self.leases.remove(0);
        }
    }

    fn lease(&mut self, random: &mut Random) -> (Command, Responder) {
        let recent = self.leases.iter().rev().nth(random.below(4)).copied();
        let Some(lease) = recent.filter(|_| !random.once_in(4)) else {
            let grant = Grant {
                namespace: namespace(),
                holder: name(&format!("holder-{}", random.below(4))),
                party: None,
                actor: None,
                ttl_ms: 500 + random.below(20_000) as u64,
            };
            return self.ask(Asked::Lease, Command::Lease(LeaseCommand::Grant(grant)));
        };
        let lock = match random.below(3) {
            0 => LockAddress::lock(namespace(), name("lock")),
            1 => LockAddress::lock(namespace(), name("pool")),
            _ => LockAddress::election(namespace(), name("election")),
        };
        let namespace = namespace();
        let command = match random.below(12) {
            0 | 1 => LeaseCommand::Renew { namespace, lease },
            2 => LeaseCommand::Revoke {
                namespace,
                lease,
                actor: None,
            },
            3 => LeaseCommand::Release { lock, lease },
            4 => LeaseCommand::Steal {
                lock,
                token: None,
                actor: "simulated".to_owned(),
                reason: "simulated".to_owned(),
            },
            5 => LeaseCommand::Proclaim {
                election: lock,
                lease,
                value: payload(&json!({"number": random.below(1_000)})),
            },
            6 | 7 => return self.leased(random, lease),
            _ => {
                let acquire = Acquire {
                    mode: match (lock.election, lock.name.as_str()) {
                        (false, "pool") => Mode::Permit { of: 2 },
                        (false, _) if random.once_in(2) => Mode::Shared,
                        _ => Mode::Exclusive,
                    },
                    lock,
                    lease,
                    wait_ms: [None, Some(300), Some(3_000)][random.below(3)],
                    value: None,
                };
                return self.ask(Asked::Lock, Command::Lease(LeaseCommand::Acquire(acquire)));
            }
        };
        self.ask(Asked::Other, Command::Lease(command))
    }

    /// A value that goes with a lease.
    fn leased(&self, random: &mut Random, lease: Revision) -> (Command, Responder) {
        let key = format!("leased/{}", random.below(3));
        self.put(random, &key, (Some(lease), None))
    }

    fn future(&mut self, random: &mut Random) -> (Command, Responder) {
        let key = format!("promise/{}", random.below(5));
        let parsed = Key::parse(&key).unwrap();
        let command = match random.below(8) {
            0 | 1 => return self.put(random, &key, (None, Some("party"))),
            2 => ValueCommand::Break {
                namespace: namespace(),
                key: parsed,
                reason: "simulated".to_owned(),
                actor: None,
            },
            3 => ValueCommand::Withdraw {
                namespace: namespace(),
                key: parsed,
                actor: None,
            },
            _ => ValueCommand::Declare(Box::new(Declare {
                namespace: namespace(),
                key: parsed,
                producer: name("party"),
                schema: None,
                ttl_ms: random.once_in(3).then_some(2_000),
                lease: random.once_in(3).then(|| self.leases.last().copied()).flatten(),
                run: None,
                new_epoch: random.once_in(2),
                actor: None,
            })),
        };
        self.ask(Asked::Future, Command::Value(command))
    }

    fn put(
        &self,
        random: &mut Random,
        key: &str,
        (lease, party): (Option<Revision>, Option<&str>),
    ) -> (Command, Responder) {
        let put = Put {
            key: Key::parse(key).unwrap(),
            data: Data::Json(random.next().to_string().into()),
            content_type: None,
            ttl_ms: None,
            lease,
            fence: None,
            sensitive: None,
        };
        let write = Write {
            namespace: namespace(),
            conditions: Vec::new(),
            operations: vec![Operation::Put(put)],
            writer: None,
            party: party.map(name),
            checked: Vec::new(),
        };
        self.ask(Asked::Other, Command::Value(ValueCommand::Write(Box::new(write))))
    }

    fn rollout(&self, random: &mut Random) -> (Command, Responder) {
        let entity = EntityName::parse("fleet").unwrap();
        let version = Version::parse(["v1", "v2", "v3"][random.below(3)]).unwrap();
        let verb = match random.below(14) {
            0 => Verb::SetPolicy {
                policy: Box::new(read_policy(r#"{"batch": 2}"#).unwrap()),
                classic: None,
            },
            1..4 => Verb::SetVersion { version, force: true },
            4 => [Verb::Pause, Verb::Resume, Verb::Abort][random.below(3)].clone(),
            5 => Verb::Rollback { to: None },
            6 => Verb::Freeze { for_ms: Some(400) },
            7 => Verb::Retry(Vec::new()),
            _ => return self.reports(random, entity, &version),
        };
        let command = RolloutCommand::Do {
            namespace: namespace(),
            entity,
            by: By::default(),
            verb,
        };
        self.ask(Asked::Rollout, Command::Rollout(command))
    }

    fn reports(&self, random: &mut Random, entity: EntityName, version: &Version) -> (Command, Responder) {
        let mut reports = Reports::default();
        for _ in 0..=random.below(4) {
            let report = Report {
                name: format!("target-{}", random.below(6)).into(),
                version: Some(version.as_str().into()),
                health: Some([Said::Healthy, Said::Healthy, Said::Unhealthy][random.below(3)]),
                ..Report::default()
            };
            reports.push(&report).unwrap();
        }
        let command = RolloutCommand::Report {
            namespace: namespace(),
            entity,
            reports: Arc::new(reports),
        };
        self.ask(Asked::Rollout, Command::Rollout(command))
    }
}
