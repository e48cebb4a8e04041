//! What a check finds, in words.

use std::fmt;

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order for every key.
    Linearizable,
    /// There is none for a key.
    NotLinearizable(Failure),
    /// The search was given up after this many steps.
    Undecided {
        /// The key.
        key: String,
        /// Steps of the search.
        steps: usize,
    },
}

/// How far the search has come in a history that is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The key.
    pub key: String,
    /// The longest order that was found, its last operations only.
    pub order: Vec<String>,
    /// The state after these.
    pub state: String,
    /// What was under way then, and fits nowhere.
    pub stuck: Vec<String>,
}

/// Operations of the longest order that a failure shows.
pub(crate) const SHOWN: usize = 8;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is not linearizable. The longest order ends with", self.key)?;
        for operation in &self.order {
            writeln!(f, "  {operation}")?;
        }
        writeln!(f, "in the state {}. None of these can be next:", self.state)?;
        for operation in &self.stuck {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

impl Verdict {
    /// Panics unless the history is linearizable, with what is wrong with it.
    ///
    /// # Panics
    /// As said.
    pub fn assert_linearizable(&self) {
        match self {
            Self::Linearizable => {}
            Self::NotLinearizable(failure) => panic!("{failure}"),
            Self::Undecided { key, steps } => panic!("the history of {key} was not decided in {steps} steps"),
        }
    }
}
