//! Journals of every release, and what they must lead to for ever.
//!
//! `tests/golden/vN.journal` holds batches, each behind its length (u32, little endian), and
//! `vN.json` what folding them shows. Files are never changed. When an event gains a variant or a
//! place, `UPDATE_GOLDEN=1 cargo test -p unisono-engine golden` writes the next pair.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use unisono_engine::agent::{AgentCommand, AgentEvent};
use unisono_engine::codec::{Recorded, read_batch};
use unisono_engine::definition::{DefinitionCommand, DefinitionEvent};
use unisono_engine::lease::{LeaseCommand, LeaseEvent, LockAddress, Mode};
use unisono_engine::orchestration::{OrchestrationCommand, OrchestrationEvent as E, Report, history_entry};
use unisono_engine::payload::Patch;
use unisono_engine::retention::{DeletedRun, RetentionCommand, RetentionEvent, Rule};
use unisono_engine::rollout::{Decision as D, Fleet, RolloutEvent, TargetFilter};
use unisono_engine::value::{Data, Fence, Operation, ValueCommand, ValueEvent, Write};
use unisono_engine::{Command, Effect, Event, Settings, State, archived_view};
use unisono_model::api::DefinitionKind;

use crate::acts::{acquire, declare, grant, key, put, put_of, write};
use crate::documents::{activity, failure, name, orchestration, payload, set, space, with};
use crate::sim::{Sim, start};

/// The hash of the state that each golden journal leads to. It changes when rows are written differently, and only then.
const HASHES: [&str; 4] = [
    "22b0918c3bb7e02f43f78bd320f70fd1",
    "87fe6b6b0d970eca382965ef56bbda14",
    "9aba5c712ab12e3b8170b2379299c5c9",
    "6602553991c3be818fe78688e164688e",
];

/// The kinds of events, from the one table that names them. A new variant does not compile until it stands in the table, and
/// what stands there must be in the newest golden journal.
macro_rules! variants {
    ($($pattern:pat => $name:literal,)*) => {
        const VARIANTS: &[&str] = &[$($name),*];

        pub(crate) fn variant(event: &Event) -> &'static str {
            match event {
                $($pattern => $name,)*
            }
        }
    };
}

