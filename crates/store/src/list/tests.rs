//! Lists against a naive list in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tempfile::TempDir;

use unisono_model::api::OrchestrationState;
use unisono_model::ids::Timestamp;

use super::*;
use crate::{GroupBy, RunCount, StoreOptions};

const NAMESPACES: [&str; 3] = ["prod", "prod-2", "p"];
const LABEL_TEXTS: [&str; 5] = ["", "a", "a\0", "\0a", "é"];
/// Runs that start between pages come after all others.
const LATER: u64 = 5_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Runs of one block, of neighbouring blocks, and of some that are far apart.
fn key_of(run: u64) -> RunKey {
    RunKey(run * 5_000 + (run / 20) * 1_000_000)
}

/// Neighbours share a namespace, so that a list which skips one is found out.
fn namespace_of(run: u64) -> Name {
    name(NAMESPACES[usize::try_from(run / 5 % 3).unwrap()])
}

/// Several runs start at the same instant.
fn created_at(run: u64) -> Timestamp {
    Timestamp(i64::try_from(run / 4).unwrap() * 100)
}

fn label_text() -> impl Strategy<Value = String> {
    prop::sample::select(LABEL_TEXTS.as_slice()).prop_map(str::to_owned)
}

fn state() -> impl Strategy<Value = OrchestrationState> {
    prop::sample::select(OrchestrationState::ALL.as_slice())
}

fn type_name() -> impl Strategy<Value = Name> {
    prop::sample::select(["tenant", "tenants"].as_slice()).prop_map(name)
}

type Write = (u64, OrchestrationSummary);
type Listed = (RunKey, OrchestrationSummary);

fn write() -> impl Strategy<Value = Write> {
    let labels = btree_map(label_text(), label_text(), 0..3);
    (
        0_u64..40,
        state(),
        type_name(),
        1_u32..3,
        option::of(label_text()),
        labels,
        prop::sample::select([0_u64, 50, 700].as_slice()),
    )
        .prop_map(|(run, state, r#type, version, correlation_id, labels, took)| {
            let summary = OrchestrationSummary {
                id: name(&format!("run-{run}")),
                r#type,
                version,
                state,
                correlation_id,
                labels,
                created_at: created_at(run),
                ended_at: state.is_terminal().then_some(created_at(run).plus_millis(took)),
                waiting_for: Vec::new(),
            };
            (run, summary)
        })
}

fn filter() -> impl Strategy<Value = RunFilter> {
    let instant = || option::weighted(0.3, (-1_i64..11).prop_map(|at| Timestamp(at * 100)));
    let labels = vec((label_text(), label_text()), 0..2);
    (
        vec(state(), 0..3),
        option::weighted(0.3, type_name()),
        option::weighted(0.2, 1_u32..3),
        option::weighted(0.2, label_text()),
        labels,
        (instant(), instant(), instant(), instant()),
    )
        .prop_map(
            |(states, r#type, version, correlation_id, labels, instants)| RunFilter {
                states,
                r#type,
                version,
                correlation_id,
                labels,
                created_after: instants.0,
                created_before: instants.1,
                ended_after: instants.2,
                ended_before: instants.3,
                beyond: None,
            },
        )
}

#[derive(Clone, Debug)]
struct Question {
    filter: RunFilter,
    limit: usize,
    work: Work,
    by: GroupBy,
}

fn question() -> impl Strategy<Value = Question> {
    (
        filter(),
        1_usize..8,
        prop::sample::select([1_usize, 3, 1_000].as_slice()),
        prop::sample::select([1_usize, 3, 1_000].as_slice()),
        any::<(bool, bool, bool)>(),
    )
        .prop_map(|(filter, limit, runs, blocks, by)| Question {
            filter,
            limit,
            work: Work { runs, blocks },
            by: GroupBy {
                r#type: by.0,
                version: by.1,
                state: by.2,
            },
        })
}

