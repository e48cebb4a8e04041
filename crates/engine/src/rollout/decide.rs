//! What commands lead to.

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::rollout::Done;

use super::advance::rule;
use super::calls::{self, Unfit};
use super::command::RolloutCommand;
use super::event::{Decision, RolloutEvent as E};
use super::rejection::RolloutRejection as R;
use super::report::{self, ReportReply};
use super::state::Rollouts;
use super::{outbox, verbs};

/// The answer to a command about rollouts. What targets are told is asked for after the command: rules may have decided
/// more by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutReply {
    /// Reports were taken.
    Reported(ReportReply),
    /// A verb did this.
    Done(Done),
    /// It was taken.
    Taken {
        /// What that means, for people.
        message: &'static str,
    },
}

/// Decides a command; `revision` is that of the last event.
pub(crate) fn decide(
    rollouts: &Rollouts,
    command: RolloutCommand,
    (revision, at): (Revision, Timestamp),
    events: &mut Vec<E>,
) -> Result<RolloutReply, R> {
    match command {
        RolloutCommand::Report {
            namespace,
            entity,
            reports,
        } => report::decide(rollouts, namespace, entity, &reports, at, events).map(RolloutReply::Reported),
        RolloutCommand::Do {
            namespace,
            entity,
            by,
            verb,
        } => verbs::decide(rollouts, (namespace, entity), by, verb, (revision, at), events).map(RolloutReply::Done),
        RolloutCommand::Freeze { namespace, for_ms, by } => {
            events.push(E::Frozen {
                namespace: namespace.map(|it| it.as_str().to_owned()),
                until: for_ms.map(|millis| at.plus_millis(millis).0),
                actor: by.actor,
                reason: by.reason,
            });
            Ok(taken("nothing moves forward there; going back is not held up"))
        }
        RolloutCommand::Thaw { namespace, by } => {
            let board = &rollouts.board;
            let frozen = match &namespace {
                Some(namespace) => board.namespaces.contains_key(namespace.as_str()),
                None => board.everything.is_some(),
            };
            if !frozen {
                return Err(R::NotFrozen);
            }
            events.push(E::Thawed {
                namespace: namespace.map(|it| it.as_str().to_owned()),
                actor: by.actor,
                reason: by.reason,
            });
            Ok(taken("the freeze is over"))
        }
        RolloutCommand::NotListened { lost_ms } => {
            if !rollouts.fleets.is_empty() {
                let lost = i64::try_from(lost_ms).unwrap_or(i64::MAX);
                events.push(E::Restarted { lost, stopped: true });
            }
            Ok(taken("that time does not count"))
        }
        RolloutCommand::Answer {
            namespace,
            entity,
            call,
            answer,
        } => {
            let fleet = rollouts.get(&namespace, &entity).ok_or(R::EntityNotFound { entity })?;
            calls::answer(fleet, call, answer, at, events).map_err(|unfit| match unfit {
                Unfit::Unknown => R::CallNotFound { call },
                Unfit::Kind(wanted) => R::WrongAnswer { wanted },
            })?;
            Ok(taken("the answer was taken"))
        }
        RolloutCommand::Acknowledge {
            namespace,
            entity,
            subscriber,
            sequence,
        } => {
            let fleet = rollouts.get(&namespace, &entity).ok_or(R::EntityNotFound { entity })?;
            let received = fleet.head.facts.received.get(subscriber.as_str()).copied().unwrap_or(0);
            let sequence = sequence.min(fleet.notes.last());
            if sequence > received {
                events.push(rule(
                    fleet,
                    at,
                    Decision::Acknowledged {
                        subscriber: subscriber.as_str().to_owned(),
                        sequence,
                    },
                ));
            }
            Ok(taken("it is remembered"))
        }
        RolloutCommand::Undelivered {
            namespace,
            entity,
            subscriber,
            failing,
            detail,
        } => {
            let fleet = rollouts.get(&namespace, &entity).ok_or(R::EntityNotFound { entity })?;
            events.push(outbox::undelivered(fleet, &subscriber, (failing, detail), at)?);
            Ok(taken("it is remembered"))
        }
        RolloutCommand::ResumeDelivery {
            namespace,
            entity,
            subscriber,
            after,
            by,
        } => {
            let fleet = rollouts.get(&namespace, &entity).ok_or(R::EntityNotFound { entity })?;
            events.push(outbox::resumed(fleet, &subscriber, after, by, at)?);
            Ok(taken("it is told what it has not received"))
        }
    }
}

fn taken(message: &'static str) -> RolloutReply {
    RolloutReply::Taken { message }
}
