//! What lists and `get` show of locks, elections and leases.

use unisono_client::{Client, PageRequest};
use unisono_model::ids::Timestamp;
use unisono_model::leases::{ElectionView, HolderView, LeaseView, LockMode, LockView, QueuedView, StealEntry};

use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now, pretty, span};

/// Every item of all pages.
macro_rules! all_pages {
    ($client:expr, $method:ident) => {{
        let (mut items, mut page) = (Vec::new(), PageRequest::default());
        loop {
            let next = $client.$method(&page).await?;
            items.extend(next.items);
            page.page_token = next.next_page_token;
            if page.page_token.is_none() {
                break items;
            }
        }
    }};
}

/// Lists the locks that somebody has, or that were ever taken by force.
///
/// # Errors
/// [`Failure::Unreachable`] when there is no server.
pub(crate) async fn list_locks(client: &Client, console: Console) -> Result<(), Failure> {
    let locks: Vec<LockView> = all_pages!(client, locks);
    if console.is_json() {
        return console.json_values(&locks);
    }
    if locks.is_empty() {
        console.note("no locks are held; `unisono lock NAME -- COMMAND` runs a command under one");
        return Ok(());
    }
    let mut grid = Grid::new(
        console,
        &["NAME", "HELD BY", "HOW", "SINCE", "TOKEN", "QUEUE", "FIRST WAITS SINCE"],
    );
    let now = now();
    for lock in &locks {
        let first = lock.holders.first();
        let waits = lock.queue.first();
        grid.row([
            lock.name.as_str().into(),
            held_by(&lock.holders).into(),
            how(lock, first.map(|holder| holder.mode)).into(),
            first
                .map_or_else(|| "-".to_owned(), |holder| ago(holder.since, now))
                .into(),
            first
                .map_or_else(|| "-".to_owned(), |holder| holder.token.to_string())
                .into(),
            lock.queue.len().to_string().into(),
            waits
                .map_or_else(|| "-".to_owned(), |waiting| ago(waiting.since, now))
                .into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

fn held_by(holders: &[HolderView]) -> String {
    match holders {
        [] => "nobody".to_owned(),
        [one] => who(&one.holder, one.actor.as_deref()),
        [first, rest @ ..] => format!("{} and {} more", who(&first.holder, first.actor.as_deref()), rest.len()),
    }
}

fn who(holder: &str, actor: Option<&str>) -> String {
    actor.map_or_else(|| holder.to_owned(), |actor| format!("{actor} ({holder})"))
}

fn how(lock: &LockView, mode: Option<LockMode>) -> String {
    match (lock.permits, mode) {
        (Some(permits), _) => format!("{} of {permits} permits", lock.holders.len()),
        (None, Some(mode)) => mode.as_str().to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// Shows who holds a lock, who waits for it, and what was done to it by force.
///
/// # Errors
/// [`Failure::Refused`] when it is no name.
pub(crate) async fn show_lock(client: &Client, name: &str, console: Console) -> Result<(), Failure> {
    let lock = client.lock(name).await?;
    if console.is_json() {
        return console.json(&lock);
    }
    let now = now();
    if lock.holders.is_empty() {
        console.line(format!("nobody holds {name}"));
    } else {
        console.line(holders(&lock.holders, console, now));
    }
    queue(&lock.queue, console, now);
    audit(&lock.audit, console, now);
    Ok(())
}

fn holders(holders: &[HolderView], console: Console, now: Timestamp) -> String {
    let mut grid = Grid::new(console, &["HELD BY", "HOW", "SINCE", "TOKEN", "LEASE", "LEASE ENDS"]);
    for holder in holders {
        grid.row([
            (Tone::Busy, who(&holder.holder, holder.actor.as_deref())).into(),
            holder.mode.as_str().into(),
            ago(holder.since, now).into(),
            holder.token.to_string().into(),
            holder.lease.to_string().into(),
            format!("in {} unless renewed", span(holder.expires_at.millis_since(now))).into(),
        ]);
    }
    grid.text()
}

fn queue(queue: &[QueuedView], console: Console, now: Timestamp) {
    if queue.is_empty() {
        return;
    }
    let mut grid = Grid::new(console, &["NEXT", "WAITS", "HOW", "SINCE", "GIVES UP", "LEASE"]);
    for (place, waiting) in (1..).zip(queue) {
        let until = waiting.until.map_or_else(
            || "never".to_owned(),
            |until| format!("in {}", span(until.millis_since(now))),
        );
        grid.row([
            place.to_string().into(),
            (Tone::Waiting, who(&waiting.holder, waiting.actor.as_deref())).into(),
            waiting.mode.as_str().into(),
            ago(waiting.since, now).into(),
            until.into(),
            waiting.lease.to_string().into(),
        ]);
    }
    console.line(grid.text());
}

fn audit(audit: &[StealEntry], console: Console, now: Timestamp) {
    for steal in audit {
        console.line(format!(
            "taken by force {} by {} from {} (token {}): {}",
            ago(steal.at, now),
            steal.actor,
            steal.holder,
            steal.token,
            steal.reason
        ));
    }
}

/// Lists the elections that somebody leads or stands for.
///
/// # Errors
/// [`Failure::Unreachable`] when there is no server.
pub(crate) async fn list_elections(client: &Client, console: Console) -> Result<(), Failure> {
    let elections: Vec<ElectionView> = all_pages!(client, elections);
    if console.is_json() {
        return console.json_values(&elections);
    }
    if elections.is_empty() {
        console.note("no elections");
        return Ok(());
    }
    let mut grid = Grid::new(console, &["NAME", "LEADER", "SINCE", "TOKEN", "CANDIDATES"]);
    let now = now();
    for election in &elections {
        let leader = election.leader.as_ref();
        let shown = |show: &dyn Fn(&HolderView) -> String| leader.map_or_else(|| "-".to_owned(), show);
        grid.row([
            election.name.as_str().into(),
            shown(&|leader| who(&leader.holder, leader.actor.as_deref())).into(),
            shown(&|leader| ago(leader.since, now)).into(),
            shown(&|leader| leader.token.to_string()).into(),
            election.candidates.len().to_string().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// Shows who leads, what they proclaimed, and who stands.
///
/// # Errors
/// [`Failure::Refused`] when it is no name.
pub(crate) async fn show_election(client: &Client, name: &str, console: Console) -> Result<(), Failure> {
    let election = client.election(name).await?;
    if console.is_json() {
        return console.json(&election);
    }
    let now = now();
    match &election.leader {
        None => console.line(format!("nobody leads {name}")),
        Some(leader) => console.line(holders(std::slice::from_ref(leader), console, now)),
    }
    if let Some(value) = &election.value {
        console.line(format!("proclaimed: {}", pretty(value.get())));
    }
    queue(&election.candidates, console, now);
    audit(&election.audit, console, now);
    Ok(())
}

/// Lists leases.
///
/// # Errors
/// [`Failure::Unreachable`] when there is no server.
pub(crate) async fn list_leases(client: &Client, console: Console) -> Result<(), Failure> {
    let leases: Vec<LeaseView> = all_pages!(client, leases);
    if console.is_json() {
        return console.json_values(&leases);
    }
    if leases.is_empty() {
        console.note("no leases");
        return Ok(());
    }
    let mut grid = Grid::new(console, &["ID", "HOLDER", "GRANTED", "TTL", "ENDS", "VALUES", "HOLDS"]);
    let now = now();
    for lease in &leases {
        let holds: Vec<String> = lease
            .holds
            .iter()
            .map(|held| format!("{} {}", held.kind.as_str(), held.name))
            .collect();
        grid.row([
            lease.id.to_string().into(),
            who(&lease.holder, lease.actor.as_deref()).into(),
            ago(lease.granted_at, now).into(),
            span(lease.ttl_ms).into(),
            format!("in {} unless renewed", span(lease.expires_at.millis_since(now))).into(),
            lease.values.to_string().into(),
            holds.join(", ").into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}