variants! {
    Event::Definition(DefinitionEvent::Applied { .. }) => "definition applied",
    Event::Definition(DefinitionEvent::Deleted { .. }) => "definition deleted",
    Event::Agent(AgentEvent::Joined { .. }) => "agent joined",
    Event::Agent(AgentEvent::Rejoined { .. }) => "agent rejoined",
    Event::Agent(AgentEvent::Disconnected { .. }) => "agent disconnected",
    Event::Agent(AgentEvent::Gone { .. }) => "agent gone",
    Event::Agent(AgentEvent::CreditsChanged { .. }) => "agent credits changed",
    Event::Orchestration(E::Started { .. }) => "started",
    Event::Orchestration(E::Dispatched { .. }) => "dispatched",
    Event::Orchestration(E::Completed { .. }) => "completed",
    Event::Orchestration(E::Waiting { .. }) => "waiting",
    Event::Orchestration(E::Scheduled { .. }) => "scheduled",
    Event::Orchestration(E::Retrying { .. }) => "retrying",
    Event::Orchestration(E::Failed { .. }) => "failed",
    Event::Orchestration(E::Returned { .. }) => "returned",
    Event::Orchestration(E::Due { .. }) => "due",
    Event::Orchestration(E::ContextSaved { .. }) => "context saved",
    Event::Orchestration(E::Succeeded { .. }) => "succeeded",
    Event::Orchestration(E::Errored { .. }) => "errored",
    Event::Orchestration(E::Cancelled { .. }) => "cancelled",
    Event::Value(ValueEvent::Put { .. }) => "value put",
    Event::Value(ValueEvent::Deleted { .. }) => "value deleted",
    Event::Value(ValueEvent::Forgotten { .. }) => "token forgotten",
    Event::Value(ValueEvent::Declared { .. }) => "future declared",
    Event::Value(ValueEvent::Broken { .. }) => "future broken",
    Event::Value(ValueEvent::PromiseExpired { .. }) => "future expired",
    Event::Value(ValueEvent::Withdrawn { .. }) => "future withdrawn",
    Event::Lease(LeaseEvent::Granted { .. }) => "lease granted",
    Event::Lease(LeaseEvent::Renewed { .. }) => "lease renewed",
    Event::Lease(LeaseEvent::Ended { expired: true, .. }) => "lease ended by time",
    Event::Lease(LeaseEvent::Ended { .. }) => "lease revoked",
    Event::Lease(LeaseEvent::Queued { .. }) => "lock queued",
    Event::Lease(LeaseEvent::Acquired { .. }) => "lock acquired",
    Event::Lease(LeaseEvent::Left { .. }) => "lock left",
    Event::Lease(LeaseEvent::Stolen { .. }) => "lock stolen",
    Event::Lease(LeaseEvent::Proclaimed { .. }) => "proclaimed",
    Event::Lease(LeaseEvent::ClockStepped { .. }) => "clock stepped",
    Event::Retention(RetentionEvent::RuleSet { rule: Some(_), .. }) => "retention set",
    Event::Retention(RetentionEvent::RuleSet { .. }) => "retention unset",
    Event::Retention(RetentionEvent::Deleted { rules: Some(_), .. }) => "runs expired",
    Event::Retention(RetentionEvent::Deleted { .. }) => "run deleted",
    Event::Rollout(RolloutEvent::Created { .. }) => "entity created",
    Event::Rollout(RolloutEvent::Reported { .. }) => "targets reported",
    Event::Rollout(RolloutEvent::Heard { .. }) => "targets heard",
    Event::Rollout(RolloutEvent::Judged { .. }) => "targets judged",
    Event::Rollout(RolloutEvent::Assigned { .. }) => "targets assigned",
    Event::Rollout(RolloutEvent::Restarted { .. }) => "rollouts restarted",
    Event::Rollout(RolloutEvent::Frozen { .. }) => "rollouts frozen",
    Event::Rollout(RolloutEvent::Thawed { .. }) => "rollouts thawed",
    Event::Rollout(RolloutEvent::Decided { decision: D::PolicySet { .. }, .. }) => "policy set",
    Event::Rollout(RolloutEvent::Decided { decision: D::Planned { .. }, .. }) => "rollout planned",
    Event::Rollout(RolloutEvent::Decided { decision: D::Queued { .. }, .. }) => "version queued",
    Event::Rollout(RolloutEvent::Decided { decision: D::Unqueued, .. }) => "version unqueued",
    Event::Rollout(RolloutEvent::Decided { decision: D::Started, .. }) => "rollout started",
    Event::Rollout(RolloutEvent::Decided { decision: D::Passed { .. }, .. }) => "gate passed",
    Event::Rollout(RolloutEvent::Decided { decision: D::Began { .. }, .. }) => "wave began",
    Event::Rollout(RolloutEvent::Decided { decision: D::Stepped { .. }, .. }) => "batch began",
    Event::Rollout(RolloutEvent::Decided { decision: D::Baking { .. }, .. }) => "wave baking",
    Event::Rollout(RolloutEvent::Decided { decision: D::Reopened, .. }) => "wave reopened",
    Event::Rollout(RolloutEvent::Decided { decision: D::Promoted, .. }) => "wave promoted",
    Event::Rollout(RolloutEvent::Decided { decision: D::Approved { .. }, .. }) => "rollout approved",
    Event::Rollout(RolloutEvent::Decided { decision: D::Paused, .. }) => "rollout paused",
    Event::Rollout(RolloutEvent::Decided { decision: D::Resumed, .. }) => "rollout resumed",
    Event::Rollout(RolloutEvent::Decided { decision: D::Held { .. }, .. }) => "rollout held",
    Event::Rollout(RolloutEvent::Decided { decision: D::Released, .. }) => "rollout released",
    Event::Rollout(RolloutEvent::Decided { decision: D::Failed { .. }, .. }) => "rollout failed",
    Event::Rollout(RolloutEvent::Decided { decision: D::Ended { .. }, .. }) => "rollout ended",
    Event::Rollout(RolloutEvent::Decided { decision: D::Retried { .. }, .. }) => "targets retried",
    Event::Rollout(RolloutEvent::Decided { decision: D::Skipped { .. }, .. }) => "targets skipped",
    Event::Rollout(RolloutEvent::Decided { decision: D::Condemned { .. }, .. }) => "targets condemned",
    Event::Rollout(RolloutEvent::Decided { decision: D::Pinned { .. }, .. }) => "targets pinned",
    Event::Rollout(RolloutEvent::Decided { decision: D::Unpinned { .. }, .. }) => "targets unpinned",
    Event::Rollout(RolloutEvent::Decided { decision: D::Cleared { .. }, .. }) => "bad version cleared",
    Event::Rollout(RolloutEvent::Decided { decision: D::Forgot { .. }, .. }) => "targets forgotten",
    Event::Rollout(RolloutEvent::Decided { decision: D::Frozen { .. }, .. }) => "entity frozen",
    Event::Rollout(RolloutEvent::Decided { decision: D::Thawed, .. }) => "entity thawed",
    Event::Rollout(RolloutEvent::Decided { decision: D::Asked { .. }, .. }) => "call asked",
    Event::Rollout(RolloutEvent::Decided { decision: D::Answered { .. }, .. }) => "call answered",
    Event::Rollout(RolloutEvent::Decided { decision: D::Unanswered { .. }, .. }) => "call unanswered",
    Event::Rollout(RolloutEvent::Decided { decision: D::AskedAgain { .. }, .. }) => "call asked again",
    Event::Rollout(RolloutEvent::Decided { decision: D::Measured { .. }, .. }) => "measurement judged",
    Event::Rollout(RolloutEvent::Decided { decision: D::Acknowledged { .. }, .. }) => "history received",
    Event::Rollout(RolloutEvent::Decided { decision: D::Remembered { .. }, .. }) => "request remembered",
    Event::Rollout(RolloutEvent::Decided { decision: D::Undelivered { .. }, .. }) => "history undelivered",
    Event::Rollout(RolloutEvent::Decided { decision: D::DeliveryResumed { .. }, .. }) => "delivery resumed",
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The numbers of the golden journals, ascending.
fn versions() -> Vec<u32> {
    let mut versions: Vec<u32> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let file = entry.unwrap().file_name().into_string().unwrap();
            file.strip_prefix('v')?.strip_suffix(".journal")?.parse().ok()
        })
        .collect();
    versions.sort_unstable();
    versions
}

