//! What can be asked about retention.

use unisono_model::ids::Revision;
use unisono_model::name::Name;

use super::event::{DeletedRun, Rule};
use crate::orchestration::Actor;

/// A request about retention.
#[derive(Clone, Debug)]
pub enum RetentionCommand {
    /// Change the rule of a namespace, or of one orchestration definition in it.
    SetRule {
        /// Where.
        namespace: Name,
        /// Which definition's; the namespace's when left out.
        type_name: Option<Name>,
        /// The rule; `None` takes away the one that there is.
        rule: Option<Rule>,
        /// Who, if they said.
        actor: Option<Actor>,
    },
    /// Delete what is kept of a run that has ended.
    Delete {
        /// Where.
        namespace: Name,
        /// Which run, as the store shows it.
        run: DeletedRun,
        /// Who.
        actor: Actor,
    },
    /// Delete what is kept of runs that the rules let go.
    Expire {
        /// Where.
        namespace: Name,
        /// Which runs, as the store shows them.
        runs: Vec<DeletedRun>,
        /// [`Rules::revision`](super::Rules::revision) of the rules.
        based_on: Revision,
    },
}
