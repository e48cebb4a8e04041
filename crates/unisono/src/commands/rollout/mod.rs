//! `unisono rollout`: moving the targets of an entity from one version to the next.

mod act;
mod ahead;
mod frame;
mod report;
mod set;
mod show;
mod subscriber;
mod watch;

use clap::{Args, Subcommand};
use unisono_client::{Client, Entity};
use unisono_model::rollout::{TargetId, VerbName, Version};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Tone};
use unisono_model::rollout::{Health, Phase, RolloutState};

pub(crate) use show::{list_entities, show_entity};
pub(crate) use watch::follow;

/// What to do about rollouts.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    what: What,
}

/// An entity, by its name.
#[derive(Args, Clone, Debug)]
struct Of {
    /// The entity
    entity: String,
}

impl Of {
    fn entity(&self, global: &Global) -> Result<(Entity, Console), Failure> {
        Ok((global.client()?.entity(&self.entity), global.console()))
    }
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Set the policy of an entity, in YAML or JSON; makes the entity
    Set(set::PolicyArgs),
    /// Set the four options of older controllers in the policy, whose rest stays; makes the entity
    Options(set::OptionsArgs),
    /// Set the version to roll out; makes the entity
    Version(set::VersionArgs),
    /// Report targets, and show what each of them should run; makes the entity
    Report(report::ReportArgs),
    /// Show where the rollout of an entity stands, and why
    Status(Of),
    /// List the entities of the namespace
    List,
    /// Show everything about an entity
    Get(Of),
    /// List the rollouts of an entity, the newest first
    Past(Of),
    /// List the versions of an entity that are known to be good or bad
    Versions(Of),
    /// List targets
    Targets(show::TargetsArgs),
    /// Show what rolling out a version would do, before anything moves
    Plan(ahead::PlanArgs),
    /// Roll a version out against a model of failures; the same seed gives the same
    Simulate(ahead::SimulateArgs),
    /// Say why an entity, or one of its targets, stands where it stands, and what would move it
    Why(show::WhyArgs),
    /// Show what was decided, and by whom
    History(show::HistoryArgs),
    /// Follow a rollout until it is over
    Watch(watch::WatchArgs),
    /// Begin a rollout that waits for it
    Start(act::ActArgs),
    /// Assign nothing more for now, in either direction
    Pause(act::ActArgs),
    /// Go on after a pause or a freeze that a failure brought about
    Resume(act::ActArgs),
    /// Let the next wave begin, or end the bake
    Promote(act::ActArgs),
    /// Approve what comes next
    Approve(act::ActArgs),
    /// End the rollout: nothing more is assigned
    Abort(act::ActArgs),
    /// Try failed targets once more: all of them, or those that are named
    Retry(act::TargetsArgs),
    /// Take targets out of the rollout
    Skip(act::TargetsArgs),
    /// Declare the rollout, or some targets, failed
    Fail(act::TargetsArgs),
    /// Go back to the last known good version, or to a named one
    Rollback(act::BackArgs),
    /// Give a version to everything at once, without plan, budgets and gates, or tie some targets to it
    Override(act::OverrideArgs),
    /// Give targets back to rollouts that were tied to a version
    Unpin(act::TargetsArgs),
    /// Take away the mark of a bad version
    Clear(act::ClearArgs),
    /// Forget targets until they report again
    Forget(act::TargetsArgs),
    /// Let nothing move forward: of an entity, of the namespace, or of everything
    Freeze(act::FreezeArgs),
    /// End a freeze
    Thaw(act::ThawArgs),
    /// List, add, remove and resume those who are told the history of an entity
    Subscriber(subscriber::SubscriberArgs),
    /// Show the freezes of namespaces and of everything
    Freezes,
}

