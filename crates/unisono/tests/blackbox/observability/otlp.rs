//! A receiver of spans: takes OTLP, protobuf over HTTP, and keeps what came.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

/// A span as it came.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// `service.name` of who sent it.
    pub(super) service: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty when it has none.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) error: Option<String>,
}

pub(super) struct Receiver {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { port, spans }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// Takes requests of one connection until it ends. A sender that was killed in the middle is not our business.
fn serve(stream: TcpStream, kept: &Mutex<Vec<Span>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let (mut first, mut length, mut kind) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).is_err() || line.is_empty() {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("content-type", value)) => value.clone_into(&mut kind),
                _ if first.is_empty() => first = line,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        assert_eq!(
            (first.as_str(), kind.as_str()),
            ("post /v1/traces http/1.1", "application/x-protobuf")
        );
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        kept.lock().unwrap().extend(read(request));
        let answered =
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if answered.is_err() {
            return;
        }
    }
}

fn read(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(resource.resource.unwrap_or_default().attributes);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let status = span.status.unwrap_or_default();
            found.push(Span {
                service: about["service.name"].clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                state: span.trace_state,
                attributes: attributes(span.attributes),
                began: span.start_time_unix_nano,
                ended: span.end_time_unix_nano,
                error: (status.code == 2).then_some(status.message),
            });
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|it| it.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|it| (it.key, text(it.value))).collect()
}
