//! `unisono start`: starts an orchestration, and perhaps waits for its end.

use std::time::Duration;

use clap::Args;
use unisono_client::Client;
use unisono_model::api::{OrchestrationState, OrchestrationView, StartRequest, StartResponse};

use super::{payload, watch};
use crate::cli::{Global, duration, label};
use crate::failure::Failure;
use crate::output::{Console, pretty};

/// What to start.
#[derive(Args, Clone, Debug)]
pub(crate) struct StartArgs {
    /// The type of the orchestration definition
    #[arg(value_name = "TYPE")]
    r#type: String,
    /// An id of your own: starting the same again under it finds what was started before
    #[arg(long)]
    id: Option<String>,
    /// The definition's version [default: the newest]
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Ties the orchestration to something of yours
    #[arg(long, value_name = "TEXT")]
    correlation_id: Option<String>,
    /// A fact to find it by (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The input: a JSON object, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE|@-")]
    input: Option<String>,
    /// Wait until it has ended, and print its output
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this; the orchestration goes on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Starts an orchestration.
///
/// # Errors
/// [`Failure::Refused`] when the server does not start it; with `--wait` also [`Failure::Work`] when it did not complete.
pub(crate) async fn run(args: StartArgs, global: &Global) -> Result<(), Failure> {
    let input = args
        .input
        .as_deref()
        .map(|given| payload::read("--input", given))
        .transpose()?;
    let request = StartRequest {
        id: args.id,
        r#type: args.r#type,
        version: args.version,
        correlation_id: args.correlation_id,
        input,
        labels: args.labels.into_iter().collect(),
    };
    let (client, console) = (global.client()?, global.console());
    let started = client.start(&request).await?;
    if args.wait {
        console.note(describe(&started, &request.r#type));
        let view = wait(&client, &started, args.timeout, console).await?;
        show_output(&view, console)?;
        return completed(&view);
    }
    if console.is_json() {
        return console.json(&started);
    }
    console.line(describe(&started, &request.r#type));
    console.note(format!("follow it with `unisono watch {}`", started.id));
    Ok(())
}

fn describe(started: &StartResponse, r#type: &str) -> String {
    let what = if started.created {
        "started"
    } else {
        "exists already with the same content:"
    };
    format!("{what} {} ({type} version {})", started.id, started.version)
}

async fn wait(
    client: &Client,
    started: &StartResponse,
    timeout: Option<Duration>,
    console: Console,
) -> Result<OrchestrationView, Failure> {
    let ended = watch::until_ended(client, &started.id, console);
    let Some(limit) = timeout else { return ended.await };
    tokio::time::timeout(limit, ended).await.unwrap_or_else(|_| {
        Err(Failure::Work {
            code: "wait-timeout",
            message: format!("{} has not ended within {limit:?}; it goes on", started.id),
            help: Some(format!("see what it waits for with `unisono get {}`", started.id)),
        })
    })
}

/// Prints the output for people, and everything for programs.
pub(crate) fn show_output(view: &OrchestrationView, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(view);
    }
    if let Some(output) = &view.output {
        console.line(pretty(output.get()));
    }
    Ok(())
}

/// Whether it completed.
///
/// # Errors
/// [`Failure::Work`] when it ended otherwise, with the reason.
pub(crate) fn completed(view: &OrchestrationView) -> Result<(), Failure> {
    let id = &view.summary.id;
    let (code, message) = match view.summary.state {
        OrchestrationState::Completed => return Ok(()),
        OrchestrationState::Errored => ("orchestration-errored", errored(view)),
        OrchestrationState::Cancelled => (
            "orchestration-cancelled",
            format!("{id} did not complete: {}", view.reason),
        ),
        state => ("orchestration-not-ended", format!("{id} is {state}: {}", view.reason)),
    };
    let help = view.error.as_ref().map(|error| {
        format!(
            "see what it logged with `unisono logs {id} --activity {}`",
            error.activity
        )
    });
    Err(Failure::Work { code, message, help })
}

fn errored(view: &OrchestrationView) -> String {
    let id = &view.summary.id;
    let Some(error) = &view.error else {
        return format!("{id} errored: {}", view.reason);
    };
    let code = error
        .error
        .code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    format!(
        "{id} errored: the activity {} failed{code}: {}",
        error.activity, error.error.message
    )
}
