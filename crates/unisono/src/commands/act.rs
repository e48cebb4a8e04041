//! `unisono cancel`, `complete` and `fail`: what a person can do to an orchestration under way.

use clap::Args;
use unisono_model::api::{ActivityResponse, CancelRequest, CompleteRequest, FailRequest};
use unisono_model::name::Name;
use unisono_model::protocol::ActivityError;

use super::payload;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Console;

/// What to cancel.
#[derive(Args, Clone, Debug)]
pub(crate) struct CancelArgs {
    /// The orchestration's id
    id: String,
    /// Why; people and agents are shown it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A waiting activity, and what entitles to answer it.
#[derive(Args, Clone, Debug)]
struct WaitingActivity {
    /// The orchestration's id
    id: String,
    /// The activity's id
    activity: String,
    /// The token that the activity was given; `unisono get ID` shows it
    #[arg(long, value_name = "TOKEN")]
    token: String,
}

/// What to complete.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompleteArgs {
    #[command(flatten)]
    activity: WaitingActivity,
    /// The activity's output: a JSON object, @FILE, or @- for standard input [default: {}]
    #[arg(long, value_name = "JSON|@FILE|@-")]
    result: Option<String>,
}

/// What to fail.
#[derive(Args, Clone, Debug)]
pub(crate) struct FailArgs {
    #[command(flatten)]
    activity: WaitingActivity,
    /// What went wrong, for people
    #[arg(long, value_name = "TEXT")]
    message: String,
    /// What went wrong, for programs
    #[arg(long, value_name = "WORD")]
    code: Option<String>,
    /// Run the activity again after a while, instead of ending the orchestration
    #[arg(long)]
    retry: bool,
}

/// Cancels an orchestration, and says what that stopped.
///
/// # Errors
/// [`Failure::Refused`] when there is no such orchestration, or it has ended.
pub(crate) async fn cancel(args: CancelArgs, global: &Global) -> Result<(), Failure> {
    let answer = global
        .client()?
        .cancel(&args.id, &CancelRequest { reason: args.reason })
        .await?;
    let console = global.console();
    if console.is_json() {
        return console.json(&answer);
    }
    console.line(format!("{} is {}", args.id, answer.state));
    for (what, names) in [("stopped", &answer.cancelled), ("will never run", &answer.skipped)] {
        if !names.is_empty() {
            console.line(format!("{what}: {}", joined(names)));
        }
    }
    Ok(())
}

fn joined(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

/// Completes a waiting activity.
///
/// # Errors
/// [`Failure::Refused`] when the token is not the one that it waits with.
pub(crate) async fn complete(args: CompleteArgs, global: &Global) -> Result<(), Failure> {
    let output = args
        .result
        .as_deref()
        .map(|given| payload::read("--result", given))
        .transpose()?;
    let WaitingActivity { id, activity, token } = args.activity;
    let answer = global
        .client()?
        .complete(
            &id,
            &activity,
            &CompleteRequest {
                token,
                output,
                context: None,
            },
        )
        .await?;
    show(&id, &activity, &answer, global.console())
}

/// Fails a waiting activity.
///
/// # Errors
/// [`Failure::Refused`] when the token is not the one that it waits with.
pub(crate) async fn fail(args: FailArgs, global: &Global) -> Result<(), Failure> {
    let error = ActivityError {
        code: args.code,
        message: args.message,
    };
    let WaitingActivity { id, activity, token } = args.activity;
    let answer = global
        .client()?
        .fail(
            &id,
            &activity,
            &FailRequest {
                token,
                error,
                retry: args.retry,
            },
        )
        .await?;
    show(&id, &activity, &answer, global.console())
}

fn show(id: &str, activity: &str, answer: &ActivityResponse, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(answer);
    }
    console.line(format!(
        "{activity} is {}, {id} is {}",
        answer.activity_state, answer.state
    ));
    Ok(())
}
