//! Retention: for how long what is known of runs that have ended is kept.
//!
//! A rule says how old and how many they may become. A namespace has one for all of its orchestration definitions, and a
//! definition may have one of its own in its place. The rules are state; which runs they concern is not, because runs that
//! have ended left the engine. So somebody outside looks for them and asks to delete them, naming the rules that it went by,
//! and is refused when these have changed. What is deleted, by a rule or because somebody asked, is an event: the store
//! removes what it has of these runs, and does so again whenever the journal is replayed.

mod command;
mod decide;
mod event;
mod state;

pub use command::RetentionCommand;
pub(crate) use decide::decide;
pub use event::{DeletedRun, RetentionEvent, Rule};
pub(crate) use state::evolve;
pub use state::{Retention, Rules};
