//! What callers and agents ask of a simulated partition, and what they were told.

mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::json;
use unisono_engine::agent::{AgentCommand, AgentKey, Join, SessionId};
use unisono_engine::definition::DefinitionCommand;
use unisono_engine::orchestration::{OrchestrationCommand, Report, Start};
use unisono_engine::payload::{Failure, Payload};
use unisono_engine::retention::{DeletedRun, RetentionCommand};
use unisono_engine::value::{Data, Operation, Put, ValueCommand, Write};
use unisono_engine::{Command, Rejection, Reply};
use unisono_journal::simulation::Random;
use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::key::Key;
use unisono_model::name::Name;

use super::super::batch::Responder;

/// Open runs beyond which none is started.
const MOST_OPEN: usize = 12;

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn namespace() -> Name {
    name("simulated")
}

/// What somebody has asked.
#[derive(Clone)]
enum Asked {
    Start(String),
    Delete(String),
    Join(SessionId),
    Lease,
    Lock,
    Future,
    Rollout,
    Other,
}

type Answers = Arc<Mutex<Vec<(Asked, Result<Reply, Rejection>)>>>;

/// Callers and agents. They outlive every crash, and forget nothing that they were told.
#[derive(Default)]
pub(super) struct Load {
    answers: Answers,
    started: u64,
    sessions: u64,
    agent: Option<(AgentKey, SessionId)>,
    /// Attempts that agents were given.
    tasks: Vec<AttemptToken>,
    /// Leases that were granted, the last ones.
    leases: Vec<Revision>,
    /// How many leases and locks were granted, futures declared or broken, and rollouts changed.
    pub(super) leased: u64,
    pub(super) locked: u64,
    pub(super) promised: u64,
    pub(super) rolled: u64,
    /// Runs that exist: their start was acknowledged.
    pub(super) accepted: BTreeSet<String>,
    /// Runs that do not: their start was refused.
    pub(super) refused: BTreeSet<String>,
    /// Runs that do not any more: their deletion was acknowledged.
    pub(super) deleted: BTreeSet<String>,
}

impl Load {
    /// Hears what has come back.
    pub(super) fn hear(&mut self) {
        let heard = std::mem::take(&mut *self.answers.lock().unwrap());
        for (asked, answer) in heard {
            match (asked, answer) {
                (Asked::Start(id), Ok(_)) => drop(self.accepted.insert(id)),
                (Asked::Start(id), Err(_)) => drop(self.refused.insert(id)),
                (Asked::Delete(id), Ok(_)) => drop(self.deleted.insert(id)),
                (Asked::Delete(id), Err(_)) => drop(self.accepted.insert(id)),
                (Asked::Lease, Ok(Reply::Lease(lease))) => {
                    self.leased += 1;
                    self.granted(lease.id);
                }
                (Asked::Lock, Ok(_)) => self.locked += 1,
                (Asked::Future, Ok(_)) => self.promised += 1,
                (Asked::Rollout, Ok(_)) => self.rolled += 1,
                (Asked::Join(session), Ok(Reply::Joined { agent, .. })) => self.agent = Some((agent, session)),
                _ => {}
            }
        }
    }

    /// An attempt was given to an agent.
    pub(super) fn given(&mut self, token: AttemptToken) {
        self.tasks.push(token);
    }

    /// All connections are gone.
    pub(super) fn cut_off(&mut self) {
        self.agent = None;
    }

    pub(super) fn definitions(&self) -> (Command, Responder) {
        let documents = [
            json!({"kind": "ActivityDefinition", "type": "work"}),
            json!({"kind": "OrchestrationDefinition", "type": "one", "activities": [{"id": "a", "type": "work"}]}),
            json!({"kind": "OrchestrationDefinition", "type": "many", "activities": [
                {"id": "a", "type": "work"}, {"id": "b", "type": "work", "dependsOn": "a"},
                {"id": "c", "type": "work", "dependsOn": "a"}, {"id": "d", "type": "work", "dependsOn": ["b", "c"]}]}),
        ];
        let command = DefinitionCommand::Apply {
            namespace: namespace(),
            documents: documents.map(|it| serde_json::from_value(it).unwrap()).into(),
            based_on: Revision(0),
        };
        self.ask(Asked::Other, Command::Definition(command))
    }

    /// Something that makes sense, mostly.
    pub(super) fn next(&mut self, random: &mut Random, open: usize, projected: Revision) -> (Command, Responder) {
        if self.agent.is_none() {
            return self.join();
        }
        match random.below(20) {
            0..5 if open < MOST_OPEN => self.start(random, projected),
            0..11 => self.report(random),
            11 => self.cancel(random),
            12 if random.once_in(6) => self.disconnect(),
            13 => self.again(random),
            16.. => self.elsewhere(random),
            _ => self.write(random),
        }
    }

    /// Asks; the answer comes when it has been let out.
    fn ask(&self, asked: Asked, command: Command) -> (Command, Responder) {
        let answers = Arc::clone(&self.answers);
        let hear = move |answer| answers.lock().unwrap().push((asked, answer));
        (command, Responder::Call(Box::new(hear)))
    }

