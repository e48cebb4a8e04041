//! The graph under a definition: topological layers, cycles, and who is upstream of whom.
//!
//! Vertices are the activities' places in the definition. Everything is iterative, so that a chain of 100,000
//! activities needs no stack.

/// Dependencies and their inverse.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) dependencies: Vec<Vec<u32>>,
    pub(crate) dependents: Vec<Vec<u32>>,
}

/// Vertices in layers: each stands one layer after the last of its dependencies.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// In execution order; within a layer in the order of the definition.
    pub(crate) layers: Vec<Vec<u32>>,
    /// The layer of each vertex; `None` on a cycle and behind one.
    pub(crate) layer_of: Vec<Option<u32>>,
}

/// Producers that one sweep over the graph follows at once.
const SWEEP: usize = 1024;
const WORDS: usize = SWEEP / 64;

impl Graph {
    /// A graph of the given dependencies, all of which must be vertices.
    pub(crate) fn new(dependencies: Vec<Vec<u32>>) -> Self {
        let mut dependents = vec![Vec::new(); dependencies.len()];
        for (vertex, list) in (0..).zip(&dependencies) {
            list.iter()
                .for_each(|&dependency| dependents[dependency as usize].push(vertex));
        }
        Self {
            dependencies,
            dependents,
        }
    }

    /// Puts the vertices into layers (Kahn's algorithm); those on a cycle or behind one stay out.
    pub(crate) fn layers(&self) -> Layers {
        let mut waits: Vec<usize> = self.dependencies.iter().map(Vec::len).collect();
        let mut layer_of = vec![None; waits.len()];
        let mut layers = Vec::new();
        let mut current: Vec<u32> = (0..)
            .zip(&waits)
            .filter(|(_, waits)| **waits == 0)
            .map(|(v, _)| v)
            .collect();
        while !current.is_empty() {
            let number = u32::try_from(layers.len()).ok();
            let mut next = Vec::new();
            for &vertex in &current {
                layer_of[vertex as usize] = number;
                for &dependent in &self.dependents[vertex as usize] {
                    waits[dependent as usize] -= 1;
                    if waits[dependent as usize] == 0 {
                        next.push(dependent);
                    }
                }
            }
            next.sort_unstable();
            layers.push(std::mem::replace(&mut current, next));
        }
        Layers { layers, layer_of }
    }

    /// One cycle for every knot of vertices that wait for each other, each vertex waiting for the next and the last for
    /// the first. A cycle starts at its knot's first vertex in the order of the definition and is a shortest one there.
    pub(crate) fn cycles(&self) -> Vec<Vec<u32>> {
        let knots = Knots::of(self);
        knots
            .list
            .iter()
            .filter_map(|knot| self.shortest_cycle(*knot.iter().min()?, &knots.of))
            .collect()
    }

