//! Spans: what a process did within a trace, handed to an exporter that never makes anyone wait.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use unisono_model::trace::{SpanId, TraceContext};

/// Spans that may wait to be exported; what comes when there is no room is dropped, and counted.
const MAX_WAITING: usize = 16_384;
/// How long the last spans may take at the end of the process.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// What part a span plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Hands work to someone who takes it later.
    Producer,
    /// Does work that was handed over.
    Consumer,
    /// Happens inside.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Arc<str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Something that took time within a trace, and is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace, with this span in it.
    pub context: TraceContext,
    /// The span that caused it; absent when it is the first of its trace.
    pub parent: Option<SpanId>,
    /// Its name; of few values, so never an id.
    pub name: Cow<'static, str>,
    /// What part it plays.
    pub kind: Kind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Facts about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong, when something did.
    pub error: Option<String>,
}

/// What became of spans.
#[derive(Clone, Debug, Default)]
pub struct ExportCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl ExportCounts {
    /// Spans that the receiver took.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.0.exported.load(Ordering::Relaxed)
    }

    /// Spans that were dropped: the receiver took none, or not fast enough.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn add_exported(&self, spans: usize) {
        self.0.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_dropped(&self, spans: usize) {
        self.0.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// What the exporter is told.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "the exporter reads them"))]
pub(crate) enum Message {
    Span(Box<Span>),
    /// Export what came before this, then say so.
    Stop(oneshot::Sender<()>),
}

/// Takes spans, and makes nobody wait. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    exporter: Option<mpsc::Sender<Message>>,
    counts: ExportCounts,
}

/// Why spans cannot be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The program was built without it.
    #[error("this program was built without the feature otlp, so it cannot export traces")]
    NotBuiltIn,
    /// The settings cannot be used.
    #[error("traces cannot be exported with these settings: {0}")]
    Settings(String),
}

impl Spans {
    /// Takes spans and exports them over OTLP, from within a runtime: to this endpoint (`http://host:4318`), or where the
    /// variables of the OpenTelemetry specification say. Takes none when neither says where.
    ///
    /// # Errors
    /// [`ExportError`] when the settings cannot be used.
    pub fn export(endpoint: Option<&str>, service: &str) -> Result<Self, ExportError> {
        const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let is_off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if is_off || (endpoint.is_none() && !ENDPOINTS.into_iter().any(is_set)) {
            return Ok(Self::default());
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let counts = ExportCounts::default();
        start(endpoint, service, receiver, counts.clone())?;
        Ok(Self {
            exporter: Some(sender),
            counts,
        })
    }

    /// Whether spans are exported at all: what is costly to say need not be said otherwise.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.exporter.is_some()
    }

    /// Hands a span over. Never waits: without room it is dropped, and counted.
    pub fn send(&self, span: Span) {
        if let Some(exporter) = &self.exporter
            && exporter.try_send(Message::Span(Box::new(span))).is_err()
        {
            self.counts.add_dropped(1);
        }
    }

    /// What became of spans so far.
    #[must_use]
    pub fn counts(&self) -> ExportCounts {
        self.counts.clone()
    }

    /// Exports what was handed over, for at most 5 seconds. The last thing before the process ends.
    pub async fn finish(&self) {
        let Some(exporter) = &self.exporter else { return };
        let (done, finished) = oneshot::channel();
        let last = async {
            let _ = exporter.send(Message::Stop(done)).await;
            let _ = finished.await;
        };
        if tokio::time::timeout(LAST_SPANS, last).await.is_err() {
            tracing::warn!("the last spans were not exported within {LAST_SPANS:?}");
        }
    }
}

#[cfg(feature = "otlp")]
use crate::otlp::start;

#[cfg(not(feature = "otlp"))]
fn start(_: Option<&str>, _: &str, _: mpsc::Receiver<Message>, _: ExportCounts) -> Result<(), ExportError> {
    Err(ExportError::NotBuiltIn)
}

/// A number that nobody can guess: a keyed hash of a counter.
fn random() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A span's number.
#[must_use]
pub fn random_span() -> SpanId {
    SpanId::new(random())
}

/// A trace's number.
#[must_use]
pub fn random_trace() -> u128 {
    (u128::from(random()) << 64) | u128::from(random())
}

/// True in this fraction of cases, from 0 (never) to 1 (always).
#[must_use]
pub fn sampled(ratio: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let drawn = (random() >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < ratio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_zero_is_never_and_of_one_always() {
        assert!((0..1_000).all(|_| !sampled(0.0) && sampled(1.0)));
        let half = (0..10_000).filter(|_| sampled(0.5)).count();
        assert!((4_500..5_500).contains(&half), "{half}");
    }
}
