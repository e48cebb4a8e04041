//! The rules of one orchestration definition: its activities, their types, and the graph of their dependencies.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{known, types::Types};
use crate::{
    Name,
    document::{DraftActivity, DraftOrchestration, Finding},
    graph::{Graph, Layers},
    limits::MAX_ACTIVITIES,
    nearest::Nearest,
    plan::cycle_text,
};

/// Judges one orchestration definition.
pub(super) struct Judge<'j, 'a> {
    pub(super) draft: &'j DraftOrchestration,
    pub(super) types: &'j mut Types<'a>,
    pub(super) nearest: &'j Nearest,
    pub(super) findings: &'j mut Vec<Finding>,
    /// Positions in `draft.activities` by id; of equal ids the first.
    pub(super) index: FxHashMap<&'j str, u32>,
}

impl<'j, 'a> Judge<'j, 'a> {
    pub(super) fn new(
        draft: &'j DraftOrchestration,
        types: &'j mut Types<'a>,
        nearest: &'j Nearest,
        findings: &'j mut Vec<Finding>,
    ) -> Self {
        Self {
            draft,
            types,
            nearest,
            findings,
            index: FxHashMap::default(),
        }
    }

    pub(super) fn judge(mut self) {
        if self.number_of_activities() {
            self.ids();
            self.activity_types();
            let graph = Graph::new(self.dependencies());
            let layers = graph.layers();
            self.cycles(&graph, &layers);
            self.mappings(&graph, &layers);
        }
    }

    fn number_of_activities(&mut self) -> bool {
        let Some(count) = &self.draft.activity_count else {
            return true;
        };
        let at = (count.span, "activities");
        if count.value == 0 {
            let help = "add at least one activity";
            self.findings.push(Finding::new(
                "empty-activities",
                at,
                "the orchestration has no activities",
                help,
            ));
        } else if count.value > MAX_ACTIVITIES {
            let message = format!("{} activities are more than the {MAX_ACTIVITIES} allowed", count.value);
            let help = "split the orchestration into several";
            self.findings
                .push(Finding::new("too-many-activities", at, message, help));
        }
        (1..=MAX_ACTIVITIES).contains(&count.value)
    }

    fn ids(&mut self) {
        for (position, activity) in (0..).zip(&self.draft.activities) {
            let Some(id) = &activity.id else { continue };
            if let Some(first) = self.index.get(id.value.as_str()) {
                let first = self.draft.activities[*first as usize].place;
                let message = format!("the id `{}` is already that of activities[{first}]", id.value);
                let at = (id.span, format!("activities[{}].id", activity.place));
                self.findings.push(Finding::new(
                    "duplicate-id",
                    at,
                    message,
                    "give each activity an id of its own",
                ));
            } else {
                self.index.insert(&id.value, position);
            }
        }
    }

    fn activity_types(&mut self) {
        for activity in &self.draft.activities {
            let Some(r#type) = &activity.r#type else {
                continue;
            };
            if self.types.get(&r#type.value).is_none() {
                let message = format!("there is no activity definition of the type `{}`", r#type.value);
                let none = "apply an activity definition of this type, before or together with this one";
                let help = known(self.nearest, &r#type.value, self.types.names(), none);
                let at = (r#type.span, format!("activities[{}].type", activity.place));
                self.findings
                    .push(Finding::new("unknown-activity-type", at, message, help));
            }
        }
    }

    /// The dependencies that exist, each once, as positions.
    fn dependencies(&mut self) -> Vec<Vec<u32>> {
        let mut seen = FxHashSet::default();
        let draft = self.draft;
        draft
            .activities
            .iter()
            .map(|activity| self.dependencies_of(activity, &mut seen))
            .collect()
    }

    fn dependencies_of(&mut self, activity: &DraftActivity, seen: &mut FxHashSet<u32>) -> Vec<u32> {
        seen.clear();
        let mut found = Vec::with_capacity(activity.depends_on.len());
        for dependency in &activity.depends_on {
            let id = &dependency.id;
            let at = || (id.span, dependency.path(activity.place));
            match self.index.get(id.value.as_str()) {
                None => {
                    let message = format!("there is no activity `{}` to depend on", id.value);
                    let ids = self
                        .draft
                        .activities
                        .iter()
                        .filter_map(|a| Some(a.id.as_ref()?.value.as_str()));
                    let help = known(self.nearest, &id.value, ids, "");
                    self.findings
                        .push(Finding::new("unknown-dependency", at(), message, help));
                }
                Some(&position) if !seen.insert(position) => {
                    let message = format!("`{}` is already a dependency of this activity", id.value);
                    self.findings
                        .push(Finding::new("duplicate-dependency", at(), message, "name it once"));
                }
                Some(&position) => found.push(position),
            }
        }
        found
    }

    fn cycles(&mut self, graph: &Graph, layers: &Layers) {
        if layers.layer_of.iter().all(Option::is_some) {
            return;
        }
        for cycle in graph.cycles() {
            let (Some(&first), Some(name)) = (cycle.first(), self.names(&cycle)) else {
                continue;
            };
            let next = cycle
                .get(1)
                .or(cycle.first())
                .and_then(|next| self.draft.activities.get(*next as usize));
            let activity = &self.draft.activities[first as usize];
            let next = next.and_then(|next| next.id.as_ref());
            let back = activity
                .depends_on
                .iter()
                .find(|back| next.is_some_and(|next| next.value == back.id.value));
            let Some(back) = back else { continue };
            let (message, help) = if cycle.len() == 1 {
                (
                    format!("the activity waits for itself: {}", cycle_text(&name)),
                    "remove the dependency on itself",
                )
            } else {
                let message = format!("activities wait for each other: {}", cycle_text(&name));
                (
                    message,
                    "each depends on the one after the arrow; remove one of these dependencies",
                )
            };
            self.findings.push(Finding::new(
                "cycle",
                (back.id.span, back.path(activity.place)),
                message,
                help,
            ));
        }
    }

    fn names(&self, cycle: &[u32]) -> Option<Vec<Name>> {
        let name = |position: &u32| {
            Some(
                self.draft
                    .activities
                    .get(*position as usize)?
                    .id
                    .as_ref()?
                    .value
                    .clone(),
            )
        };
        cycle.iter().map(name).collect()
    }
}