    /// Breadth first from `start` along dependencies inside its knot, until it is met again.
    fn shortest_cycle(&self, start: u32, knot_of: &[u32]) -> Option<Vec<u32>> {
        let mut came_from = std::collections::HashMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(vertex) = queue.pop_front() {
            for &next in &self.dependencies[vertex as usize] {
                if next == start {
                    let mut cycle: Vec<u32> =
                        std::iter::successors(Some(vertex), |v| came_from.get(v).copied()).collect();
                    cycle.reverse();
                    return Some(cycle);
                }
                if knot_of[next as usize] == knot_of[start as usize] && !came_from.contains_key(&next) {
                    came_from.insert(next, vertex);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Of the pairs (vertex, producer), those in which the producer is not upstream of the vertex.
    ///
    /// Pairs with a vertex outside the layers (on a cycle or behind one) are not judged. Follows up to 1,024 producers
    /// at once through the layers, as bits, so the cost is (pairs' distinct producers / 1,024) passes over the graph.
    pub(crate) fn not_upstream(&self, layers: &Layers, pairs: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = pairs.iter().copied().filter(|&(v, p)| layers.judges(v, p)).collect();
        pairs.sort_unstable_by_key(|&(vertex, producer)| (producer, vertex));
        pairs.dedup();
        let mut producers: Vec<u32> = pairs.iter().map(|&(_, producer)| producer).collect();
        producers.dedup();
        let mut wrong = Vec::new();
        let mut rest = pairs.as_slice();
        for block in producers.chunks(SWEEP) {
            let Some(last) = block.last() else { break };
            let (now, later) = rest.split_at(rest.partition_point(|(_, producer)| producer <= last));
            rest = later;
            wrong.extend(self.sweep(layers, block, now));
        }
        wrong
    }

    fn sweep(&self, layers: &Layers, block: &[u32], pairs: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut reach = vec![[0_u64; WORDS]; self.dependencies.len()];
        let first = block
            .iter()
            .filter_map(|&p| layers.layer_of[p as usize])
            .min()
            .unwrap_or(0) as usize;
        let last = pairs
            .iter()
            .filter_map(|&(v, _)| layers.layer_of[v as usize])
            .max()
            .unwrap_or(0) as usize;
        for &vertex in layers.layers[first..=last.max(first)].iter().flatten() {
            let mut bits = [0; WORDS];
            for &dependency in &self.dependencies[vertex as usize] {
                bits.iter_mut()
                    .zip(&reach[dependency as usize])
                    .for_each(|(bits, more)| *bits |= more);
                if let Ok(bit) = block.binary_search(&dependency) {
                    bits[bit / 64] |= 1 << (bit % 64);
                }
            }
            reach[vertex as usize] = bits;
        }
        let reaches = |&(vertex, producer): &(u32, u32)| {
            block
                .binary_search(&producer)
                .is_ok_and(|bit| reach[vertex as usize][bit / 64] >> (bit % 64) & 1 == 1)
        };
        pairs.iter().copied().filter(|pair| !reaches(pair)).collect()
    }
}

impl Layers {
    fn judges(&self, vertex: u32, producer: u32) -> bool {
        self.layer_of[vertex as usize].is_some() && self.layer_of[producer as usize].is_some()
    }
}

/// Strongly connected components that hold a cycle (Tarjan's algorithm, without recursion).
struct Knots {
    list: Vec<Vec<u32>>,
    /// The component of each vertex.
    of: Vec<u32>,
}

impl Knots {
    fn of(graph: &Graph) -> Self {
        const NEW: u32 = u32::MAX;
        let count = graph.dependencies.len();
        let mut knots = Self {
            list: Vec::new(),
            of: vec![NEW; count],
        };
        let (mut number, mut low) = (vec![NEW; count], vec![0_u32; count]);
        let (mut stack, mut next_number, mut components) = (Vec::new(), 0, 0);
        for root in 0..u32::try_from(count).unwrap_or(NEW) {
            if number[root as usize] != NEW {
                continue;
            }
            // A frame is a vertex and how many of its dependencies have been followed.
            let mut frames = vec![(root, 0_usize)];
            while let Some((vertex, followed)) = frames.pop() {
                let v = vertex as usize;
                if followed == 0 {
                    (number[v], low[v]) = (next_number, next_number);
                    next_number += 1;
                    stack.push(vertex);
                } else {
                    let child = graph.dependencies[v][followed - 1] as usize;
                    if knots.of[child] == NEW {
                        low[v] = low[v].min(low[child]);
                    }
                }
                if let Some(&child) = graph.dependencies[v].get(followed) {
                    frames.push((vertex, followed + 1));
                    if number[child as usize] == NEW {
                        frames.push((child, 0));
                    }
                } else if low[v] == number[v] {
                    knots.close(graph, &mut stack, vertex, components);
                    components += 1;
                }
            }
        }
        knots.list.sort_unstable_by_key(|knot| knot.iter().min().copied());
        knots
    }

    fn close(&mut self, graph: &Graph, stack: &mut Vec<u32>, root: u32, component: u32) {
        let start = stack.iter().rposition(|&vertex| vertex == root).unwrap_or(0);
        let knot = stack.split_off(start);
        knot.iter().for_each(|&vertex| self.of[vertex as usize] = component);
        if knot.len() > 1 || graph.dependencies[root as usize].contains(&root) {
            self.list.push(knot);
        }
    }
}
