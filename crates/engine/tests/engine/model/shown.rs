//! What the engine must show, by the model.

use std::collections::BTreeMap;

use unisono_engine::State;
use unisono_engine::orchestration::RunKey;
use unisono_model::api::OrchestrationView;
use unisono_model::ids::Timestamp;

use super::{Model, Phase, Run};

impl Model {
    /// Nothing that can be handed out is left lying.
    pub(crate) fn assert_all_handed_out(&self) {
        for ((namespace, activity_type), line) in self.lines.iter().filter(|(_, line)| !line.is_empty()) {
            let idle = self
                .agents
                .values()
                .find(|agent| agent.has_room() && agent.namespace == *namespace && agent.types.contains(activity_type));
            assert!(
                idle.is_none(),
                "{line:?} of {activity_type} are ready and {idle:?} has room"
            );
        }
    }

    /// Nothing that was due by itself is left lying.
    pub(crate) fn assert_nothing_due(&self, now: Timestamp) {
        for agent in self.agents.values() {
            assert!(
                agent.session.is_some() || agent.until > now.0,
                "an agent outlived its grace"
            );
        }
        let open = self.runs.values().filter(|run| run.ended.is_none());
        for phase in open.flat_map(|run| &run.phases) {
            match phase {
                Phase::Scheduled { due } => assert!(*due > now.0, "scheduled and not due"),
                Phase::Waiting {
                    deadline: Some(deadline),
                    ..
                } => assert!(*deadline > now.0, "waits past its deadline"),
                _ => {}
            }
        }
    }

    /// The state shows of every open run what it should.
    pub(crate) fn assert_shown(&self, state: &State) {
        let mut counts = [0_u64; 4];
        let open = self.runs.iter().filter(|(_, run)| run.ended.is_none());
        for (key, run) in open.clone() {
            let (shown_key, view) = state.view(&run.namespace, &run.id).unwrap();
            assert_eq!(shown_key, RunKey(*key));
            assert!(!view.reason.is_empty(), "an open run without a reason: {view:?}");
            self.assert_run_shown(run, &view);
            for phase in &run.phases {
                match phase {
                    Phase::Ready { .. } => counts[0] += 1,
                    Phase::Running { .. } => counts[1] += 1,
                    Phase::Waiting { .. } => counts[2] += 1,
                    Phase::Scheduled { .. } => counts[3] += 1,
                    _ => {}
                }
            }
        }
        let shown = state.counts();
        assert_eq!([shown.ready, shown.running, shown.waiting, shown.scheduled], counts);
        assert_eq!(state.runs().len(), open.count());
        let depth: usize = state.queue_depths().iter().map(|it| it.ready).sum();
        assert_eq!(depth as u64, counts[0]);
        let up = self.agents.values().filter(|agent| agent.session.is_some());
        assert_eq!(state.connected_agents(), up.count());
    }

    pub(crate) fn assert_run_shown(&self, run: &Run, view: &OrchestrationView) {
        for (index, shown) in view.activities.iter().enumerate() {
            let phase = &run.phases[index];
            assert_eq!(shown.state, phase.state(), "{}", shown.id);
            assert_eq!(shown.token, phase.token());
            assert_eq!(shown.attempts, run.attempts[index]);
            assert!(!shown.reason.is_empty(), "{shown:?}");
        }
        let context: BTreeMap<String, (String, usize, u64)> = view
            .context
            .iter()
            .map(|(key, entry)| {
                let writer = run.graph.iter().position(|vertex| *vertex.id == *entry.written_by);
                (
                    key.clone(),
                    (entry.value.get().to_owned(), writer.unwrap(), entry.revision.0),
                )
            })
            .collect();
        assert_eq!(context, run.context);
    }
}
