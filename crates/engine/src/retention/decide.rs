//! The rules for retention.

use unisono_model::api::DefinitionKind;
use unisono_model::name::Name;

use super::command::RetentionCommand;
use super::event::{DeletedRun, RetentionEvent};
use crate::orchestration::RunKey;
use crate::{Event, Rejection, Reply, State};

pub(crate) fn decide(state: &State, command: RetentionCommand, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
    let event = match command {
        RetentionCommand::SetRule {
            namespace,
            type_name,
            rule,
            actor,
        } => {
            exists(state, &namespace, type_name.as_ref())?;
            RetentionEvent::RuleSet {
                namespace,
                type_name,
                rule,
                actor,
            }
        }
        RetentionCommand::Delete { namespace, run, actor } => {
            if is_open(state, &run) {
                return Err(Rejection::StillOpen { id: run.id });
            }
            RetentionEvent::Deleted {
                namespace,
                runs: vec![run],
                rules: None,
                actor: Some(actor),
            }
        }
        RetentionCommand::Expire {
            namespace,
            mut runs,
            based_on,
        } => {
            let rules = state.retention.namespace(&namespace);
            if rules.is_none_or(|rules| rules.revision != based_on) {
                return Err(Rejection::Stale);
            }
            runs.retain(|run| !is_open(state, run));
            if runs.is_empty() {
                return Ok(Reply::Done);
            }
            RetentionEvent::Deleted {
                namespace,
                runs,
                rules: Some(based_on.0),
                actor: None,
            }
        }
    };
    events.push(Event::Retention(event));
    Ok(Reply::Done)
}

fn is_open(state: &State, run: &DeletedRun) -> bool {
    state.runs.get(RunKey(run.run)).is_some()
}

/// A rule for what is not there would never do anything. A definition that was deleted may have runs still.
fn exists(state: &State, namespace: &Name, type_name: Option<&Name>) -> Result<(), Rejection> {
    let kind = DefinitionKind::Orchestration;
    let definitions = state.definitions.namespace(namespace);
    match (definitions, type_name) {
        (None, _) => Err(Rejection::NamespaceNotFound {
            namespace: namespace.clone(),
        }),
        (Some(definitions), Some(type_name)) if !definitions.of(kind).contains_key(type_name) => {
            Err(Rejection::DefinitionNotFound {
                kind,
                type_name: type_name.clone(),
            })
        }
        _ => Ok(()),
    }
}
