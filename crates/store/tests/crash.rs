//! A process that is killed while it writes leaves its last checkpoint, all that came before it, and of what came
//! after it whole batches, without a gap.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;
use unisono_store::{Checkpoint, EntityKind, PageRequest, RunFilter, RunKey, Store, StoreOptions};

const DIRECTORY: &str = "UNISONO_STORE_CRASH_TEST";
const RUNS_PER_BATCH: u64 = 20;
const BATCHES_PER_CHECKPOINT: u64 = 5;
const ROUNDS: u64 = 5;

fn namespace() -> Name {
    Name::parse("prod").unwrap()
}

fn id(run: u64) -> Name {
    Name::parse(&format!("run-{run}")).unwrap()
}

fn runs_of(batch: u64) -> std::ops::Range<u64> {
    batch * RUNS_PER_BATCH..(batch + 1) * RUNS_PER_BATCH
}

/// Batch `number` finishes its runs, and opens those of the next.
fn write(store: &Store, number: u64) {
    let mut batch = store.batch();
    let finished = runs_of(number).map(|run| (run, OrchestrationState::Completed));
    let opened = runs_of(number + 1).map(|run| (run, OrchestrationState::Running));
    for (run, state) in finished.chain(opened) {
        let summary = OrchestrationSummary {
            id: id(run),
            r#type: Name::parse("tenant").unwrap(),
            version: 1,
            state,
            correlation_id: None,
            labels: BTreeMap::new(),
            created_at: Timestamp(i64::try_from(run).unwrap()),
            ended_at: None,
            waiting_for: Vec::new(),
        };
        batch.summary(RunKey(run), &namespace(), &summary);
        if state.is_terminal() {
            batch.history(RunKey(run), run + 1, run + 1, &[8; 4_000]);
            batch.remove_entity(EntityKind::Run, run);
        } else {
            batch.put_entity(EntityKind::Run, run, &[9; 500]);
        }
    }
    store.commit(batch).unwrap();
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = env::var_os(DIRECTORY) else {
        return;
    };
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    let start = store.checkpoint().unwrap().map_or(0, |checkpoint| checkpoint.position);
    for number in start..start + 20_000 {
        write(&store, number);
        let position = number + 1;
        if position % BATCHES_PER_CHECKPOINT == 0 {
            let checkpoint = Checkpoint {
                position,
                revision: position,
                format: 1,
            };
            store.commit_checkpoint(checkpoint).unwrap();
            // Not `println`: the test harness would keep it.
            writeln!(std::io::stdout(), "checkpoint {position}").unwrap();
        }
    }
}

fn start_child(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_writes_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child some time after its `checkpoints`th checkpoint; returns the last one it told of.
fn kill_after(mut child: Child, checkpoints: usize, then: Duration) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut positions = lines.filter_map(|line| line.unwrap().strip_prefix("checkpoint ")?.parse().ok());
    let told = positions.nth(checkpoints - 1).unwrap();
    thread::sleep(then);
    child.kill().unwrap();
    child.wait().unwrap();
    positions.last().unwrap_or(told)
}

fn batch_is_there(store: &Store, number: u64) -> bool {
    let history = |run| store.history(RunKey(run), 0).unwrap().map(Result::unwrap);
    let there = runs_of(number).filter(|run| history(*run).count() > 0).count() as u64;
    assert!(there == 0 || there == RUNS_PER_BATCH, "{there} runs of batch {number}");
    for run in runs_of(number).take_while(|_| there > 0) {
        let history: Vec<_> = history(run).collect();
        assert!(history.len() == 1 && history[0].1.len() == 4_000);
        assert_eq!(store.run_key(&namespace(), &id(run)).unwrap(), Some(RunKey(run)));
    }
    there > 0
}

/// The open runs, by the checkpointed entities and by the index.
fn open_runs(store: &Store) -> (Vec<u64>, Vec<u64>) {
    let entities = store.entities().unwrap().map(|row| row.unwrap().1).collect();
    let filter = RunFilter {
        states: vec![OrchestrationState::Running],
        ..RunFilter::default()
    };
    let request = PageRequest {
        limit: 1_000,
        token: None,
    };
    let page = store.list(&namespace(), &filter, request).unwrap();
    let mut listed: Vec<_> = page.items.into_iter().map(|(run, _)| run.0).collect();
    listed.reverse();
    (entities, listed)
}

#[test]
fn what_was_checkpointed_outlives_a_kill_and_the_rest_ends_with_a_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let mut reached = 0;
    for round in 0..ROUNDS {
        let then = Duration::from_millis(round * 37 % 50);
        let told = kill_after(start_child(&dir), 4 + usize::try_from(round).unwrap() * 10, then);
        let store = Store::open(StoreOptions::new(&dir)).unwrap();
        let checkpoint = store.checkpoint().unwrap().unwrap();
        assert!(checkpoint.position >= told, "{checkpoint:?} after {told} was told");
        assert!(told > reached);
        reached = told;
        // The last round looks at everything once more.
        let from = if round + 1 == ROUNDS { 0 } else { told };
        let end = (from..).find(|number| !batch_is_there(&store, *number)).unwrap();
        assert!(end >= checkpoint.position, "{end} batches, {checkpoint:?}");
        assert!(end < checkpoint.position + 2 * BATCHES_PER_CHECKPOINT);
        assert!(!batch_is_there(&store, end + 1));
        let open: Vec<_> = runs_of(end).collect();
        assert_eq!(open_runs(&store), (open.clone(), open));
    }
}
