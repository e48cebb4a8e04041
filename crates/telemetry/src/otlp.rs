//! Sends spans over OTLP, as protobuf over HTTP, from a task of its own.

use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep};

use crate::trace::{ExportCounts, ExportError, Kind, Message, Span, Value};

/// How long spans are collected, and how often is looked meanwhile. To be woken by each of them would cost more than sending it.
const COLLECT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// Spans in one request.
const AT_ONCE: usize = 2_048;
/// Waits between tries to send the same spans.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Starts the task, in the runtime that calls.
pub(crate) fn start(
    endpoint: Option<&str>,
    service: &str,
    spans: Receiver<Message>,
    counts: ExportCounts,
) -> Result<(), ExportError> {
    let mut builder = SpanExporter::builder().with_http();
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
    }
    let mut exporter = builder
        .build()
        .map_err(|error| ExportError::Settings(error.to_string()))?;
    exporter.set_resource(&resource(service));
    let task = Exporter {
        exporter,
        counts,
        complained: false,
    };
    tokio::spawn(task.run(spans));
    Ok(())
}

/// Who sends the spans. What the environment says of it is stronger.
fn resource(service: &str) -> Resource {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let mut resource = Resource::builder();
    if said("OTEL_SERVICE_NAME").is_empty() && !said("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=") {
        resource = resource.with_service_name(service.to_owned());
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    resource.with_attribute(version).build()
}

struct Exporter {
    exporter: SpanExporter,
    counts: ExportCounts,
    /// Whether it was said that spans cannot be sent.
    complained: bool,
}

impl Exporter {
    async fn run(mut self, mut spans: Receiver<Message>) {
        let mut messages = Vec::new();
        while let Some(first) = spans.recv().await {
            messages.push(first);
            let until = Instant::now() + COLLECT;
            while take(&mut spans, &mut messages) && Instant::now() < until {
                sleep(LOOK).await;
            }
            let (mut batch, mut stop) = (Vec::new(), None);
            for message in messages.drain(..) {
                match message {
                    Message::Span(span) => batch.push(data(*span)),
                    Message::Stop(done) => stop = Some(done),
                }
            }
            let pauses: &[Duration] = if stop.is_some() { &[] } else { &PAUSES };
            self.export(batch, pauses).await;
            if let Some(done) = stop {
                let _ = done.send(());
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>, pauses: &[Duration]) {
        let spans = batch.len();
        if spans == 0 {
            return;
        }
        let mut pauses = pauses.iter();
        loop {
            match self.exporter.export(batch.clone()).await {
                Ok(()) => {
                    self.counts.add_exported(spans);
                    self.complained = false;
                    return;
                }
                Err(error) if !self.complained => {
                    tracing::warn!("spans cannot be exported: {error}; they are dropped until they can be");
                    self.complained = true;
                }
                Err(_) => {}
            }
            let Some(pause) = pauses.next() else {
                self.counts.add_dropped(spans);
                return;
            };
            sleep(*pause).await;
        }
    }
}

/// Takes what is there, up to what goes into one request, or to the end; says whether more would.
fn take(spans: &mut Receiver<Message>, messages: &mut Vec<Message>) -> bool {
    while messages.len() < AT_ONCE {
        if let Some(Message::Stop(_)) = messages.last() {
            return false;
        }
        match spans.try_recv() {
            Ok(message) => messages.push(message),
            Err(_) => return true,
        }
    }
    false
}

fn data(span: Span) -> SpanData {
    let context = span.context;
    let state = context
        .state
        .as_deref()
        .and_then(|state| state.parse::<TraceState>().ok());
    let id = SpanId::from_bytes(context.span.get().to_be_bytes());
    let trace = TraceId::from_bytes(context.trace.to_be_bytes());
    let flags = TraceFlags::new(context.flags);
    let parent = span
        .parent
        .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.get().to_be_bytes()));
    SpanData {
        span_context: SpanContext::new(trace, id, flags, false, state.unwrap_or_default()),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name,
        start_time: span.began,
        end_time: span.ended,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("unisono").build(),
    }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    match value {
        // Shared with the copy that is kept until the receiver has taken it.
        Value::Text(text) => KeyValue::new(key, opentelemetry::Value::String(text.into())),
        Value::Number(number) => KeyValue::new(key, number),
        Value::Flag(flag) => KeyValue::new(key, flag),
    }
}