fn framed(batches: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend(u32::try_from(batch.len()).unwrap().to_le_bytes());
        bytes.extend(batch);
    }
    bytes
}

fn read(version: u32) -> Vec<Recorded> {
    let bytes = fs::read(folder().join(format!("v{version}.journal"))).unwrap();
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (batch, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        events.extend(read_batch(batch).unwrap());
        rest = tail;
    }
    assert!(rest.is_empty());
    events
}

/// Everything that people are shown once these events are folded.
fn shown(events: &[Recorded]) -> Value {
    let mut state = State::new(Settings::default());
    let (mut effects, mut runs) = (Vec::new(), Vec::new());
    for it in events {
        state.evolve(it.revision, it.at, &it.event, &mut effects);
        if let Event::Orchestration(E::Started { namespace, id, .. }) = &it.event {
            runs.push((it.revision.0, namespace.clone(), id.clone()));
        }
    }
    let ended = |key: u64| {
        effects.iter().find_map(|effect| match effect {
            Effect::Ended(run) if run.key.0 == key => Some(run),
            _ => None,
        })
    };
    let runs: Vec<Value> = runs
        .iter()
        .map(|(key, namespace, id)| {
            let (view, plan) = match ended(*key) {
                Some(run) => (archived_view(run), run.definition.plan().unwrap().clone()),
                None => {
                    let run = state.runs().by_id(namespace, id).unwrap();
                    let view = state.view(namespace, id).unwrap().1;
                    (view, run.definition.plan().unwrap().clone())
                }
            };
            let history: Vec<Value> = events
                .iter()
                .filter(|it| it.event.run(it.revision).is_some_and(|run| run.0 == *key))
                .filter_map(|it| match &it.event {
                    Event::Orchestration(event) => {
                        let name_of = |index| Some(plan.activity(index)?.id.clone());
                        let entry = history_entry(it.revision, it.at, event, name_of);
                        Some(serde_json::to_value(entry).unwrap())
                    }
                    _ => None,
                })
                .collect();
            json!({"view": view, "history": history})
        })
        .collect();
    let definitions: Vec<Value> = state
        .definitions()
        .namespaces()
        .flat_map(|(_, definitions)| {
            [DefinitionKind::Orchestration, DefinitionKind::Activity]
                .into_iter()
                .flat_map(|kind| definitions.of(kind).values())
        })
        .flat_map(|versions| {
            let deleted = versions.deleted;
            versions
                .versions
                .values()
                .map(move |stored| json!({"deleted": deleted, "view": stored.view()}))
        })
        .collect();
    let mut shown = json!({"runs": runs, "agents": state.agents(&space()), "definitions": definitions});
    if let Some(shared) = shared(&state) {
        shown["shared"] = shared;
    }
    let rules = state.retention().namespaces();
    let rules: Vec<_> = rules.map(|(_, rules)| format!("{rules:?}")).collect();
    if !rules.is_empty() {
        shown["retention"] = json!(rules);
    }
    let entities: Vec<Value> = state
        .rollouts()
        .all()
        .map(|fleet| entity_shown(&state, fleet))
        .collect();
    if !entities.is_empty() {
        shown["entities"] = Value::Array(entities);
    }
    shown
}

