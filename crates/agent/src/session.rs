//! One connection's life: hello, work, heartbeats, goodbye. The loop here is the only place that changes what the agent
//! holds; attempts send it events.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use unisono_model::protocol::{
    AgentMessage, Credits, Goodbye, Heartbeat, Hello, PROTOCOL_VERSION, ProtocolError, ServerMessage, Welcome,
};

use crate::agent::Identity;
use crate::holdings::Holdings;
use crate::link::Link;

/// How long the node may take to answer `hello`.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Events taken from attempts at once.
const EVENTS_AT_ONCE: usize = 256;

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// Everything is done and said; the agent may leave.
    Drained,
    /// The connection is gone; connect again.
    Lost(String),
    /// The node asked to connect again after a while.
    Reconnect(Duration),
    /// The node will never take this agent.
    Refused(ProtocolError),
}

/// Codes of protocol errors that connecting again cannot mend.
const PERMANENT: [&str; 6] = [
    "unsupported-protocol",
    "bad-hello",
    "bad-namespace",
    "unknown-namespace",
    "unauthorized",
    "forbidden",
];

/// Times that a connection keeps.
struct Pulse {
    heartbeat: Duration,
    heard: Instant,
    said: Instant,
}

impl Pulse {
    fn new(heartbeat: Duration) -> Self {
        let now = Instant::now();
        // A node that says 0 would make the agent spin.
        Self {
            heartbeat: heartbeat.max(Duration::from_millis(10)),
            heard: now,
            said: now,
        }
    }

    fn say_at(&self) -> Instant {
        self.said + self.heartbeat * 9 / 10
    }

    fn dead_at(&self) -> Instant {
        self.heard + self.heartbeat * 2
    }
}

/// Speaks the protocol over `link` until it ends.
pub(crate) async fn run(
    identity: &Identity,
    holdings: &mut Holdings,
    mut link: Link,
    stop: &CancellationToken,
) -> SessionEnd {
    let (welcome, rest) = match shake_hands(identity, holdings, &mut link).await {
        Ok(answer) => answer,
        Err(end) => return end,
    };
    tracing::info!(agent = %identity.name, heartbeat_ms = welcome.heartbeat_ms, "connected");
    let limit = usize::try_from(welcome.max_frame_bytes).unwrap_or(usize::MAX);
    link.frame_limit.send_replace(limit);
    holdings.resume(&welcome, limit);
    let pulse = Pulse::new(Duration::from_millis(welcome.heartbeat_ms));
    if let Some(end) = take(holdings, rest) {
        return end;
    }
    let end = work(holdings, &mut link, stop, pulse).await;
    if matches!(end, SessionEnd::Drained | SessionEnd::Reconnect(_)) {
        link.close().await;
    }
    end
}

/// Says `hello`, and returns the `welcome` and what came in the same frame after it.
async fn shake_hands(
    identity: &Identity,
    holdings: &Holdings,
    link: &mut Link,
) -> Result<(Welcome, Vec<ServerMessage>), SessionEnd> {
    let hello = AgentMessage::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        agent: identity.name.clone(),
        incarnation: identity.incarnation.clone(),
        activity_types: holdings.activity_types(),
        concurrency: identity.concurrency,
        labels: identity.labels.clone(),
        holding: holdings.tokens(),
    });
    if link.outgoing.send(vec![hello]).await.is_err() {
        return Err(SessionEnd::Lost(link.reason().await));
    }
    let deadline = Instant::now() + WELCOME_TIMEOUT;
    loop {
        let batch = match timeout(deadline - Instant::now(), link.incoming.recv()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Err(SessionEnd::Lost(link.reason().await)),
            Err(_) => {
                let seconds = WELCOME_TIMEOUT.as_secs();
                return Err(SessionEnd::Lost(format!(
                    "the server did not answer `hello` within {seconds} seconds"
                )));
            }
        };
        let mut batch = batch.into_iter();
        match batch.next() {
            Some(ServerMessage::Welcome(welcome)) if welcome.protocol == PROTOCOL_VERSION => {
                return Ok((welcome, batch.collect()));
            }
            Some(ServerMessage::Welcome(welcome)) => return Err(SessionEnd::Refused(wrong_version(&welcome))),
            Some(ServerMessage::Error(error)) => return Err(failed(error)),
            Some(ServerMessage::Reconnect(again)) => {
                return Err(SessionEnd::Reconnect(Duration::from_millis(again.after_ms)));
            }
            Some(_) => {
                return Err(SessionEnd::Lost(
                    "the server's first message is not `welcome`".to_owned(),
                ));
            }
            None => {}
        }
    }
}