struct Case {
    _dir: TempDir,
    store: Store,
    naive: BTreeMap<u64, OrchestrationSummary>,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(dir.path().join("store"))).unwrap();
        Self {
            _dir: dir,
            store,
            naive: BTreeMap::new(),
        }
    }

    fn commit(&mut self, writes: &[Write]) {
        let mut batch = self.store.batch();
        for (run, summary) in writes {
            batch.summary(key_of(*run), &namespace_of(*run), summary);
            self.naive.insert(*run, summary.clone());
        }
        self.store.commit(batch).unwrap();
    }

    /// Writes all that there is of these runs, and deletes some in the same commit.
    fn commit_whole(&mut self, writes: &[Write], deleted: &[u64]) {
        let mut batch = self.store.batch();
        for (run, summary) in writes {
            let key = key_of(*run);
            batch.summary(key, &namespace_of(*run), summary);
            batch.history(key, key.0, key.0 + run % 3, b"events");
            batch.log(key, 0, 1, *run, b"log");
            self.naive.insert(*run, summary.clone());
        }
        for run in deleted {
            batch.delete(key_of(*run), &namespace_of(*run));
            self.naive.remove(run);
        }
        self.store.commit(batch).unwrap();
    }

    fn naive_list(&self, namespace: &Name, filter: &RunFilter) -> Vec<Listed> {
        let matches = |run: u64, summary: &OrchestrationSummary| {
            namespace_of(run) == *namespace
                && (filter.states.is_empty() || filter.states.contains(&summary.state))
                && filter.r#type.as_ref().is_none_or(|name| summary.r#type == *name)
                && filter.version.is_none_or(|version| summary.version == version)
                && (filter.correlation_id.is_none() || summary.correlation_id == filter.correlation_id)
                && filter
                    .labels
                    .iter()
                    .all(|(key, value)| summary.labels.get(key) == Some(value))
                && filter.created_after.is_none_or(|after| summary.created_at >= after)
                && filter.created_before.is_none_or(|before| summary.created_at < before)
                && filter
                    .ended_after
                    .is_none_or(|after| summary.ended_at.is_some_and(|at| at >= after))
                && filter
                    .ended_before
                    .is_none_or(|before| summary.ended_at.is_some_and(|at| at < before))
        };
        let newest_first = self.naive.iter().rev();
        newest_first
            .filter(|(run, summary)| matches(**run, summary))
            .map(|(run, summary)| (key_of(*run), summary.clone()))
            .collect()
    }

    /// All pages joined; between the first of them, runs start.
    fn paged_list(&mut self, namespace: &Name, question: &Question) -> Vec<Listed> {
        let mut joined = Vec::new();
        let mut token = None;
        for number in 0.. {
            let request = PageRequest {
                limit: question.limit,
                token,
            };
            let page = self
                .store
                .list_within(namespace, &question.filter, &request, question.work)
                .unwrap();
            assert!(page.items.len() <= question.limit);
            joined.extend(page.items);
            token = page.next;
            if token.is_none() {
                break;
            }
            if number < 2 {
                self.start_another();
            }
        }
        joined
    }

    fn start_another(&mut self) {
        let run = self.naive.last_key_value().map_or(0, |(run, _)| *run).max(LATER) + 1;
        let (_, mut summary) = self
            .naive
            .first_key_value()
            .map(|(run, summary)| (*run, summary.clone()))
            .unwrap();
        summary.id = name(&format!("run-{run}"));
        summary.created_at = created_at(run);
        summary.ended_at = summary.ended_at.map(|_| created_at(run));
        self.commit(&[(run, summary)]);
    }

    fn check_counts(&self, namespace: &Name, question: &Question, runs: &[Listed]) -> Result<(), TestCaseError> {
        let filter = &question.filter;
        let expected = RunCount {
            runs: runs.len() as u64,
            or_more: false,
        };
        prop_assert_eq!(self.store.count(namespace, filter).unwrap(), expected);
        // Also where the tallies would have said it.
        prop_assert_eq!(self.store.count_within(namespace, filter, 1_000).unwrap(), expected);
        let given_up = self.store.count_within(namespace, filter, 1).unwrap();
        prop_assert!(given_up == expected || given_up.or_more && given_up.runs <= expected.runs);
        let mut groups = BTreeMap::new();
        for (_, run) in runs {
            let group = question.by.of(&run.r#type, run.version, run.state);
            groups.entry(group).or_insert(RunCount::default()).runs += 1;
        }
        prop_assert_eq!(self.store.count_by(namespace, filter, question.by).unwrap(), groups);
        Ok(())
    }

    /// Every row of the keyspaces that have something of runs.
    fn rows(&self) -> Vec<(fjall::Slice, fjall::Slice)> {
        let inner = &self.store.0;
        let keyspaces = [
            &inner.runs,
            &inner.ids,
            &inner.postings,
            &inner.ended,
            &inner.counts,
            &inner.history,
            &inner.logs,
        ];
        let rows = keyspaces.into_iter().flat_map(|keyspace| keyspace.iter());
        rows.map(|row| row.into_inner().unwrap()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_join_to_exactly_the_matching_runs_newest_first_and_counts_are_their_number(
        batches in vec(vec(write(), 1..30), 1..5),
        questions in vec(question(), 1..12),
    ) {
        let mut case = Case::new();
        for writes in &batches {
            case.commit(writes);
        }
        for question in &questions {
            for namespace in NAMESPACES.map(name) {
                let expected = case.naive_list(&namespace, &question.filter);
                case.check_counts(&namespace, question, &expected)?;
                let joined = case.paged_list(&namespace, question);
                prop_assert_eq!(joined, expected);
            }
        }
    }

    #[test]
    fn only_the_last_state_of_a_run_leaves_rows(batches in vec(vec(write(), 1..20), 1..6)) {
        let mut case = Case::new();
        for writes in &batches {
            case.commit(writes);
        }
        let mut direct = Case::new();
        let last: Vec<_> = case.naive.clone().into_iter().collect();
        direct.commit(&last);
        prop_assert_eq!(case.rows(), direct.rows());
        // As after a crash: the same writes again, from the first on.
        for writes in &batches {
            case.commit(writes);
        }
        prop_assert_eq!(case.rows(), direct.rows());
    }

    #[test]
    fn nothing_is_left_of_deleted_runs_and_nothing_of_others_is_touched(
        batches in vec((vec(write(), 1..20), vec(0_u64..40, 0..8)), 1..6),
    ) {
        let mut case = Case::new();
        for (writes, deleted) in &batches {
            case.commit_whole(writes, deleted);
        }
        let mut direct = Case::new();
        let last: Vec<_> = case.naive.clone().into_iter().collect();
        direct.commit_whole(&last, &[]);
        prop_assert_eq!(case.rows(), direct.rows());
        // As after a crash: the same again, from the first on.
        for (writes, deleted) in &batches {
            case.commit_whole(writes, deleted);
        }
        prop_assert_eq!(case.rows(), direct.rows());
    }

    #[test]
    fn the_oldest_that_have_ended_are_found(
        writes in vec(write(), 1..60),
        before in option::of((-1_i64..11).prop_map(|at| Timestamp(at * 100))),
        limit in 1_usize..8,
    ) {
        let mut case = Case::new();
        case.commit(&writes);
        for (namespace, of) in NAMESPACES.map(name).into_iter().flat_map(|it| ["tenant", "tenants"].map(|of| (it.clone(), name(of)))) {
            let filter = RunFilter { r#type: Some(of.clone()), ended_before: before, ..RunFilter::default() };
            let mut expected = case.naive_list(&namespace, &filter);
            expected.retain(|(_, run)| run.state.is_terminal());
            expected.reverse();
            expected.truncate(limit);
            let expected: Vec<_> = expected.into_iter().map(|(key, run)| (key, run.id)).collect();
            prop_assert_eq!(case.store.oldest_ended(&namespace, &of, before, limit).unwrap(), expected);
        }
    }
}

#[test]
fn an_id_can_be_used_again_in_the_commit_that_deletes_the_run_which_had_it() {
    let mut case = Case::new();
    let (old, mut new) = (
        summary(1, OrchestrationState::Completed),
        summary(2, OrchestrationState::Running),
    );
    new.1.id = old.1.id.clone();
    case.commit_whole(std::slice::from_ref(&old), &[]);
    case.commit_whole(&[new], &[1]);
    let prod = namespace_of(1);
    assert_eq!(case.store.run_key(&prod, &old.1.id).unwrap(), Some(key_of(2)));
    case.commit_whole(&[], &[1]);
    assert_eq!(
        case.store.run_key(&prod, &old.1.id).unwrap(),
        Some(key_of(2)),
        "it is not the deleted one's any more"
    );
}

#[test]
fn a_log_that_comes_after_its_run_was_deleted_is_dropped() {
    let mut case = Case::new();
    case.commit_whole(&[summary(1, OrchestrationState::Completed)], &[]);
    case.commit_whole(&[], &[1]);
    let mut batch = case.store.batch();
    batch.log(key_of(1), 0, 1, 9, b"late");
    case.store.commit(batch).unwrap();
    assert_eq!(case.rows(), []);
}

fn summary(run: u64, state: OrchestrationState) -> Write {
    let summary = OrchestrationSummary {
        id: name(&format!("run-{run}")),
        r#type: name("tenant"),
        version: 1,
        state,
        correlation_id: None,
        labels: BTreeMap::new(),
        created_at: created_at(run),
        ended_at: None,
        waiting_for: Vec::new(),
    };
    (run, summary)
}

#[test]
fn what_starts_and_ends_together_shares_the_rows_of_the_index() {
    let mut case = Case::new();
    let states = [OrchestrationState::Running, OrchestrationState::Completed];
    let writes: Vec<_> = (0..3).flat_map(|run| states.map(|state| summary(run, state))).collect();
    case.commit(&writes);
    let own = 3 * 2;
    let shared = ["its type", "its version", "its state", "the count"].len();
    assert_eq!(case.rows().len(), own + shared, "each has a summary and an id");
}

#[test]
fn a_token_of_other_filters_or_another_namespace_is_refused() {
    let mut case = Case::new();
    let writes: Vec<_> = (0..30).map(|run| summary(run, OrchestrationState::Running)).collect();
    case.commit(&writes);
    let request = |token| PageRequest { limit: 2, token };
    let states = vec![OrchestrationState::Running, OrchestrationState::Errored];
    let filter = RunFilter {
        states,
        ..RunFilter::default()
    };
    let first = case.store.list(&name("prod"), &filter, request(None)).unwrap();
    let other = RunFilter {
        version: Some(1),
        ..filter.clone()
    };
    for (namespace, filter) in [("prod", &other), ("p", &filter)] {
        let error = case
            .store
            .list(&name(namespace), filter, request(first.next.clone()))
            .unwrap_err();
        assert!(matches!(error, StoreError::ForeignPageToken), "{error}");
    }
    let mut reordered = filter;
    reordered.states.reverse();
    let second = case.store.list(&name("prod"), &reordered, request(first.next)).unwrap();
    assert_eq!(second.items.len(), 2);
}

#[test]
fn what_a_page_looks_at_is_what_matches() {
    let mut case = Case::new();
    let writes: Vec<_> = (0..300)
        .map(|run| {
            let (run, mut summary) = summary(run * 15, OrchestrationState::Running);
            let text = |matches: bool| matches.to_string();
            summary.labels.insert("even".into(), text(run % 2 == 0));
            summary.labels.insert("rare".into(), text(run == 0));
            (run, summary)
        })
        .collect();
    case.commit(&writes);
    let label = |key: &str| (key.to_owned(), "true".to_owned());
    let filter = RunFilter {
        states: vec![OrchestrationState::Running],
        r#type: Some(name("tenant")),
        labels: vec![label("even"), label("rare")],
        ..RunFilter::default()
    };
    let request = PageRequest { limit: 10, token: None };
    let work = Work { runs: 1, blocks: 1 };
    let page = case.store.list_within(&name("prod"), &filter, &request, work).unwrap();
    assert_eq!(page.items.len(), 1, "the first row looked at is the match");
    assert_eq!(page.next, None);
}
