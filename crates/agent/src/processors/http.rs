//! Sends an HTTP request for each attempt.
//!
//! Placeholders may stand in the path and the query of the URL, in header values and in the body, never in the scheme
//! or the host: an input cannot choose whom the agent talks to. Redirects are not followed for the same reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::StreamExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, Url};
use serde_json::{Value, json};
use unisono_model::limits::MAX_OUTPUT_BYTES;
use unisono_model::trace::TraceContext;

use super::template::{JsonTemplate, Part, Template};
use crate::callbacks::CallbackRouter;
use crate::config::{ConfigError, Field};
use crate::context::ActivityContext;
use crate::processor::{ActivityFailure, ActivityProcessor, ActivityResult, OrFail as _, Processed};
use crate::services::HttpClient;

/// What may stand in a path or a query as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_SCHEDULE: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// After this many attempts `Retry-After` is no longer obeyed, so that the retry policy can end the activity.
const MAX_RETRY_AFTER_ATTEMPTS: u32 = 10;
/// Bytes of an answer that an error shows.
const SHOWN: usize = 300;

/// What to send, and what the answer means.
#[derive(Clone, Debug)]
pub struct HttpSpec {
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Option<JsonTemplate>,
    timeout: Duration,
    statuses: Statuses,
    schedule_after: Duration,
    wait_timeout: Option<Duration>,
}

/// Which status means what; looked at in the order of the fields. A status that is in none of them is fatal.
#[derive(Clone, Debug)]
struct Statuses {
    wait: Vec<RangeInclusive<u16>>,
    schedule: Vec<RangeInclusive<u16>>,
    retry: Vec<RangeInclusive<u16>>,
    complete: Vec<RangeInclusive<u16>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Wait,
    Schedule,
    Retry,
    Complete,
    Fatal,
}

impl Statuses {
    fn meaning(&self, status: u16) -> Meaning {
        let within = |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&status));
        if within(&self.wait) {
            Meaning::Wait
        } else if within(&self.schedule) {
            Meaning::Schedule
        } else if within(&self.retry) {
            Meaning::Retry
        } else if within(&self.complete) {
            Meaning::Complete
        } else {
            Meaning::Fatal
        }
    }
}

impl HttpSpec {
    pub(crate) fn read(field: &Field) -> Result<Self, ConfigError> {
        let mut fields = field.fields()?;
        let method = match fields.take("method") {
            Some(method) => Method::from_bytes(method.text()?.to_uppercase().as_bytes())
                .map_err(|_| method.error("this is no HTTP method", "write GET, POST, PUT, PATCH or DELETE"))?,
            None => Method::POST,
        };
        let url = fields.required("url", "url: \"https://example.com/tenants/{input.tenant}\"")?;
        let url = read_url(&url)?;
        let headers = match fields.take("headers") {
            Some(headers) => read_headers(&headers)?,
            None => Vec::new(),
        };
        let body = match fields.take("body") {
            Some(body) => Some(JsonTemplate::parse(body.json()).map_err(|reason| body.error(reason, TEMPLATE_FIX))?),
            None => None,
        };
        let statuses = Statuses {
            wait: read_statuses(&mut fields, "wait", &[])?,
            schedule: read_statuses(&mut fields, "schedule", &[])?,
            retry: read_statuses(&mut fields, "retry", &[408..=408, 425..=425, 429..=429, 500..=599])?,
            complete: read_statuses(&mut fields, "complete", &[200..=299])?,
        };
        let spec = Self {
            method,
            url,
            headers,
            body,
            timeout: fields
                .take("timeout")
                .map_or(Ok(DEFAULT_TIMEOUT), |field| field.duration())?,
            statuses,
            schedule_after: fields
                .take("scheduleAfter")
                .map_or(Ok(DEFAULT_SCHEDULE), |field| field.duration())?,
            wait_timeout: fields.take("waitTimeout").map(|field| field.duration()).transpose()?,
        };
        fields.finish()?;
        Ok(spec)
    }

    /// Whether the input is sent when no body is configured.
    fn sends_input(&self) -> bool {
        self.body.is_none() && matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }
}

const TEMPLATE_FIX: &str = "correct the placeholder";

fn read_url(field: &Field) -> Result<Template, ConfigError> {
    let url = Template::parse(&field.text()?).map_err(|reason| field.error(reason, TEMPLATE_FIX))?;
    let begin = match url.parts.first() {
        Some(Part::Literal(begin)) => begin.as_str(),
        _ => "",
    };
    let fix = "write the whole address up to the path, such as https://example.com/tenants/{input.tenant}";
    let authority = begin.strip_prefix("http://").or_else(|| begin.strip_prefix("https://"));
    let Some(authority) = authority else {
        return Err(field.error("the URL does not begin with http:// or https://", fix));
    };
    let has_placeholder_later = url.parts.len() > 1;
    if has_placeholder_later && !authority.contains(['/', '?', '#']) {
        return Err(field.error(
            "a placeholder stands in the host, where an input could choose whom the agent talks to",
            fix,
        ));
    }
    begin
        .parse::<Url>()
        .map_err(|error| field.error(format!("this is no URL: {error}"), fix))?;
    Ok(url)
}