/// The values, futures, leases, locks and elections, if there are any.
fn shared(state: &State) -> Option<Value> {
    let (space, marks) = (space(), state.marks());
    let values: Vec<_> = state
        .values()
        .range(&space, "", None)
        .map(|it| it.shown(marks).view())
        .collect();
    let futures: Vec<_> = state.future_views(&space, "", None).collect();
    let leases: Vec<_> = state.leases().ids().map(|id| state.lease_view(id)).collect();
    let locks = state.leases().addresses(&space, false, None);
    let locks: Vec<_> = locks.map(|it| state.leases().lock_view(it, marks)).collect();
    let elections = state.leases().addresses(&space, true, None);
    let elections: Vec<_> = elections.map(|it| state.leases().election_view(it, marks)).collect();
    (!values.is_empty()).then(
        || json!({"values": values, "futures": futures, "leases": leases, "locks": locks, "elections": elections}),
    )
}

fn entity_shown(state: &State, fleet: &Fleet) -> Value {
    let (rollouts, namespace, name) = (state.rollouts(), fleet.namespace(), fleet.name());
    json!({
        "entity": rollouts.entity_view(namespace, name),
        "rollout": rollouts.rollout_view(namespace, name, state.now),
        "rollouts": fleet.rollouts(),
        "versions": fleet.versions(),
        "history": fleet.history(0, None, usize::MAX),
        "targets": fleet.page(0, usize::MAX, &TargetFilter::default()),
    })
}

fn folded(events: &[Recorded]) -> State {
    let mut state = State::new(Settings::default());
    for it in events {
        state.evolve(it.revision, it.at, &it.event, &mut Vec::new());
    }
    state
}