fn wrong_version(welcome: &Welcome) -> ProtocolError {
    ProtocolError {
        code: "unsupported-protocol".to_owned(),
        message: format!(
            "the server speaks version {} of the agent protocol, this agent version {PROTOCOL_VERSION}; \
             use an agent and a server of the same release",
            welcome.protocol
        ),
    }
}

fn failed(error: ProtocolError) -> SessionEnd {
    if PERMANENT.contains(&error.code.as_str()) {
        SessionEnd::Refused(error)
    } else {
        SessionEnd::Lost(format!("the server ended it ({}): {}", error.code, error.message))
    }
}

async fn work(holdings: &mut Holdings, link: &mut Link, stop: &CancellationToken, mut pulse: Pulse) -> SessionEnd {
    let mut events = Vec::new();
    let timer = sleep_until(pulse.say_at());
    tokio::pin!(timer);
    let outgoing = link.outgoing.clone();
    if stop.is_cancelled() {
        holdings.start_draining();
    }
    if holdings.is_draining() {
        holdings.say(AgentMessage::Credits(Credits { concurrency: 0 }));
    }
    loop {
        if holdings.is_drained() {
            return say_goodbye(holdings, link).await;
        }
        let drain_timeout = holdings.drain_timeout();
        tokio::select! {
            biased;
            batch = link.incoming.recv() => {
                let Some(batch) = batch else { return SessionEnd::Lost(link.reason().await) };
                pulse.heard = Instant::now();
                if let Some(end) = take(holdings, batch) {
                    return end;
                }
            }
            _ = holdings.events.recv_many(&mut events, EVENTS_AT_ONCE) => holdings.handle_all(&mut events),
            permit = outgoing.reserve(), if holdings.has_to_say() => {
                let Ok(permit) = permit else { return SessionEnd::Lost(link.reason().await) };
                permit.send(holdings.take_outbox());
                pulse.said = Instant::now();
            }
            () = stop.cancelled(), if !holdings.is_draining() => {
                holdings.start_draining();
                holdings.say(AgentMessage::Credits(Credits { concurrency: 0 }));
            }
            () = &mut timer => {
                let now = Instant::now();
                if now >= pulse.dead_at() {
                    let millis = (now - pulse.heard).as_millis();
                    return SessionEnd::Lost(format!("nothing was heard of the server for {millis} ms"));
                }
                if now >= pulse.say_at() {
                    holdings.say(AgentMessage::Heartbeat(Heartbeat::default()));
                    pulse.said = now;
                }
                timer.as_mut().reset(pulse.say_at().min(pulse.dead_at()));
            }
            () = drain_timeout => holdings.stop_waiting(),
        }
    }
}

/// Takes a batch of the node; says how the session ends, when it does.
fn take(holdings: &mut Holdings, batch: Vec<ServerMessage>) -> Option<SessionEnd> {
    for message in batch {
        match message {
            ServerMessage::Activity(task) => holdings.take_activity(task),
            ServerMessage::Cancel(cancel) => holdings.cancel(cancel.token, &cancel.reason),
            ServerMessage::Accepted(accepted) => holdings.accepted(accepted.token),
            ServerMessage::ContextAccepted(accepted) => holdings.context_accepted(accepted.token),
            ServerMessage::Refused(refused) => holdings.refused(refused),
            ServerMessage::Answer(answer) => holdings.asks.answer(&answer),
            ServerMessage::Change(change) => {
                let message = holdings.asks.change(&change);
                holdings.say_if_connected(message);
            }
            ServerMessage::Heartbeat(_) => {}
            ServerMessage::Welcome(_) => return Some(SessionEnd::Lost("a second `welcome` came".to_owned())),
            ServerMessage::Reconnect(again) => {
                tracing::info!(reason = again.reason, "the server asks to connect again");
                return Some(SessionEnd::Reconnect(Duration::from_millis(again.after_ms)));
            }
            ServerMessage::Error(error) => return Some(failed(error)),
        }
    }
    None
}

async fn say_goodbye(holdings: &mut Holdings, link: &mut Link) -> SessionEnd {
    holdings.say(AgentMessage::Goodbye(Goodbye {
        reason: Some("the agent shuts down".to_owned()),
    }));
    match send_in_time(&link.outgoing, holdings.take_outbox()).await {
        true => SessionEnd::Drained,
        false => SessionEnd::Lost(link.reason().await),
    }
}

async fn send_in_time(outgoing: &mpsc::Sender<Vec<AgentMessage>>, batch: Vec<AgentMessage>) -> bool {
    matches!(timeout(Duration::from_secs(2), outgoing.send(batch)).await, Ok(Ok(())))
}
