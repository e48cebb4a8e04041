//! The search for an order in which every outcome is right.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::history::{History, Operation, Outcome};
use crate::model::Model;
use crate::verdict::{Failure, SHOWN, Verdict};

/// Steps after which the search for one key is given up: some seconds.
const STEPS: usize = 20_000_000;

/// Checks the history of each key against the model.
pub fn check<M: Model, K: fmt::Debug>(model: &M, history: &History<K, M::Input, M::Output>) -> Verdict {
    for (key, operations) in history {
        let key = format!("{key:?}");
        match Search::new(model, operations).run() {
            Found::Order => {}
            Found::Nothing(why) => return Verdict::NotLinearizable(Failure { key, ..why }),
            Found::TooMuch => return Verdict::Undecided { key, steps: STEPS },
        }
    }
    Verdict::Linearizable
}

enum Found {
    Order,
    Nothing(Failure),
    TooMuch,
}

/// A call or a return, in a list from which operations are taken out and into which they are put back.
struct Event {
    operation: usize,
    is_return: bool,
    before: usize,
    after: usize,
}

/// The end of the list, on both sides.
const END: usize = 0;

/// What may be tried next.
#[derive(Clone, Copy)]
enum Place {
    /// The call at this place in the list, and those after it.
    Returned(usize),
    /// The doubtful operation of this number, and those after it.
    Doubtful(usize),
}

/// An operation that may have happened or not.
struct Doubtful {
    operation: usize,
    called: u64,
    ended: u64,
    /// Those that ask the same and end before it. Where two that ask the same are possible, the one that ends later can
    /// still be taken later, and so the other one is taken, unless its later call rules out more.
    twins: Vec<usize>,
}

