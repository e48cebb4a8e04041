//! The graphs of large orchestrations.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use super::super::target::STEP;

/// What a large orchestration looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Shape {
    /// All activities side by side.
    Wide,
    /// One after the other.
    Deep,
    /// A seeded random graph, with joins of up to 64 and forks of hundreds.
    Random,
}

/// Which earlier activities each activity depends on.
pub(super) struct Graph {
    dependencies: Vec<Vec<u32>>,
    /// Activities on the longest path.
    pub(super) depth: u32,
}

impl Graph {
    pub(super) fn new(shape: Shape, activities: u32, seed: u64) -> Self {
        let mut random = Random(seed);
        let dependencies: Vec<Vec<u32>> = (0..activities)
            .map(|activity| match shape {
                Shape::Wide => Vec::new(),
                Shape::Deep => activity.checked_sub(1).into_iter().collect(),
                Shape::Random => random.dependencies(activity),
            })
            .collect();
        let mut depths: Vec<u32> = Vec::with_capacity(dependencies.len());
        for of_activity in &dependencies {
            let below = of_activity.iter().map(|it| depths[*it as usize]).max();
            depths.push(below.unwrap_or(0) + 1);
        }
        let depth = depths.into_iter().max().unwrap_or(1);
        Self { dependencies, depth }
    }

    pub(super) fn activities(&self) -> u32 {
        u32::try_from(self.dependencies.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn edges(&self) -> usize {
        self.dependencies.iter().map(Vec::len).sum()
    }

    /// How many activities can run side by side, on average.
    pub(super) fn width(&self) -> f64 {
        f64::from(self.activities()) / f64::from(self.depth)
    }

    /// The definition, in YAML.
    pub(super) fn definition(&self, type_name: &str) -> String {
        let mut text = format!("type: {type_name}\nactivities:\n");
        for (activity, dependencies) in self.dependencies.iter().enumerate() {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "- id: a{activity}\n  type: {STEP}");
            if !dependencies.is_empty() {
                let names: Vec<String> = dependencies.iter().map(|it| format!("a{it}")).collect();
                let _ = writeln!(text, "  dependsOn: [{}]", names.join(", "));
            }
        }
        text
    }
}

/// How far back most edges of a random graph reach.
const WINDOW: u64 = 512;
/// Every so many activities there is one from which many depend.
const HUB: u32 = 1_024;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }

    /// One in 16 is a root, one in 64 joins many, one in 16 depends on a hub as well.
    fn dependencies(&mut self, activity: u32) -> Vec<u32> {
        let wanted = match self.below(64) {
            0..4 => 0,
            4 => 64,
            _ => 1 + self.below(3),
        };
        let mut dependencies: Vec<u32> = (0..wanted.min(u64::from(activity)))
            .map(|_| {
                let back = 1 + self.below(WINDOW.min(u64::from(activity)));
                activity - u32::try_from(back).unwrap_or(activity)
            })
            .collect();
        if activity > 0 && self.below(16) == 0 {
            dependencies.push((activity - 1) / HUB * HUB);
        }
        dependencies.sort_unstable();
        dependencies.dedup();
        dependencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_graph_is_the_same_for_the_same_seed_and_has_joins_and_forks() {
        let graph = Graph::new(Shape::Random, 5_000, 7);
        assert_eq!(graph.dependencies, Graph::new(Shape::Random, 5_000, 7).dependencies);
        assert_ne!(graph.dependencies, Graph::new(Shape::Random, 5_000, 8).dependencies);
        let widest = graph.dependencies.iter().map(Vec::len).max();
        assert!(widest > Some(50));
        let hub = graph.dependencies.iter().filter(|it| it.contains(&0)).count();
        assert!(hub > 50, "{hub}");
        assert!(graph.depth > 20);
    }

    #[test]
    fn depth_and_width_are_those_of_the_shape() {
        assert_eq!(Graph::new(Shape::Deep, 50, 1).depth, 50);
        let wide = Graph::new(Shape::Wide, 50, 1);
        assert_eq!((wide.depth, wide.width() as u32), (1, 50));
    }
}