/// A history in which everything happens that can happen.
fn everything() -> Sim {
    let mut sim = Sim::new();
    definitions(&mut sim);
    let (agent, session) = sim.join("first-start", &["work", "other"], 4);
    let mut first = start("all", "all", 1);
    first.correlation_id = Some("order 7".to_owned());
    first.labels = [("team".to_owned(), "blue".to_owned())].into();
    first.input = payload(r#"{"cell":"north"}"#);
    sim.start_with(first).unwrap();
    every_result(&mut sim);
    sim.agent(AgentCommand::Credits {
        agent,
        session,
        concurrency: 2,
    })
    .unwrap();
    agents_come_and_go(&mut sim);
    open_ends(&mut sim);
    values_and_futures(&mut sim);
    leases_and_locks(&mut sim);
    retention(&mut sim);
    crate::rollouts::everything::everything(sim)
}

fn values_and_futures(sim: &mut Sim) {
    let lease = grant(sim, "a-start", 60_000);
    put(sim, "plain", Data::Json("{\"a\":[1]}".into()), |_| {});
    put(sim, "plain", Data::Json("2".into()), |put| {
        put.content_type = Some("application/x.two".to_owned())
    });
    put(sim, "bytes", Data::Bytes([0, 255][..].into()), |put| {
        put.sensitive = Some(true)
    });
    put(sim, "short", Data::Json("1".into()), |put| put.ttl_ms = Some(1_000));
    put(sim, "long", Data::Json("1".into()), |put| put.ttl_ms = Some(1_000_000));
    put(sim, "attached", Data::Json("1".into()), |put| put.lease = Some(lease));
    for (at, producer, ttl) in [
        ("kept", "p", None),
        ("broken", "p", None),
        ("late", "q", Some(500)),
        ("withdrawn", "q", None),
    ] {
        declare(sim, at, producer, ttl);
    }
    declare(sim, "pending", "q", Some(900_000));
    let kept = |write: &mut Write| write.party = Some(name("p"));
    write(sim, put_of("kept", Data::Json("\"v\"".into())), kept);
    let (namespace, actor) = (space(), Some("ada".to_owned()));
    let reason = "the pump is off".to_owned();
    let broken = ValueCommand::Break {
        namespace,
        key: key("broken"),
        reason,
        actor,
    };
    sim.value(broken).unwrap();
    let withdraw = ValueCommand::Withdraw {
        namespace: space(),
        key: key("withdrawn"),
        actor: None,
    };
    sim.value(withdraw).unwrap();
    sim.advance(2_000);
    sim.lease(LeaseCommand::ClockStepped { by_ms: 5_000 }).unwrap();
    sim.now = sim.now.plus_millis(5_000);
}

fn leases_and_locks(sim: &mut Sim) {
    let first = grant(sim, "b-start", 60_000);
    let second = grant(sim, "c-start", 50_000);
    let short = grant(sim, "d-start", 3_000);
    let revoked = grant(sim, "e-start", 3_000);
    sim.now = sim.now.plus_millis(10);
    sim.lease(LeaseCommand::Renew {
        namespace: space(),
        lease: first,
    })
    .unwrap();
    let actor = Some("ada".to_owned());
    sim.lease(LeaseCommand::Revoke {
        namespace: space(),
        lease: revoked,
        actor,
    })
    .unwrap();
    let pump = || LockAddress::lock(space(), name("pump"));
    let leader = || LockAddress::election(space(), name("leader"));
    let permit = Mode::Permit { of: 2 };
    acquire(sim, pump(), first, Mode::Exclusive);
    let token = sim.state.revision;
    put(sim, "fenced", Data::Json("1".into()), |put| {
        put.fence = Some(Fence {
            token,
            lock: Some(name("pump")),
        })
    });
    put(sim, "gone", Data::Json("1".into()), |put| {
        put.fence = Some(Fence { token, lock: None })
    });
    write(
        sim,
        Operation::Delete {
            key: key("gone"),
            fence: None,
        },
        |_| {},
    );
    sim.record(&[Event::Value(ValueEvent::Forgotten {
        namespace: space(),
        key: key("gone"),
        token: token.0,
    })]);
    acquire(sim, pump(), second, Mode::Shared);
    let (actor, reason) = ("eve".to_owned(), "it hangs".to_owned());
    sim.lease(LeaseCommand::Steal {
        lock: pump(),
        token: None,
        actor,
        reason,
    })
    .unwrap();
    acquire(sim, pump(), first, Mode::Exclusive);
    acquire(sim, LockAddress::lock(space(), name("slots")), first, permit);
    acquire(sim, LockAddress::lock(space(), name("slots")), second, permit);
    acquire(sim, leader(), short, Mode::Exclusive);
    acquire(sim, leader(), second, Mode::Exclusive);
    sim.advance(4_000);
    let (lease, value) = (second, payload("{\"url\":\"x\"}"));
    sim.lease(LeaseCommand::Proclaim {
        election: leader(),
        lease,
        value,
    })
    .unwrap();
}

fn retention(sim: &mut Sim) {
    let mut ask = |command| sim.apply(Command::Retention(command)).unwrap();
    let set = |type_name: Option<&str>, rule| RetentionCommand::SetRule {
        namespace: space(),
        type_name: type_name.map(name),
        rule,
        actor: Some("ada".to_owned()),
    };
    let rule = |max_age_ms, max_count| Some(Rule { max_age_ms, max_count });
    ask(set(None, rule(Some(86_400_000), None)));
    ask(set(Some("all"), rule(None, Some(1_000))));
    ask(set(Some("pair"), rule(Some(1), Some(2))));
    ask(set(Some("all"), None));
    let run = |sim: &Sim, id: &str| DeletedRun {
        run: sim
            .journal
            .iter()
            .flat_map(|batch| read_batch(batch).unwrap())
            .find_map(|it| {
                matches!(&it.event, Event::Orchestration(E::Started { id: of, .. }) if of.as_str() == id)
                    .then_some(it.revision.0)
            })
            .unwrap(),
        id: name(id),
    };
    let based_on = sim.state.retention().namespace(&space()).unwrap().revision;
    let expire = RetentionCommand::Expire {
        namespace: space(),
        runs: vec![run(sim, "errored")],
        based_on,
    };
    let delete = RetentionCommand::Delete {
        namespace: space(),
        run: run(sim, "cancelled"),
        actor: "ada".to_owned(),
    };
    sim.apply(Command::Retention(expire)).unwrap();
    sim.apply(Command::Retention(delete)).unwrap();
}

fn definitions(sim: &mut Sim) {
    let all = with(
        orchestration(
            "all",
            &[("a", "work", &[]), ("b", "work", &[]), ("c", "other", &["a", "b"])],
        ),
        json!({"description": "everything", "output": ["c.x", {"source": "/cell", "target": "where"}]}),
    );
    let pair = orchestration("pair", &[("a", "work", &[]), ("b", "other", &["a"])]);
    sim.definitions(vec![activity("work"), activity("other"), activity("unused"), all, pair])
        .unwrap();
    sim.apply(Command::Definition(DefinitionCommand::Delete {
        namespace: space(),
        kind: DefinitionKind::Activity,
        type_name: name("unused"),
    }))
    .unwrap();
    let changed = orchestration("pair", &[("a", "work", &[]), ("z", "other", &["a"])]);
    sim.definitions(vec![changed]).unwrap();
}

fn every_result(sim: &mut Sim) {
    let tokens: Vec<_> = sim.dispatch().iter().map(|(_, task)| task.token).collect();
    sim.now = sim.now.plus_millis(5);
    sim.orchestration(OrchestrationCommand::SaveContext {
        token: tokens[0],
        patch: set("cursor", "[1]"),
    })
    .unwrap();
    sim.report_with(tokens[0], Report::Schedule(1_000), Some(set("page", "2")))
        .unwrap();
    sim.report(tokens[1], Report::Retry(failure("busy"))).unwrap();
    sim.advance(1_500);
    let tokens: Vec<_> = sim.dispatch().iter().map(|(_, task)| task.token).collect();
    sim.report(tokens[0], Report::Wait(Some(60_000))).unwrap();
    let forget = Patch {
        set: Vec::new(),
        delete: vec!["cursor".to_owned()],
    };
    sim.report_with(tokens[1], Report::Complete(payload("{\"b\":1}")), Some(forget))
        .unwrap();
    let waiting = sim
        .view("all")
        .activities
        .iter()
        .find_map(|it| Some((it.id.to_string(), it.token?)))
        .unwrap();
    sim.now = sim.now.plus_millis(7);
    sim.resolve(("all", &waiting.0), waiting.1, Report::Complete(payload("{\"a\":1}")))
        .unwrap();
    let last = sim.dispatch()[0].1.token;
    sim.report(last, Report::Complete(payload("{\"x\":[true]}"))).unwrap();
}

fn agents_come_and_go(sim: &mut Sim) {
    for id in ["errored", "cancelled", "lost"] {
        sim.start(id, "pair", 2).unwrap();
    }
    let leaver = sim.join("second-start", &["work"], 2);
    let tokens: Vec<_> = sim.dispatch().iter().map(|(_, task)| task.token).collect();
    sim.report(tokens[0], Report::Fatal(failure("no such cell"))).unwrap();
    sim.now = sim.now.plus_millis(11);
    sim.cancel("cancelled").unwrap();
    sim.disconnect(leaver).unwrap();
    sim.join_holding("second-start", &["work"], 3, Vec::new());
    sim.agent(AgentCommand::NodeStarted).unwrap();
    sim.advance(20_000);
}

/// Runs that are open at the end, one for each way to wait; the activity after the lost one waits
/// for an agent of a type that nobody runs.
fn open_ends(sim: &mut Sim) {
    let (agent, session) = sim.join("third-start", &["work"], 2);
    for id in ["waiting", "scheduled", "running", "ready"] {
        let mut made = start(id, "pair", 2);
        made.absent_as_of = None;
        sim.start_with(made).unwrap();
    }
    let tokens: Vec<_> = sim.dispatch().iter().map(|(_, task)| task.token).collect();
    sim.complete(tokens[0]).unwrap();
    sim.report(tokens[1], Report::Wait(None)).unwrap();
    let tokens: Vec<_> = sim.dispatch().iter().map(|(_, task)| task.token).collect();
    sim.agent(AgentCommand::Credits {
        agent,
        session,
        concurrency: 1,
    })
    .unwrap();
    sim.report(tokens[0], Report::Schedule(90_000)).unwrap();
    assert!(sim.dispatch().is_empty());
}

/// Writes the next golden pair, and no other.
fn write_next() {
    let version = versions().last().copied().unwrap_or_default() + 1;
    let journal = folder().join(format!("v{version}.journal"));
    fs::write(&journal, framed(&everything().journal)).unwrap();
    let text = serde_json::to_string_pretty(&shown(&read(version))).unwrap();
    fs::write(folder().join(format!("v{version}.json")), text + "\n").unwrap();
    println!("wrote {}", journal.display());
}

#[test]
fn every_golden_journal_still_shows_what_it_showed() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_next();
    }
    let versions = versions();
    assert!(versions.contains(&1));
    for version in versions {
        let expected = fs::read_to_string(folder().join(format!("v{version}.json"))).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let mut shown = shown(&read(version));
        forget_newer_fields(&mut shown, &expected);
        assert_eq!(
            serde_json::to_string_pretty(&expected).unwrap(),
            serde_json::to_string_pretty(&shown).unwrap(),
            "v{version}.journal"
        );
    }
}

