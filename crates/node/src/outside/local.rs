//! Controllers that are part of the process: a program that embeds a node registers them by the names that policies use.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all, ready};
use unisono_model::name::Name;
use unisono_model::rollout::{Answer, CallKind, CallRequest, CallTarget, TargetId};

/// The answer of a controller: what it says, or why it refuses, for people. A refusal holds the rollout, and it is asked
/// again.
pub type Said<'a, T> = BoxFuture<'a, Result<T, String>>;

fn ids(targets: &[CallTarget]) -> Vec<TargetId> {
    let id = |target: &CallTarget| TargetId {
        group: target.group.clone(),
        name: target.name.clone(),
    };
    targets.iter().map(id).collect()
}

/// Decides about targets beside the plan. What is not written does as if there were no controller.
pub trait TargetController: Send + Sync {
    /// Which of `call.targets` move next, `call.count` at most; targets that are yet to be made may be among them.
    fn select<'a>(&'a self, call: &'a CallRequest) -> Said<'a, Vec<TargetId>> {
        let count = usize::try_from(call.count.unwrap_or_default()).unwrap_or(usize::MAX);
        let first = call.targets.get(..count).unwrap_or(&call.targets);
        Box::pin(ready(Ok(ids(first))))
    }

    /// Which of `call.targets`, which were chosen, may move.
    fn approve<'a>(&'a self, call: &'a CallRequest) -> Said<'a, Vec<TargetId>> {
        Box::pin(ready(Ok(ids(&call.targets))))
    }

    /// Which of `call.targets`, which are old, are to be forgotten, `call.count` at most.
    fn remove<'a>(&'a self, call: &'a CallRequest) -> Said<'a, Vec<TargetId>> {
        let _ = call;
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Whether a target that says that it is well really is. One that is not has failed.
    fn monitor<'a>(&'a self, target: &'a CallTarget, call: &'a CallRequest) -> BoxFuture<'a, bool> {
        let _ = (target, call);
        Box::pin(ready(true))
    }
}

/// Says whether the whole is well.
pub trait MonitoringController: Send + Sync {
    /// Whether it is. Nothing moves while it is not.
    fn monitor<'a>(&'a self, call: &'a CallRequest) -> Said<'a, ()>;
}

/// The controllers of a process, by the names that policies use: `controllers: {selection: {local: name}}`.
#[derive(Clone, Default)]
pub struct LocalControllers {
    targets: BTreeMap<Name, Arc<dyn TargetController>>,
    monitors: BTreeMap<Name, Arc<dyn MonitoringController>>,
}

impl fmt::Debug for LocalControllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.targets.keys().chain(self.monitors.keys()))
            .finish()
    }
}

impl LocalControllers {
    /// Registers one for selection, approval, removal and monitoring, in place of an earlier one of that name.
    pub fn targets(&mut self, name: Name, controller: Arc<dyn TargetController>) {
        self.targets.insert(name, controller);
    }

    /// Registers one for the monitoring of all, in place of an earlier one of that name.
    pub fn monitoring(&mut self, name: Name, controller: Arc<dyn MonitoringController>) {
        self.monitors.insert(name, controller);
    }

    /// The answer to a call; none when nobody is registered who could give one.
    pub(super) async fn ask(&self, name: &Name, call: &CallRequest) -> Option<Answer> {
        if call.kind == CallKind::ExternalMonitoring {
            let said = self.monitors.get(name)?.monitor(call).await;
            return Some(said.map_or_else(|message| Answer::Refuse { message }, |()| Answer::Go));
        }
        let controller = self.targets.get(name)?;
        let chosen = match call.kind {
            CallKind::Selection => controller.select(call).await,
            CallKind::Approval => controller.approve(call).await,
            CallKind::Removal => controller.remove(call).await,
            CallKind::Monitoring => Ok(well(&**controller, call).await),
            CallKind::Hook | CallKind::Analysis | CallKind::ExternalMonitoring => return None,
        };
        Some(chosen.map_or_else(
            |message| Answer::Refuse { message },
            |targets| Answer::Targets { targets },
        ))
    }
}

async fn well(controller: &dyn TargetController, call: &CallRequest) -> Vec<TargetId> {
    let asked: Vec<_> = call
        .targets
        .iter()
        .map(|target| controller.monitor(target, call))
        .collect();
    let answers = join_all(asked).await;
    let well = ids(&call.targets).into_iter().zip(answers);
    well.filter_map(|(id, well)| well.then_some(id)).collect()
}
