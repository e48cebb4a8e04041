//! `unisono demo`: everything in a minute. A server in this process, an agent in another one, and a tenant deployed
//! with real files.

mod example;
mod stage;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::value::RawValue;
use unisono_client::Client;
use unisono_model::api::{ApplyRequest, OrchestrationView, SourceText, StartRequest};

use super::{apply, logs, payload, start, watch};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Tone, pretty};
use crate::signals::Signals;
use stage::Stage;

const DEPLOY: &str = "tenant.example.com";
const DISPOSE: &str = "tenant-dispose.example.com";

/// How to show it.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Take the example from this directory, instead of the one that came with this program
    #[arg(long, value_name = "DIR")]
    example: Option<PathBuf>,
    /// Take the tenant away again at the end
    #[arg(long)]
    dispose: bool,
    /// Keep the server's data, the agent's log and the scripts too, and not only the files they made
    #[arg(long)]
    keep: bool,
}

/// Shows it.
///
/// # Errors
/// [`Failure::Work`] when the tenant could not be deployed, or a signal came first.
pub(crate) async fn run(args: DemoArgs, global: &Global) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let mut stage = Stage::set(args.example.as_deref(), global).await?;
    let (client, directory) = (stage.client.clone(), stage.directory.clone());
    let shown = tokio::select! {
        shown = show(&client, &directory, &args, global.console()) => shown,
        why = stage.trouble() => Err(why),
        name = signals.next() => {
            signals.leave_at_once();
            stage.clear(args.keep).await?;
            return Err(Failure::work(format!("interrupted by {name}")));
        }
    };
    signals.leave_at_once();
    let kept = stage.clear(args.keep || shown.is_err()).await;
    let place = directory.display();
    shown.map_err(|failure| {
        failure.with_help(format!(
            "the agent's log and everything else is in {place}; remove it with: rm -r {place}"
        ))
    })?;
    kept
}

async fn show(client: &Client, directory: &Path, args: &DemoArgs, console: Console) -> Result<(), Failure> {
    apply_definitions(client, directory, console).await?;
    let input = directory.join("example/input.json");
    let input = payload::read("input.json", &format!("@{}", input.display()))?;
    step(
        console,
        &format!("Start {DEPLOY}: a Web DID, a configuration and a route for the tenant"),
    );
    let deployed = orchestrate(client, DEPLOY, &input, console).await?;
    show_output(&deployed, console)?;
    show_files(directory, &deployed, console);
    if args.dispose {
        step(
            console,
            &format!("Start {DISPOSE}: the same activities take it all away"),
        );
        let disposed = orchestrate(client, DISPOSE, &input, console).await?;
        show_output(&disposed, console)?;
    }
    tell_what_is_left(directory, args, console);
    Ok(())
}

fn step(console: Console, text: &str) {
    console.tell(format!("\n{}", console.paint(Tone::Strong, text)));
}

async fn apply_definitions(client: &Client, directory: &Path, console: Console) -> Result<(), Failure> {
    step(console, "Apply the definitions of examples/tenant");
    let file = directory.join("example/definitions.yaml");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::usage(
            format!("cannot read {}: {error}", file.display()),
            "give --example a directory like examples/tenant",
        )
    })?;
    let request = ApplyRequest {
        sources: vec![SourceText {
            name: "definitions.yaml".to_owned(),
            text,
        }],
        dry_run: false,
    };
    let answer = client
        .apply(&request)
        .await
        .map_err(|error| apply::with_report(error, &request.sources, console))?;
    for applied in &answer.applied {
        console.tell(format!(
            "  {} {} version {}",
            applied.kind.describe(),
            applied.r#type,
            applied.version
        ));
    }
    Ok(())
}

/// Starts it, follows it to its end, and shows what went wrong when something did.
async fn orchestrate(
    client: &Client,
    r#type: &str,
    input: &RawValue,
    console: Console,
) -> Result<OrchestrationView, Failure> {
    let request = StartRequest {
        id: None,
        r#type: r#type.to_owned(),
        version: None,
        correlation_id: None,
        input: Some(input.to_owned()),
        labels: [("demo".to_owned(), "true".to_owned())].into(),
    };
    let started = client.start(&request).await?;
    let view = watch::until_ended(client, &started.id, console).await?;
    if !console.can_draw() {
        console.tell(format!("  {} {}", view.summary.id, view.summary.state));
    }
    if let Err(failure) = start::completed(&view) {
        show_logs(client, &view, console).await;
        return Err(failure);
    }
    Ok(view)
}

async fn show_logs(client: &Client, view: &OrchestrationView, console: Console) {
    let Some(error) = &view.error else { return };
    // The failure itself matters more than a log that cannot be had.
    let entries = logs::all(client, &view.summary.id, Some(&error.activity), None)
        .await
        .unwrap_or_default();
    if !entries.is_empty() {
        console.tell(format!("\nThe activity {} logged:", error.activity));
    }
    for entry in entries {
        console.tell(logs::line(&entry, console));
    }
}

fn show_output(view: &OrchestrationView, console: Console) -> Result<(), Failure> {
    if !console.is_json() {
        step(console, "Output");
    }
    start::show_output(view, console)
}

fn show_files(directory: &Path, view: &OrchestrationView, console: Console) {
    if console.is_json() {
        return;
    }
    let out = directory.join("out");
    step(console, &format!("Files in {}", out.display()));
    for file in stage::files_below(&out) {
        console.line(format!("  {}", file.display()));
    }
    let output: serde_json::Value = view
        .output
        .as_ref()
        .and_then(|output| serde_json::from_str(output.get()).ok())
        .unwrap_or_default();
    let document = output.get("didFile").and_then(serde_json::Value::as_str);
    if let Some((name, text)) = document.and_then(|name| Some((name, std::fs::read_to_string(out.join(name)).ok()?))) {
        step(console, name);
        console.line(pretty(&text));
    }
}

fn tell_what_is_left(directory: &Path, args: &DemoArgs, console: Console) {
    if args.dispose && !args.keep {
        console.tell("\nNothing is left of it.");
        return;
    }
    let place = directory.display();
    let files = if args.keep {
        "The files, the server's data, the agent's log and the scripts"
    } else {
        "The files"
    };
    console.tell(format!("\n{files} stay in {place}\nRemove them with: rm -r {place}"));
}
