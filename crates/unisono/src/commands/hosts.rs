//! What lists and `get` show of hosts.

use unisono_client::Client;
use unisono_model::hosts::{HostState, HostView};

use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now};

/// Lists the hosts of all services, or of one.
///
/// # Errors
/// [`Failure::Unreachable`] when there is no server.
pub(crate) async fn list(client: &Client, service: Option<&str>, console: Console) -> Result<(), Failure> {
    let hosts = client.hosts(service).await?;
    if console.is_lines() {
        return console.json_values(&hosts);
    }
    if console.is_json() {
        return console.json(&hosts);
    }
    if hosts.is_empty() {
        console.note("no hosts; `unisono host NAME -- COMMAND` runs a command wherever it leads");
        return Ok(());
    }
    let mut grid = Grid::new(
        console,
        &[
            "SERVICE", "SLOT", "STATE", "SINCE", "MACHINE", "PID", "TOKEN", "RESTARTS", "REASON",
        ],
    );
    let now = now();
    for host in &hosts {
        grid.row([
            host.service.as_str().into(),
            or_none(host.slot).into(),
            (tone(host.state), host.state.to_string()).into(),
            ago(host.since, now).into(),
            host.machine.as_str().into(),
            host.pid.to_string().into(),
            or_none(host.token).into(),
            host.restarts.to_string().into(),
            host.reason.as_str().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// Shows the hosts of one service, with all that they tell of themselves.
///
/// # Errors
/// [`Failure::Work`] when it has none.
pub(crate) async fn show(client: &Client, service: &str, console: Console) -> Result<(), Failure> {
    let hosts = client.hosts(Some(service)).await?;
    if hosts.is_empty() {
        return Err(Failure::Work {
            code: "host-not-found",
            message: format!("no host runs {service}, or would"),
            help: Some(
                "`unisono list hosts` shows all; one that fell silent is forgotten when its lease ends".to_owned(),
            ),
        });
    }
    if console.is_json() {
        return console.json(&hosts);
    }
    for (number, host) in hosts.iter().enumerate() {
        if number > 0 {
            console.line("");
        }
        show_one(host, console);
    }
    Ok(())
}

fn show_one(host: &HostView, console: Console) {
    let title = match host.slot {
        Some(slot) => format!("slot {slot} of {}", host.service),
        None => format!("{}, without a slot", host.service),
    };
    let state = console.paint(tone(host.state), &host.state.to_string());
    console.line(format!(
        "{}: {state} since {}",
        console.paint(Tone::Strong, &title),
        ago(host.since, now())
    ));
    let command_pid = host
        .command_pid
        .map_or_else(|| "-".to_owned(), |pid| format!("process {pid}"));
    let rows = [
        ("reason", host.reason.clone()),
        ("machine", host.machine.clone()),
        ("host", format!("process {}, {}", host.pid, host.id)),
        ("command", host.command.join(" ")),
        ("runs as", command_pid),
        ("token", or_none(host.token)),
        ("restarts", host.restarts.to_string()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        console.line(format!(
            "  {} {value}",
            console.paint(Tone::Quiet, &format!("{name:<9}"))
        ));
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn tone(state: HostState) -> Tone {
    match state {
        HostState::Running => Tone::Good,
        HostState::BackingOff => Tone::Bad,
        HostState::Starting | HostState::Stopping | HostState::Candidate => Tone::Waiting,
    }
}
