//! An agent: connects, stays connected, and leaves when it is told to.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use unisono_model::name::Name;
use unisono_telemetry::trace::Spans;

use crate::builder::AgentBuilder;
use crate::holdings::{Holdings, Processors};
use crate::link::Link;
use crate::session::{self, SessionEnd};
use crate::trace::Tracer;
use crate::websocket;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A connection that lasted this long was a good one: the next backoff begins anew.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);

/// Who the agent is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: Name,
    pub(crate) namespace: Name,
    /// Fresh for every start.
    pub(crate) incarnation: Name,
    pub(crate) concurrency: u32,
    pub(crate) labels: BTreeMap<String, String>,
}

/// An agent that is ready to run. Made by [`Agent::builder`].
pub struct Agent {
    pub(crate) identity: Identity,
    pub(crate) server: String,
    pub(crate) processors: Processors,
    pub(crate) drain_limit: Duration,
    pub(crate) spans: Spans,
    /// Keeps the callback listener until the agent is dropped.
    pub(crate) callbacks: Option<crate::callbacks::Listener>,
}

/// Why an agent ended other than by being drained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The server will never take this agent; connecting again cannot mend it.
    #[error("the server refused the agent ({code}): {message}")]
    Refused {
        /// For programs, such as `unsupported-protocol`.
        code: String,
        /// For people.
        message: String,
    },
    /// The connection within one process ended; there is none to replace it.
    #[error("the connection to the node is gone: {reason}")]
    LinkClosed {
        /// Why.
        reason: String,
    },
    /// The agent was told to leave, and could not tell the server these results in time; the activities run again.
    #[error("left without telling the server the results of {results} attempts; the server will have them run again")]
    Undelivered {
        /// How many results were not accepted.
        results: usize,
    },
    /// The address for callbacks cannot be listened on.
    #[error("cannot listen for callbacks on {address}: {reason}; choose another `callbacks.listen`")]
    Callbacks {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
}

impl Agent {
    /// Begins to describe an agent.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// The activity types that the agent runs.
    #[must_use]
    pub fn activity_types(&self) -> Vec<Name> {
        let mut types: Vec<Name> = self.processors.keys().cloned().collect();
        types.sort();
        types
    }

    /// The agent's name, as people see it.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.identity.name
    }

    /// The address of the server that it connects to.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Runs until `shutdown` resolves and the agent has drained. A server that cannot be reached is tried for ever.
    ///
    /// # Errors
    /// [`AgentError`]: the server refused the agent for good, or results could not be delivered while it drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let listener = listen(self.callbacks)?;
        let (tracer, spans) = (tracer(&self.identity, &self.spans), self.spans);
        let holdings = Holdings::new(self.processors, self.identity.concurrency, self.drain_limit, tracer);
        let url = websocket::url_of(&self.server, &self.identity.namespace);
        let stop = CancellationToken::new();
        let connected = stay_connected(self.identity, holdings, url, stop.clone());
        let ended = until_stopped(connected, shutdown, stop).await;
        drop(listener);
        spans.finish().await;
        ended
    }

    /// Runs over one given connection, without reconnecting: for an agent in the process of its node.
    ///
    /// # Errors
    /// [`AgentError`]: the node refused the agent, or dropped the connection.
    pub async fn run_on(self, link: Link, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let listener = listen(self.callbacks)?;
        let tracer = tracer(&self.identity, &self.spans);
        let mut holdings = Holdings::new(self.processors, self.identity.concurrency, self.drain_limit, tracer);
        let stop = CancellationToken::new();
        let (identity, signal) = (self.identity, stop.clone());
        let connected = async move {
            match session::run(&identity, &mut holdings, link, &signal).await {
                SessionEnd::Drained => left(&holdings),
                SessionEnd::Refused(error) => Err(AgentError::Refused {
                    code: error.code,
                    message: error.message,
                }),
                SessionEnd::Lost(reason) => Err(AgentError::LinkClosed { reason }),
                SessionEnd::Reconnect(_) => Err(AgentError::LinkClosed {
                    reason: "the node asked to connect again".to_owned(),
                }),
            }
        };
        let ended = until_stopped(connected, shutdown, stop).await;
        drop(listener);
        ended
    }
}