fn read_headers(field: &Field) -> Result<Vec<(HeaderName, Template)>, ConfigError> {
    let header = |(name, value): (String, Field)| {
        let wrong = |reason: &str| value.error(reason, "write, for example, `X-Key: \"{input.key}\"`");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("this is no name of a header"))?;
        if matches!(
            header.as_str(),
            "host" | "content-length" | "transfer-encoding" | "connection"
        ) {
            return Err(wrong("this header is the HTTP client's own"));
        }
        let template = Template::parse(&value.text()?).map_err(|reason| value.error(reason, TEMPLATE_FIX))?;
        Ok((header, template))
    };
    field.entries()?.into_iter().map(header).collect()
}

fn read_statuses(
    fields: &mut crate::config::Fields,
    key: &'static str,
    default: &[RangeInclusive<u16>],
) -> Result<Vec<RangeInclusive<u16>>, ConfigError> {
    let Some(field) = fields.take(key) else {
        return Ok(default.to_vec());
    };
    field
        .list()?
        .iter()
        .map(|item| {
            let text = item.text()?;
            let (first, last) = text.split_once('-').unwrap_or((&text, &text));
            let status = |text: &str| {
                text.trim()
                    .parse::<u16>()
                    .ok()
                    .filter(|status| (100..=599).contains(status))
            };
            match (status(first), status(last)) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                _ => Err(item.error(
                    format!("{text:?} is no HTTP status"),
                    "write a status or a range, such as 202 or 500-599",
                )),
            }
        })
        .collect()
}

/// The processor that sends requests.
#[derive(Clone, Debug)]
pub struct HttpProcessor {
    spec: HttpSpec,
    http: HttpClient,
    callbacks: Option<std::sync::Arc<CallbackRouter>>,
}

impl HttpProcessor {
    /// A processor for this request. With a callback router the placeholder `{callbackUrl}` has a value.
    #[must_use]
    pub fn new(spec: HttpSpec, callbacks: Option<std::sync::Arc<CallbackRouter>>) -> Self {
        Self {
            spec,
            http: client(),
            callbacks,
        }
    }

    fn values(&self, context: &ActivityContext) -> Result<Value, ActivityFailure> {
        let mut values = json!({
            "input": context.input::<Value>()?,
            "context": serde_json::from_str::<Value>(context.raw_context().get()).unwrap_or_default(),
            "namespace": context.namespace(),
            "orchestrationId": context.orchestration_id(),
            "activityId": context.activity_id(),
            "activityType": context.activity_type(),
            "attempt": context.attempt(),
            "discriminator": context.discriminator().unwrap_or_default(),
            "correlationId": context.correlation_id().unwrap_or_default(),
            "token": context.token().to_string(),
        });
        if let Some(callbacks) = &self.callbacks {
            values["callbackUrl"] = Value::String(callbacks.completion_url(context));
        }
        Ok(values)
    }

    fn request(&self, context: &ActivityContext) -> Result<reqwest::RequestBuilder, ActivityFailure> {
        let values = self.values(context)?;
        let url = render_url(&self.spec.url, &values).or_fatal("bad-request")?;
        let mut headers = render_headers(&self.spec.headers, &values).or_fatal("bad-request")?;
        pass_on(context.trace(), &mut headers);
        let request = self
            .http
            .request(self.spec.method.clone(), url)
            .timeout(self.spec.timeout)
            .headers(headers);
        let body = match &self.spec.body {
            Some(body) => Some(body.render(&values).or_fatal("bad-request")?),
            None => self.spec.sends_input().then(|| values["input"].clone()),
        };
        Ok(match body {
            Some(body) => request.json(&body),
            None => request,
        })
    }