/// Leaves out what a later release shows besides: views can gain fields.
fn forget_newer_fields(shown: &mut Value, expected: &Value) {
    match (shown, expected) {
        (Value::Object(shown), Value::Object(expected)) => {
            shown.retain(|field, _| expected.contains_key(field));
            for (field, value) in shown {
                forget_newer_fields(value, &expected[field]);
            }
        }
        (Value::Array(shown), Value::Array(expected)) => {
            for (shown, expected) in shown.iter_mut().zip(expected) {
                forget_newer_fields(shown, expected);
            }
        }
        _ => {}
    }
}

#[test]
fn every_golden_journal_still_leads_to_the_state_with_its_hash() {
    let hashes: Vec<String> = versions()
        .into_iter()
        .map(|version| folded(&read(version)).hash().to_string())
        .collect();
    assert_eq!(hashes, HASHES);
}

#[test]
fn the_newest_golden_journal_holds_every_event_there_is() {
    let newest = versions().pop().unwrap();
    let held: BTreeSet<&str> = read(newest).iter().map(|it| variant(&it.event)).collect();
    let all: BTreeSet<&str> = VARIANTS.iter().copied().collect();
    assert_eq!(held, all, "see the head of this file");
}

#[test]
fn a_batch_of_a_newer_format_is_refused_with_what_to_do() {
    let error = read_batch(&[2, 1, 0]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the batch is of format 2, and this program reads up to 1; use the version of the program that wrote it, or a newer one"
    );
}
