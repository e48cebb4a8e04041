//! What can be asked about definitions.

use unisono_model::api::DefinitionKind;
use unisono_model::definition::Document;
use unisono_model::ids::Revision;
use unisono_model::name::Name;

/// A request about definitions.
#[derive(Clone, Debug)]
pub enum DefinitionCommand {
    /// Store these documents together. They have been validated together.
    Apply {
        /// Where.
        namespace: Name,
        /// What.
        documents: Vec<Document>,
        /// The namespace's definitions revision that they were validated against.
        based_on: Revision,
    },
    /// Delete a definition with all its versions.
    Delete {
        /// Where.
        namespace: Name,
        /// Which kind.
        kind: DefinitionKind,
        /// Which one.
        type_name: Name,
    },
}
