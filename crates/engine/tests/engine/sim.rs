//! A partition without a node: state, a journal of encoded batches, a clock, and what came out.

use std::collections::BTreeMap;

use unisono_engine::agent::{AgentCommand, AgentKey, Join, SessionId};
use unisono_engine::codec::{BatchWriter, Recorded, read_batch};
use unisono_engine::definition::DefinitionCommand;
use unisono_engine::lease::LeaseCommand;
use unisono_engine::orchestration::{OrchestrationCommand, Report, Start, Task};
use unisono_engine::payload::Patch;
use unisono_engine::value::ValueCommand;
use unisono_engine::{Command, Effect, Event, Rejection, Reply, Settings, State};
use unisono_model::api::OrchestrationView;
use unisono_model::definition::Document;
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;

use crate::documents::{name, payload, space};

/// The instant at which every test begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) struct Sim {
    pub(crate) state: State,
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
    /// Encoded batches, in order.
    pub(crate) journal: Vec<Vec<u8>>,
    /// What came out since it was last taken.
    pub(crate) effects: Vec<Effect>,
    /// Events since they were last taken.
    pub(crate) facts: Vec<Recorded>,
    sessions: u64,
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            state: State::new(settings),
            settings,
            now: BEGIN,
            journal: Vec::new(),
            effects: Vec::new(),
            facts: Vec::new(),
            sessions: 0,
        }
    }

    /// Decides a command, journals its events, and folds what the journal gives back.
    pub(crate) fn apply(&mut self, command: Command) -> Result<Reply, Rejection> {
        let mut events = Vec::new();
        let reply = self.state.decide(command, self.now, &mut events);
        assert!(reply.is_ok() || events.is_empty(), "a refusal with events: {events:?}");
        self.record(&events);
        self.follow();
        reply
    }

    /// Lets the rules decide what follows.
    pub(crate) fn follow(&mut self) {
        while let Some(event) = self.state.advance(self.now) {
            self.record(&[event]);
        }
    }

    /// Journals events as one batch and folds them.
    pub(crate) fn record(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut writer = BatchWriter::new(self.state.revision.next());
        for event in events {
            writer.push(self.now, event);
        }
        let finished = writer.finish();
        let bytes = finished.bytes[finished.start..].to_vec();
        let read = read_batch(&bytes).unwrap();
        assert!(read.iter().map(|it| &it.event).eq(events), "the codec changed an event");
        for it in &read {
            self.state.evolve(it.revision, it.at, &it.event, &mut self.effects);
        }
        self.journal.push(bytes);
        self.facts.extend(read);
    }

    /// Hands out one activity, if there is one and an agent for it.
    pub(crate) fn dispatch_one(&mut self) -> bool {
        let Some(event) = self.state.dispatch(7) else {
            return false;
        };
        self.record(&[event]);
        true
    }

    /// Hands out all that can be handed out, and gives the attempts in their order.
    pub(crate) fn dispatch(&mut self) -> Vec<(SessionId, Task)> {
        self.effects.clear();
        while self.dispatch_one() {}
        std::mem::take(&mut self.effects)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Dispatch { session, task } => Some((session, *task)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    pub(crate) fn definitions(&mut self, documents: Vec<Document>) -> Result<Reply, Rejection> {
        let based_on = self
            .state
            .definitions()
            .namespace(&space())
            .map_or(Revision(0), |it| it.revision);
        self.apply(Command::Definition(DefinitionCommand::Apply {
            namespace: space(),
            documents,
            based_on,
        }))
    }

    pub(crate) fn start(&mut self, id: &str, type_name: &str, version: u32) -> Result<Reply, Rejection> {
        self.start_with(start(id, type_name, version))
    }

    pub(crate) fn start_with(&mut self, start: Start) -> Result<Reply, Rejection> {
        self.orchestration(OrchestrationCommand::Start(Box::new(start)))
    }

    pub(crate) fn orchestration(&mut self, command: OrchestrationCommand) -> Result<Reply, Rejection> {
        self.apply(Command::Orchestration(command))
    }

    pub(crate) fn report(&mut self, token: AttemptToken, report: Report) -> Result<Reply, Rejection> {
        self.report_with(token, report, None)
    }

    pub(crate) fn report_with(
        &mut self,
        token: AttemptToken,
        report: Report,
        patch: Option<Patch>,
    ) -> Result<Reply, Rejection> {
        self.orchestration(OrchestrationCommand::Report { token, report, patch })
    }

    pub(crate) fn complete(&mut self, token: AttemptToken) -> Result<Reply, Rejection> {
        self.report(token, Report::Complete(payload("{}")))
    }

    /// Someone outside reports on an activity.
    pub(crate) fn resolve(
        &mut self,
        (id, activity): (&str, &str),
        token: AttemptToken,
        report: Report,
    ) -> Result<Reply, Rejection> {
        self.orchestration(OrchestrationCommand::Resolve {
            namespace: space(),
            id: name(id),
            activity: name(activity),
            token,
            report,
            patch: None,
            actor: "a person".to_owned(),
        })
    }

    pub(crate) fn cancel(&mut self, id: &str) -> Result<Reply, Rejection> {
        self.orchestration(OrchestrationCommand::Cancel {
            namespace: space(),
            id: name(id),
            reason: "not wanted".to_owned(),
            actor: "a person".to_owned(),
        })
    }

    pub(crate) fn value(&mut self, command: ValueCommand) -> Result<Reply, Rejection> {
        self.apply(Command::Value(command))
    }

    pub(crate) fn lease(&mut self, command: LeaseCommand) -> Result<Reply, Rejection> {
        self.apply(Command::Lease(command))
    }

    pub(crate) fn agent(&mut self, command: AgentCommand) -> Result<Reply, Rejection> {
        self.apply(Command::Agent(command))
    }

    /// A new agent, or one that connects again: its key, its session, what it keeps and drops.
    pub(crate) fn join(&mut self, incarnation: &str, types: &[&str], concurrency: u32) -> (AgentKey, SessionId) {
        let (agent, session, _, _) = self.join_holding(incarnation, types, concurrency, Vec::new());
        (agent, session)
    }

    pub(crate) fn join_holding(
        &mut self,
        incarnation: &str,
        types: &[&str],
        concurrency: u32,
        holding: Vec<AttemptToken>,
    ) -> (AgentKey, SessionId, Vec<AttemptToken>, Vec<AttemptToken>) {
        let session = self.session();
        let join = join(&space(), incarnation, types, concurrency, holding, session);
        match self.agent(AgentCommand::Join(Box::new(join))).unwrap() {
            Reply::Joined { agent, keep, drop } => (agent, session, keep, drop),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn disconnect(&mut self, (agent, session): (AgentKey, SessionId)) -> Result<Reply, Rejection> {
        self.agent(AgentCommand::Disconnect {
            agent,
            session,
            reason: "the connection broke".to_owned(),
        })
    }

    /// Lets time pass and says so, as often as something is due.
    pub(crate) fn advance(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        while self.state.next_timer().is_some_and(|due| due <= self.now) {
            let before = self.state.revision;
            self.apply(Command::Tick).unwrap();
            assert!(self.state.revision > before, "a timer is due and a tick does nothing");
        }
    }

    pub(crate) fn view(&self, id: &str) -> OrchestrationView {
        self.state.view(&space(), &name(id)).unwrap().1
    }

    /// The view of a run that ended since effects were last taken.
    pub(crate) fn archived(&self, id: &str) -> OrchestrationView {
        self.effects
            .iter()
            .find_map(|effect| match effect {
                Effect::Ended(run) if *run.id == *id => Some(unisono_engine::archived_view(run)),
                _ => None,
            })
            .unwrap()
    }
}

/// A start by a caller's own id; its digest is made of what is asked for.
pub(crate) fn start(id: &str, type_name: &str, version: u32) -> Start {
    Start {
        namespace: space(),
        id: name(id),
        digest: 42,
        absent_as_of: Some(Revision(0)),
        type_name: name(type_name),
        version,
        pinned: false,
        correlation_id: None,
        trace: None,
        labels: BTreeMap::new(),
        input: payload("{}"),
        actor: None,
    }
}

pub(crate) fn join(
    namespace: &Name,
    incarnation: &str,
    types: &[&str],
    concurrency: u32,
    holding: Vec<AttemptToken>,
    session: SessionId,
) -> Join {
    Join {
        namespace: namespace.clone(),
        name: name("worker"),
        incarnation: name(incarnation),
        activity_types: types.iter().map(|it| name(it)).collect(),
        concurrency,
        labels: BTreeMap::new(),
        holding,
        session,
    }
}