fn listen(callbacks: Option<crate::callbacks::Listener>) -> Result<Option<crate::callbacks::Serving>, AgentError> {
    callbacks.map(crate::callbacks::Listener::serve).transpose()
}

async fn until_stopped(
    agent: impl Future<Output = Result<(), AgentError>>,
    shutdown: impl Future<Output = ()>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    tokio::pin!(agent);
    tokio::select! {
        ended = &mut agent => return ended,
        () = shutdown => stop.cancel(),
    }
    agent.await
}

async fn stay_connected(
    identity: Identity,
    mut holdings: Holdings,
    url: String,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let mut backoff = Backoff::default();
    let mut complained = None;
    loop {
        if holdings.is_drained() || holdings.gives_up() {
            return left(&holdings);
        }
        let began = Instant::now();
        let end = match websocket::connect(&url).await {
            Ok(link) => session::run(&identity, &mut holdings, link, &stop).await,
            Err(reason) => SessionEnd::Lost(reason),
        };
        holdings.disconnected();
        if began.elapsed() >= GOOD_CONNECTION {
            backoff = Backoff::default();
            complained = None;
        }
        let pause = match end {
            SessionEnd::Drained => return left(&holdings),
            SessionEnd::Refused(error) => {
                return Err(AgentError::Refused {
                    code: error.code,
                    message: error.message,
                });
            }
            SessionEnd::Reconnect(after) => {
                backoff = Backoff::default();
                after
            }
            SessionEnd::Lost(reason) => {
                complain(&mut complained, &url, reason);
                backoff.next()
            }
        };
        wait(&mut holdings, pause, &stop).await;
    }
}

fn tracer(identity: &Identity, spans: &Spans) -> Tracer {
    Tracer {
        spans: spans.clone(),
        agent: identity.name.clone(),
    }
}

/// Says once why there is no connection, and again only when the reason is another one.
fn complain(complained: &mut Option<String>, url: &str, reason: String) {
    if complained.as_ref() != Some(&reason) {
        tracing::warn!(
            url,
            reason,
            "no connection to the server; trying again until there is one"
        );
        *complained = Some(reason);
    }
}

fn left(holdings: &Holdings) -> Result<(), AgentError> {
    match holdings.lost_results() {
        0 => Ok(()),
        results => Err(AgentError::Undelivered { results }),
    }
}

/// Waits without a connection; attempts go on meanwhile. A draining agent with nothing left to do waits no longer.
async fn wait(holdings: &mut Holdings, pause: Duration, stop: &CancellationToken) {
    let until = Instant::now() + pause;
    loop {
        if holdings.is_drained() || holdings.gives_up() {
            return;
        }
        let drain_timeout = holdings.drain_timeout();
        tokio::select! {
            () = sleep_until(until) => return,
            Some(event) = holdings.events.recv() => holdings.handle(event),
            () = stop.cancelled(), if !holdings.is_draining() => holdings.start_draining(),
            () = drain_timeout => {
                if holdings.gives_up() {
                    return;
                }
                holdings.stop_waiting();
            }
        }
    }
}

/// Exponential, with jitter, so that the agents of a restarted server do not all come at once.
#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let longest = FIRST_BACKOFF
            .saturating_mul(1 << self.failures.min(7))
            .min(LONGEST_BACKOFF);
        self.failures += 1;
        // Half fixed, half random.
        longest / 2 + (longest / 2).mul_f64(random())
    }
}

/// A number from 0 to 1 out of the randomness that the standard library gives its hash maps.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_to_ten_seconds_and_no_further() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] >= Duration::from_millis(50) && waits[0] <= Duration::from_millis(100));
        assert!(waits[3] >= Duration::from_millis(400) && waits[3] <= Duration::from_millis(800));
        assert!(waits.iter().all(|wait| *wait <= LONGEST_BACKOFF));
        assert!(waits[19] >= LONGEST_BACKOFF / 2);
    }
}
