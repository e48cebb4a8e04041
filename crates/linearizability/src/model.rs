//! What an object is allowed to do.

use std::fmt::Debug;
use std::hash::Hash;

/// An object as one thread alone would see it.
pub trait Model {
    /// What is called, with its arguments.
    type Input: Debug + PartialEq;
    /// What comes back.
    type Output: Debug;
    /// All that its outcomes depend on.
    type State: Clone + Debug + Eq + Hash;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The states that the operation may lead to from this one, if it comes out like this; none, when it cannot. An
    /// output of `None` is unknown: whatever may come of the operation is right.
    fn step(&self, state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Vec<Self::State>;
}