    async fn send(&self, context: &mut ActivityContext) -> Processed {
        let response = self
            .request(context)?
            .send()
            .await
            .map_err(|error| self.not_sent(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let body = read_body(response).await?;
        match self.spec.statuses.meaning(status) {
            Meaning::Complete => {
                context.set_whole_output(output(status, &body))?;
                Ok(ActivityResult::Complete)
            }
            Meaning::Wait => Ok(ActivityResult::Wait {
                timeout: self.spec.wait_timeout,
            }),
            Meaning::Schedule => Ok(ActivityResult::Schedule {
                after: retry_after.unwrap_or(self.spec.schedule_after),
            }),
            Meaning::Retry => match retry_after {
                Some(after) if context.attempt() <= MAX_RETRY_AFTER_ATTEMPTS => {
                    context.log(format!(
                        "status {status}; trying again after {after:?}, as the answer asks"
                    ));
                    Ok(ActivityResult::Schedule { after })
                }
                _ => Err(ActivityFailure::retry("http-status", self.refusal(status, &body))),
            },
            Meaning::Fatal => Err(ActivityFailure::fatal("http-status", self.refusal(status, &body))),
        }
    }

    fn not_sent(&self, error: &reqwest::Error) -> ActivityFailure {
        let method = &self.spec.method;
        let url = error
            .url()
            .map_or_else(String::new, |url| format!(" {}", without_query(url)));
        if error.is_timeout() {
            let message = format!("{method}{url} had no answer within {:?}", self.spec.timeout);
            return ActivityFailure::retry("timeout", message);
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let message = format!("{method}{url} failed: {cause}");
        if error.is_builder() {
            ActivityFailure::fatal("bad-request", message)
        } else {
            ActivityFailure::retry("unreachable", message)
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
        let answer = if shown.trim().is_empty() {
            String::new()
        } else {
            format!(": {}", shown.trim())
        };
        format!("{} was answered with status {status}{answer}", self.spec.method)
    }
}

impl ActivityProcessor for HttpProcessor {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let attempt = context.handle();
        tokio::select! {
            processed = self.send(context) => processed,
            () = attempt.cancelled() => Err(ActivityFailure::retry("cancelled", "the attempt is cancelled")),
        }
    }
}

/// A client that follows no redirects: a server that is trusted could otherwise send the agent anywhere.
fn client() -> HttpClient {
    let client = crate::builder::http_client().redirect(reqwest::redirect::Policy::none());
    client.build().unwrap_or_default()
}

/// Secrets tend to stand in queries.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    url.to_string()
}

/// The URL, with every value percent-encoded as one component. In the path a value must not be empty and the segment
/// that it stands in must not be `.` or `..`: the request would go to another place than the one configured.
fn render_url(template: &Template, values: &Value) -> Result<Url, String> {
    let mut in_query = false;
    let mut text = String::new();
    for part in &template.parts {
        match part {
            Part::Literal(literal) => {
                in_query |= literal.contains(['?', '#']);
                text.push_str(literal);
            }
            Part::Placeholder(placeholder) => {
                let alone = Template {
                    parts: vec![part.clone()],
                };
                let value = alone.render(values, |_, value| Ok(value))?;
                if value.is_empty() && !in_query {
                    return Err(format!(
                        "the value for {{{}}} in the URL's path is empty",
                        placeholder.text
                    ));
                }
                text.extend(utf8_percent_encode(&value, COMPONENT));
            }
        }
    }
    let path = text
        .split_once("://")
        .map_or("", |(_, rest)| rest)
        .split(['?', '#'])
        .next()
        .unwrap_or_default();
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').skip(1).any(dots) {
        return Err("a value makes a part of the URL's path `.` or `..`, which leads elsewhere".to_owned());
    }
    text.parse()
        .map_err(|error| format!("the URL {text:?} is none: {error}"))
}

/// Passes the trace on, unless the configuration says what to pass on.
fn pass_on(trace: Option<&TraceContext>, headers: &mut HeaderMap) {
    let Some(trace) = trace.filter(|_| !headers.contains_key(TRACEPARENT)) else {
        return;
    };
    let state = trace.state.as_deref().map(|state| (TRACESTATE, state.to_owned()));
    for (name, value) in std::iter::once((TRACEPARENT, trace.parent())).chain(state) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn render_headers(templates: &[(HeaderName, Template)], values: &Value) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, template) in templates {
        let text = template.render(values, |placeholder, value| {
            if value.chars().any(char::is_control) {
                return Err(format!(
                    "the value for {{{}}} in the header {name} has control characters",
                    placeholder.text
                ));
            }
            Ok(value)
        })?;
        let value = HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_| format!("the header {name} has a value that headers cannot have"))?;
        headers.append(name.clone(), value);
    }
    Ok(headers)
}

/// `{"status": 200, "body": …}`: JSON as it is, other text as text, nothing when there is nothing.
fn output(status: u16, body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    if text.trim().is_empty() {
        return json!({ "status": status });
    }
    let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
    json!({ "status": status, "body": body })
}

async fn read_body(response: Response) -> Result<Vec<u8>, ActivityFailure> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| ActivityFailure::retry("unreachable", format!("the answer broke off: {error}")))?;
        body.extend_from_slice(&piece);
        if body.len() > MAX_OUTPUT_BYTES {
            let message = format!("the answer is longer than {MAX_OUTPUT_BYTES} bytes");
            return Err(ActivityFailure::fatal("output-too-large", message));
        }
    }
    Ok(body)
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); its form as a date is left to the retry policy.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).clamp(Duration::from_millis(100), MAX_RETRY_AFTER))
}
