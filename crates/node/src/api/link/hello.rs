//! The beginning of a connection: the agent's hello, and whether it can stand.

use std::time::Duration;

use tokio::time::timeout;
use unisono_model::protocol::{AgentMessage, Hello, PROTOCOL_VERSION, ProtocolError};

use super::super::start::check_labels;
use super::{AgentReader, LinkClosed, MAX_CONCURRENCY};

/// How long an agent may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Activity types of one agent.
const MAX_TYPES: usize = 1_000;

/// The agent's first message, and what stood behind it in the same frame.
pub(super) async fn greet(reader: &mut impl AgentReader) -> Result<(Hello, Vec<AgentMessage>), ProtocolError> {
    let error = |code: &str, message: String| ProtocolError {
        code: code.to_owned(),
        message,
    };
    let read = async {
        loop {
            match reader.read().await {
                Ok(frame) if frame.is_empty() => {}
                other => return other,
            }
        }
    };
    let frame = match timeout(HELLO_WITHIN, read).await {
        Err(_) => {
            return Err(error("no-hello", "no hello came within 10 seconds".to_owned()));
        }
        Ok(Err(LinkClosed::Gone(why))) => return Err(error("gone", why)),
        Ok(Err(LinkClosed::Misspoken(why))) => return Err(error("bad-message", why)),
        Ok(Ok(frame)) => frame,
    };
    let mut messages = frame.into_iter();
    match messages.next() {
        Some(AgentMessage::Hello(hello)) => {
            check_hello(&hello).map_err(|(code, message)| error(code, message))?;
            Ok((hello, messages.collect()))
        }
        _ => Err(error("no-hello", "the first message must be hello".to_owned())),
    }
}

fn check_hello(hello: &Hello) -> Result<(), (&'static str, String)> {
    if hello.protocol != PROTOCOL_VERSION {
        return Err((
            "unsupported-protocol",
            format!(
                "this server speaks version {PROTOCOL_VERSION} of the agent protocol, and the agent asked for version \
                 {}; use an agent and a server of the same release",
                hello.protocol
            ),
        ));
    }
    if !(1..=MAX_CONCURRENCY).contains(&hello.concurrency) {
        return Err((
            "bad-hello",
            format!(
                "concurrency is {}; it must be 1 to {MAX_CONCURRENCY}",
                hello.concurrency
            ),
        ));
    }
    if hello.activity_types.is_empty() || hello.activity_types.len() > MAX_TYPES {
        return Err((
            "bad-hello",
            format!(
                "activityTypes names {} types; it must name 1 to {MAX_TYPES}",
                hello.activity_types.len()
            ),
        ));
    }
    check_labels(&hello.labels).map_err(|_| {
        (
            "bad-hello",
            "labels: at most 64, keys of A-Z a-z 0-9 . _ -, values of at most 256 bytes".to_owned(),
        )
    })
}