/// Does it.
///
/// # Errors
/// [`Failure::Refused`] when the server refuses it, with the reason.
pub(crate) async fn run(args: RolloutArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::Set(args) => set::policy(args, global).await,
        What::Options(args) => set::options(args, global).await,
        What::Version(args) => set::version(args, global).await,
        What::Report(args) => report::run(args, global).await,
        What::Status(of) => show::status(&of, global).await,
        What::List => list_entities(&global.client()?, global.console()).await,
        What::Get(of) => show_entity(&global.client()?, &of.entity, global.console()).await,
        What::Past(of) => show::past(&of, global).await,
        What::Versions(of) => show::versions(&of, global).await,
        What::Targets(args) => show::targets(args, global).await,
        What::Plan(args) => ahead::plan(args, global).await,
        What::Simulate(args) => ahead::simulate(args, global).await,
        What::Why(args) => show::why(args, global).await,
        What::History(args) => show::history(args, global).await,
        What::Watch(args) => watch::run(args, global).await,
        What::Start(args) => act::plain(VerbName::Start, args, global).await,
        What::Pause(args) => act::plain(VerbName::Pause, args, global).await,
        What::Resume(args) => act::plain(VerbName::Resume, args, global).await,
        What::Promote(args) => act::plain(VerbName::Promote, args, global).await,
        What::Approve(args) => act::plain(VerbName::Approve, args, global).await,
        What::Abort(args) => act::plain(VerbName::Abort, args, global).await,
        What::Retry(args) => act::on_targets(VerbName::Retry, args, global).await,
        What::Skip(args) => act::on_targets(VerbName::Skip, args, global).await,
        What::Fail(args) => act::on_targets(VerbName::Fail, args, global).await,
        What::Rollback(args) => act::rollback(args, global).await,
        What::Override(args) => act::override_version(args, global).await,
        What::Unpin(args) => act::on_targets(VerbName::Unpin, args, global).await,
        What::Clear(args) => act::clear(args, global).await,
        What::Forget(args) => act::on_targets(VerbName::Forget, args, global).await,
        What::Freeze(args) => act::freeze(args, global).await,
        What::Thaw(args) => act::thaw(args, global).await,
        What::Subscriber(args) => subscriber::run(args, global).await,
        What::Freezes => freezes(&global.client()?, global.console()).await,
    }
}

async fn freezes(client: &Client, console: Console) -> Result<(), Failure> {
    let freezes = client.freezes().await?;
    if console.is_json() {
        return console.json_values(&freezes);
    }
    if freezes.is_empty() {
        console.note("no namespace is frozen");
    }
    for it in &freezes {
        let what = it
            .namespace
            .as_deref()
            .map_or("everything".to_owned(), |name| format!("namespace {name}"));
        console.line(format!("{what}: {}", show::freeze(&it.freeze)));
    }
    Ok(())
}

/// Reads a version.
fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())
}

/// The targets of these names in one group.
fn target(group: Option<&str>, name: &str) -> Result<TargetId, Failure> {
    TargetId::parse(group.unwrap_or_default(), name).map_err(|error| {
        Failure::usage(
            error.to_string(),
            "give the name of a target, and its group with --group",
        )
    })
}

/// How the state of a rollout is coloured.
pub(crate) fn rollout_tone(state: RolloutState) -> Tone {
    match state {
        RolloutState::Succeeded => Tone::Good,
        RolloutState::Failed | RolloutState::RollingBack | RolloutState::Frozen => Tone::Bad,
        RolloutState::Running => Tone::Busy,
        RolloutState::Planned | RolloutState::AwaitingApproval | RolloutState::Paused | RolloutState::Baking => {
            Tone::Waiting
        }
        RolloutState::Aborted | RolloutState::Superseded => Tone::Quiet,
    }
}

/// How a target is coloured, by where it stands.
fn phase_tone(phase: Phase) -> Tone {
    match phase {
        Phase::Done | Phase::RolledBack => Tone::Good,
        Phase::Failed | Phase::NotRecovered => Tone::Bad,
        Phase::InFlight => Tone::Busy,
        Phase::RollingBack => Tone::Waiting,
        Phase::Idle | Phase::Pending | Phase::Skipped | Phase::Pinned => Tone::Quiet,
    }
}

/// How a target is coloured, by how it is.
fn health_tone(health: Health) -> Tone {
    match health {
        Health::Healthy => Tone::Good,
        Health::Unhealthy => Tone::Bad,
        Health::InProgress => Tone::Busy,
        Health::Unknown | Health::Offline | Health::Busy => Tone::Waiting,
    }
}