/// An operation in the order, with what was before it.
struct Step<S> {
    operation: usize,
    place: Place,
    state: S,
    newest: u64,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M::Input, M::Output>],
    /// The calls and returns of operations that returned and are not yet in the order.
    events: Vec<Event>,
    /// Where the call and the return of each operation are.
    places: Vec<(usize, usize)>,
    /// The operations that did not return. They are tried last: an order that needs none is
    /// as good as any.
    doubtful: Vec<Doubtful>,
    state: M::State,
    order: Vec<Step<M::State>>,
    taken: Bits,
    doubtful_taken: Bits,
    /// The latest call of an operation in the order. What ended before it can be added no more.
    newest: u64,
    /// For what was taken of those that returned, and the state that led to: the doubtful ones that were taken besides,
    /// in all ways that were tried. With more of them less is possible, so a way that takes these and more is not tried.
    tried: HashMap<(Bits, M::State), Vec<Bits>>,
    longest: Option<(Vec<usize>, M::State)>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Operation<M::Input, M::Output>]) -> Self {
        let doubtful = doubtful(operations);
        let (events, places) = events(operations);
        Self {
            model,
            operations,
            events,
            places,
            state: model.initial(),
            order: Vec::new(),
            taken: Bits::new(operations.len()),
            doubtful_taken: Bits::new(doubtful.len()),
            doubtful,
            newest: 0,
            tried: HashMap::new(),
            longest: None,
        }
    }

    fn run(mut self) -> Found {
        let mut place = self.first();
        for _ in 0..STEPS {
            if self.events[END].after == END {
                return Found::Order;
            }
            place = match self.next_step(place) {
                Some(step) => {
                    self.take(step);
                    self.first()
                }
                None => {
                    self.remember_the_longest();
                    match self.order.pop() {
                        Some(step) => self.undo(step),
                        None => return self.nothing(),
                    }
                }
            };
        }
        Found::TooMuch
    }

    fn first(&self) -> Place {
        Place::Returned(self.events[END].after)
    }

    /// The next step that fits and leads to something new, from this place on.
    fn next_step(&mut self, from: Place) -> Option<(Step<M::State>, M::State)> {
        let blocked = self.blocked();
        let mut place = from;
        loop {
            let operation = match place {
                // Its operation must be in the order before anything that was called later.
                Place::Returned(event) if self.events[event].is_return => {
                    place = Place::Doubtful(0);
                    continue;
                }
                Place::Returned(event) => Some(self.events[event].operation),
                Place::Doubtful(number) if number == self.doubtful.len() => return None,
                Place::Doubtful(number) => self.may_take(number, blocked).then(|| self.doubtful[number].operation),
            };
            if let Some(next) = operation.and_then(|operation| self.try_next(operation, place)) {
                let step = Step {
                    operation: operation?,
                    place,
                    state: self.state.clone(),
                    newest: self.newest,
                };
                return Some((step, next));
            }
            place = match place {
                Place::Returned(event) => Place::Returned(self.events[event].after),
                Place::Doubtful(number) => Place::Doubtful(number + 1),
            };
        }
    }

    /// The first return that is left. Nothing that was called later can be next.
    fn blocked(&self) -> u64 {
        let mut place = self.events[END].after;
        while !self.events[place].is_return {
            place = self.events[place].after;
        }
        self.operations[self.events[place].operation].ended()
    }

    /// Whether a doubtful operation can be next, and none that asks the same should be before it.
    fn may_take(&self, number: usize, blocked: u64) -> bool {
        let called_by = |number: usize, time| self.doubtful[number].called <= time;
        let is_possible = |number: usize| {
            !self.doubtful_taken.has(number) && called_by(number, blocked) && self.newest < self.doubtful[number].ended
        };
        let newest = self.newest.max(self.doubtful[number].called);
        let mut twins = self.doubtful[number].twins.iter();
        is_possible(number) && !twins.any(|twin| is_possible(*twin) && called_by(*twin, newest))
    }

    /// The state after an operation, if it fits here and leads to something new.
    fn try_next(&mut self, operation: usize, place: Place) -> Option<M::State> {
        let mut taken = self.taken.clone();
        let mut doubtful_taken = self.doubtful_taken.clone();
        match place {
            Place::Returned(_) => taken.flip(operation),
            Place::Doubtful(number) => doubtful_taken.flip(number),
        }
        let newest = self.newest.max(self.operations[operation].called);
        let over = |number: usize| self.doubtful[number].ended < newest;
        let Operation { input, .. } = &self.operations[operation];
        let states = self.model.step(&self.state, input, self.operations[operation].output());
        states.into_iter().find(|state| {
            let ways = self.tried.entry((taken.clone(), state.clone())).or_default();
            let new = !ways.iter().any(|way| way.is_within(&doubtful_taken, over));
            if new {
                ways.push(doubtful_taken.clone());
            }
            new
        })
    }

    fn take(&mut self, (step, next): (Step<M::State>, M::State)) {
        self.flip(&step, Self::take_out);
        self.newest = self.newest.max(self.operations[step.operation].called);
        self.state = next;
        self.order.push(step);
    }

    /// Takes back a step, and gives its place: the operation may lead to another state as well.
    fn undo(&mut self, step: Step<M::State>) -> Place {
        self.flip(&step, Self::put_back);
        self.newest = step.newest;
        self.state = step.state;
        step.place
    }

    fn flip(&mut self, step: &Step<M::State>, change: fn(&mut Self, usize, usize)) {
        match step.place {
            Place::Returned(_) => {
                self.taken.flip(step.operation);
                let (call, returned) = self.places[step.operation];
                change(self, call, returned);
            }
            Place::Doubtful(number) => self.doubtful_taken.flip(number),
        }
    }

    fn take_out(&mut self, call: usize, returned: usize) {
        for place in [call, returned] {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = after;
            self.events[after].before = before;
        }
    }

    fn put_back(&mut self, call: usize, returned: usize) {
        for place in [returned, call] {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = place;
            self.events[after].before = place;
        }
    }

    fn remember_the_longest(&mut self) {
        let longest = self.longest.as_ref().map_or(0, |(order, _)| order.len() + 1);
        if self.order.len() >= longest {
            let order = self.order.iter().map(|step| step.operation).collect();
            self.longest = Some((order, self.state.clone()));
        }
    }

    fn nothing(self) -> Found {
        let (order, state) = self.longest.unwrap_or_else(|| (Vec::new(), self.model.initial()));
        let said = |index: &usize| {
            let Operation {
                client, input, outcome, ..
            } = &self.operations[*index];
            match outcome {
                Outcome::Returned(_, output) => format!("client {client}: {input:?} gave {output:?}"),
                Outcome::Lost(_) | Outcome::Unknown => format!("client {client}: {input:?} gave nothing"),
            }
        };
        let left: Vec<usize> = (0..self.operations.len())
            .filter(|index| !order.contains(index))
            .collect();
        let returned = left.iter().filter(|index| self.operations[**index].output().is_some());
        let blocked = returned
            .map(|index| self.operations[*index].ended())
            .min()
            .unwrap_or(u64::MAX);
        let newest = order
            .iter()
            .map(|index| self.operations[*index].called)
            .max()
            .unwrap_or(0);
        let under_way = |index: &&usize| {
            let operation = &self.operations[**index];
            operation.called < blocked && newest < operation.ended()
        };
        Found::Nothing(Failure {
            key: String::new(),
            order: order.iter().skip(order.len().saturating_sub(SHOWN)).map(said).collect(),
            state: format!("{state:?}"),
            stuck: left.iter().filter(under_way).map(said).collect(),
        })
    }
}

