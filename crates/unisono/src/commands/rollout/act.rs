//! What people do to rollouts: each answer says what it did.

use std::time::Duration;

use clap::Args;
use unisono_client::{Basis, Entity};
use unisono_model::ids::Revision;
use unisono_model::rollout::{Done, TargetId, VerbName, VerbRequest, Version};

use super::{Of, target, version};
use crate::cli::{Global, duration};
use crate::failure::Failure;
use crate::output::Console;

/// Why, and on what basis.
#[derive(Args, Clone, Debug)]
pub(super) struct Because {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Only while the entity is at this revision, which `rollout get` shows
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

impl Because {
    pub(super) fn basis(&self) -> Basis {
        Basis {
            revision: self.if_match.map(Revision),
            key: None,
        }
    }
}

/// An entity.
#[derive(Args, Clone, Debug)]
pub(super) struct ActArgs {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    because: Because,
}

/// An entity, and some of its targets.
#[derive(Args, Clone, Debug)]
pub(super) struct TargetsArgs {
    #[command(flatten)]
    of: Of,
    /// Targets
    targets: Vec<String>,
    /// The group of these targets
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    because: Because,
}

/// Where to go back to.
#[derive(Args, Clone, Debug)]
pub(super) struct BackArgs {
    #[command(flatten)]
    of: Of,
    /// The version [default: the last known good one]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<Version>,
    #[command(flatten)]
    because: Because,
}

/// What to run, whatever the plan says.
#[derive(Args, Clone, Debug)]
pub(super) struct OverrideArgs {
    #[command(flatten)]
    of: Of,
    /// The version
    #[arg(value_parser = version)]
    version: Version,
    /// Targets that are tied to it until they are unpinned [default: all, at once]
    targets: Vec<String>,
    /// The group of these targets
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Even when the version is marked as bad
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    because: Because,
}

/// Which mark to take away.
#[derive(Args, Clone, Debug)]
pub(super) struct ClearArgs {
    #[command(flatten)]
    of: Of,
    /// The bad version
    #[arg(value_parser = version)]
    version: Version,
    #[command(flatten)]
    because: Because,
}

/// What a freeze is of.
#[derive(Args, Clone, Debug)]
pub(super) struct Scope {
    /// The entity [default: the whole namespace]
    entity: Option<String>,
    /// Every entity of every namespace
    #[arg(long, conflicts_with = "entity")]
    everything: bool,
}

/// What to freeze.
#[derive(Args, Clone, Debug)]
pub(super) struct FreezeArgs {
    #[command(flatten)]
    scope: Scope,
    /// For how long, such as 12h [default: until it is ended]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    #[command(flatten)]
    because: Because,
}

/// What to thaw.
#[derive(Args, Clone, Debug)]
pub(super) struct ThawArgs {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    because: Because,
}

/// Shows what was done.
pub(super) fn show(done: &Done, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(done);
    }
    console.line(&done.message);
    Ok(())
}

async fn act(
    (entity, console): (Entity, Console),
    verb: VerbName,
    request: VerbRequest,
    because: Because,
) -> Result<(), Failure> {
    let request = VerbRequest {
        reason: because.reason.clone(),
        ..request
    };
    show(&entity.act(verb, &request, &because.basis()).await?, console)
}

/// A verb that takes nothing more.
pub(super) async fn plain(verb: VerbName, args: ActArgs, global: &Global) -> Result<(), Failure> {
    act(args.of.entity(global)?, verb, VerbRequest::default(), args.because).await
}

fn targets(group: Option<&str>, names: &[String]) -> Result<Vec<TargetId>, Failure> {
    names.iter().map(|name| target(group, name)).collect()
}

/// A verb that is about some targets.
pub(super) async fn on_targets(verb: VerbName, args: TargetsArgs, global: &Global) -> Result<(), Failure> {
    let request = VerbRequest {
        targets: targets(args.group.as_deref(), &args.targets)?,
        ..VerbRequest::default()
    };
    act(args.of.entity(global)?, verb, request, args.because).await
}

/// Goes back.
pub(super) async fn rollback(args: BackArgs, global: &Global) -> Result<(), Failure> {
    let request = VerbRequest {
        version: args.to,
        ..VerbRequest::default()
    };
    act(args.of.entity(global)?, VerbName::Rollback, request, args.because).await
}

/// Overrides the plan.
pub(super) async fn override_version(args: OverrideArgs, global: &Global) -> Result<(), Failure> {
    let request = VerbRequest {
        version: Some(args.version),
        targets: targets(args.group.as_deref(), &args.targets)?,
        force: args.force,
        ..VerbRequest::default()
    };
    act(args.of.entity(global)?, VerbName::Override, request, args.because).await
}

/// Takes the mark of a bad version away.
pub(super) async fn clear(args: ClearArgs, global: &Global) -> Result<(), Failure> {
    let request = VerbRequest {
        version: Some(args.version),
        ..VerbRequest::default()
    };
    act(args.of.entity(global)?, VerbName::ClearBad, request, args.because).await
}

/// Freezes.
pub(super) async fn freeze(args: FreezeArgs, global: &Global) -> Result<(), Failure> {
    let request = VerbRequest {
        for_seconds: args.time.map(|time| time.as_secs().max(1)),
        ..VerbRequest::default()
    };
    scoped(VerbName::Freeze, args.scope, request, args.because, global).await
}

/// Ends a freeze.
pub(super) async fn thaw(args: ThawArgs, global: &Global) -> Result<(), Failure> {
    scoped(VerbName::Thaw, args.scope, VerbRequest::default(), args.because, global).await
}

async fn scoped(
    verb: VerbName,
    scope: Scope,
    request: VerbRequest,
    because: Because,
    global: &Global,
) -> Result<(), Failure> {
    let client = global.client()?;
    if let Some(entity) = &scope.entity {
        return act((client.entity(entity), global.console()), verb, request, because).await;
    }
    if because.if_match.is_some() {
        return Err(Failure::usage(
            "a namespace has no revision",
            "leave --if-match out, or name an entity",
        ));
    }
    let request = VerbRequest {
        reason: because.reason,
        ..request
    };
    let taken = match (scope.everything, verb) {
        (true, VerbName::Freeze) => client.freeze_everything(&request).await?,
        (true, _) => client.thaw_everything(&request).await?,
        (false, VerbName::Freeze) => client.freeze_namespace(&request).await?,
        (false, _) => client.thaw_namespace(&request).await?,
    };
    let console = global.console();
    if console.is_json() {
        return console.json(&taken);
    }
    console.line(&taken.message);
    Ok(())
}