    fn join(&mut self) -> (Command, Responder) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let join = Join {
            namespace: namespace(),
            name: name("agent"),
            incarnation: name("one"),
            activity_types: vec![name("work")],
            concurrency: 6,
            labels: BTreeMap::new(),
            holding: self.tasks.clone(),
            session,
        };
        self.ask(Asked::Join(session), Command::Agent(AgentCommand::Join(Box::new(join))))
    }

    fn disconnect(&mut self) -> (Command, Responder) {
        let Some((agent, session)) = self.agent.take() else {
            return self.join();
        };
        let command = AgentCommand::Disconnect {
            agent,
            session,
            reason: "simulated".to_owned(),
        };
        self.ask(Asked::Other, Command::Agent(command))
    }

    fn start(&mut self, random: &mut Random, projected: Revision) -> (Command, Responder) {
        self.started += 1;
        let id = format!("run-{}", self.started);
        let kind = ["one", "many", "one", "many", "unknown"][random.below(5)];
        let size = [10, 10, 400, 6_000][random.below(4)];
        let (size, digit) = (random.below(size), random.below(10));
        self.start_of(id, kind, json!({"text": digit.to_string().repeat(size)}), projected)
    }

    fn start_of(&self, id: String, kind: &str, input: serde_json::Value, projected: Revision) -> (Command, Responder) {
        let start = Start {
            namespace: namespace(),
            id: name(&id),
            digest: id.len() as u128,
            absent_as_of: Some(projected),
            type_name: name(kind),
            version: 1,
            pinned: false,
            correlation_id: None,
            labels: BTreeMap::new(),
            input: payload(&input),
            actor: None,
            trace: None,
        };
        let command = Command::Orchestration(OrchestrationCommand::Start(Box::new(start)));
        self.ask(Asked::Start(id), command)
    }

    /// A start of what exists: it changes nothing, whatever the answer is.
    fn again(&mut self, random: &mut Random) -> (Command, Responder) {
        let Some(id) = pick(random, &self.accepted) else {
            return self.write(random);
        };
        // The store was asked long ago.
        let (command, _) = self.start_of(id, "one", json!({}), Revision(0));
        self.ask(Asked::Other, command)
    }

    fn report(&mut self, random: &mut Random) -> (Command, Responder) {
        if self.tasks.is_empty() {
            return self.write(random);
        }
        let token = self.tasks.swap_remove(random.below(self.tasks.len()));
        let report = match random.below(12) {
            0 => Report::Retry(Failure::new("simulated", "again")),
            1 => Report::Fatal(Failure::new("simulated", "never")),
            2 => Report::Schedule(random.below(2_000) as u64),
            _ => Report::Complete(payload(&json!({"number": random.below(1_000_000)}))),
        };
        let command = OrchestrationCommand::Report {
            token,
            report,
            patch: None,
        };
        self.ask(Asked::Other, Command::Orchestration(command))
    }

    fn cancel(&mut self, random: &mut Random) -> (Command, Responder) {
        let Some(id) = pick(random, &self.accepted) else {
            return self.write(random);
        };
        let command = OrchestrationCommand::Cancel {
            namespace: namespace(),
            id: name(&id),
            reason: "simulated".to_owned(),
            actor: "simulated".to_owned(),
        };
        self.ask(Asked::Other, Command::Orchestration(command))
    }

    /// Deletes a run. Until there is an answer, nobody knows whether it exists.
    pub(super) fn delete(&mut self, id: String, run: u64) -> (Command, Responder) {
        self.accepted.remove(&id);
        let command = RetentionCommand::Delete {
            namespace: namespace(),
            run: DeletedRun { run, id: name(&id) },
            actor: "simulated".to_owned(),
        };
        self.ask(Asked::Delete(id), Command::Retention(command))
    }

    fn write(&mut self, random: &mut Random) -> (Command, Responder) {
        let key = Key::parse(&format!("key/{}", random.below(8))).unwrap();
        let operation = if random.once_in(4) {
            Operation::Delete { key, fence: None }
        } else {
            Operation::Put(Put {
                key,
                data: Data::Json(random.next().to_string().into()),
                content_type: None,
                ttl_ms: random.once_in(3).then_some(1_000),
                lease: None,
                fence: None,
                sensitive: None,
            })
        };
        let write = Write {
            namespace: namespace(),
            conditions: Vec::new(),
            operations: vec![operation],
            writer: None,
            party: None,
            checked: Vec::new(),
        };
        self.ask(Asked::Other, Command::Value(ValueCommand::Write(Box::new(write))))
    }
}

fn payload(json: &serde_json::Value) -> Payload {
    serde_json::value::to_raw_value(json).unwrap().into()
}

pub(super) fn pick(random: &mut Random, ids: &BTreeSet<String>) -> Option<String> {
    (!ids.is_empty()).then(|| ids.iter().nth(random.below(ids.len())).unwrap().clone())
}
