//! Setting what an entity is to run, and how it gets there.

use std::io::Read as _;

use clap::Args;
use unisono_model::api::SourceText;
use unisono_model::rollout::{OptionsChange, VerbRequest, Version};

use super::act::{Because, show};
use super::{Of, version as parse_version};
use crate::cli::Global;
use crate::commands::apply::with_report;
use crate::failure::Failure;

/// A policy.
#[derive(Args, Clone, Debug)]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    of: Of,
    /// A file with the policy; - for standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "policy")]
    file: Option<String>,
    /// The policy itself
    #[arg(long, value_name = "YAML", conflicts_with = "file")]
    policy: Option<String>,
    /// Set only the fields that are named: all others stay, instead of having their defaults
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    because: Because,
}

/// The four options of older controllers; what is left out stays as it was set last, or is 5, 100, 60 and 120.
#[derive(Args, Clone, Debug)]
pub(super) struct OptionsArgs {
    #[command(flatten)]
    of: Of,
    /// How many percent of the targets may be in flight
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch_percent: Option<i64>,
    /// How many percent of the targets have to succeed
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    success_percent: Option<i64>,
    /// Seconds without an error until a target has succeeded
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    success_timeout_secs: Option<i64>,
    /// Seconds after which a target that has not succeeded has failed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    duration_timeout_secs: Option<i64>,
    #[command(flatten)]
    because: Because,
}

/// A version.
#[derive(Args, Clone, Debug)]
pub(super) struct VersionArgs {
    #[command(flatten)]
    of: Of,
    /// The version
    #[arg(value_parser = parse_version)]
    version: Version,
    /// Even when it is marked as bad
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    because: Because,
}

/// Reads a policy out of a file, or standard input.
pub(super) fn read(file: &str) -> Result<SourceText, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| Failure::usage(format!("cannot read {file}: {error}"), "give a file with a policy"))?;
    let name = if file == "-" { "standard input" } else { file };
    Ok(SourceText {
        name: name.to_owned(),
        text,
    })
}

/// Sets the policy.
pub(super) async fn policy(args: PolicyArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let source = match (args.policy, &args.file) {
        (Some(text), _) => SourceText {
            name: "--policy".to_owned(),
            text,
        },
        (None, Some(file)) => read(file)?,
        (None, None) => return Err(Failure::usage("there is no policy", "give one with --file or --policy")),
    };
    let basis = args.because.basis();
    let (text, reason) = ((&*source.name, &*source.text), args.because.reason.as_deref());
    let done = match args.merge {
        true => entity.change_policy_text(text, reason, &basis).await,
        false => entity.set_policy_text(text, reason, &basis).await,
    };
    let done = done.map_err(|error| with_report(error, &[source], console))?;
    show(&done, console)
}

/// Sets the four options.
pub(super) async fn options(args: OptionsArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let change = OptionsChange {
        batch_percent: args.batch_percent,
        success_percent: args.success_percent,
        success_timeout_secs: args.success_timeout_secs,
        duration_timeout_secs: args.duration_timeout_secs,
    };
    show(&entity.change_options(&change, &args.because.basis()).await?, console)
}

/// Sets the version.
pub(super) async fn version(args: VersionArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let request = VerbRequest {
        version: Some(args.version),
        force: args.force,
        reason: args.because.reason.clone(),
        ..VerbRequest::default()
    };
    show(&entity.set_version(&request, &args.because.basis()).await?, console)
}