/// The calls and returns of operations that returned, as a list, and where in it they are.
fn events<I, O>(operations: &[Operation<I, O>]) -> (Vec<Event>, Vec<(usize, usize)>) {
    let mut times = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        if operation.output().is_some() {
            times.insert(operation.called, (index, false));
            times.insert(operation.ended(), (index, true));
        }
    }
    let last = times.len();
    let mut events = vec![Event {
        operation: usize::MAX,
        is_return: false,
        before: last,
        after: if last == 0 { END } else { 1 },
    }];
    let mut places = vec![(END, END); operations.len()];
    for (operation, is_return) in times.into_values() {
        let place = events.len();
        let (call, returned) = &mut places[operation];
        *(if is_return { returned } else { call }) = place;
        events.push(Event {
            operation,
            is_return,
            before: place - 1,
            after: if place == last { END } else { place + 1 },
        });
    }
    (events, places)
}

fn doubtful<I: PartialEq, O>(operations: &[Operation<I, O>]) -> Vec<Doubtful> {
    let indexes: Vec<usize> = (0..operations.len())
        .filter(|index| operations[*index].output().is_none())
        .collect();
    let ends = |number: usize| (operations[indexes[number]].ended(), number);
    let asks_the_same = |one: usize, other: usize| operations[indexes[one]].input == operations[indexes[other]].input;
    let doubtful = |(number, operation): (usize, &usize)| Doubtful {
        operation: *operation,
        called: operations[*operation].called,
        ended: operations[*operation].ended(),
        twins: (0..indexes.len())
            .filter(|other| ends(*other) < ends(number) && asks_the_same(number, *other))
            .collect(),
    };
    indexes.iter().enumerate().map(doubtful).collect()
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)].into())
    }

    fn flip(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & 1 << (index % 64) != 0
    }

    /// Whether all of these, but those that do not count, are among the others.
    fn is_within(&self, other: &Self, does_not_count: impl Fn(usize) -> bool) -> bool {
        self.0.iter().zip(&other.0).enumerate().all(|(index, (own, others))| {
            let mut missing = own & !others;
            while missing != 0 {
                let bit = missing.trailing_zeros() as usize;
                if !does_not_count(index * 64 + bit) {
                    return false;
                }
                missing &= missing - 1;
            }
            true
        })
    }
}

#[cfg(test)]
mod tests;
