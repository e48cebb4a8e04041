//! Requests by route, method and status.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::registered;
use crate::api::Api;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: &'static str,
    status: u16,
}

type Latencies = Family<Route, Histogram, fn() -> Histogram>;

/// Counts of requests.
pub(super) struct HttpMetrics {
    requests: Family<Answered, Counter>,
    seconds: Latencies,
}

impl HttpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 4.0, 9));
        Self {
            requests: registered(
                registry,
                ("http_requests", "HTTP requests answered, by route, method and status"),
                None,
                Family::default(),
            ),
            seconds: registered(
                registry,
                (
                    "http_request",
                    "Time until the head of the answer, by route and method; what a caller asked to wait included",
                ),
                Some(Unit::Seconds),
                Latencies::new_with_constructor(buckets),
            ),
        }
    }
}

/// Counts a request and how long its answer took.
pub(crate) async fn count_request(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = method(request.method());
    // Ids stand in the path, never in its template; what no route takes is one route.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(matched) => matched.as_str().to_owned(),
        None => "none".to_owned(),
    };
    let response = next.run(request).await;
    let took = begin.elapsed();
    tracing::debug!(
        target: "unisono_node::api",
        method, route, status = response.status().as_u16(), ?took, "request answered"
    );
    let http = &api.metrics.http;
    let answered = Answered {
        route,
        method,
        status: response.status().as_u16(),
    };
    http.requests.get_or_create(&answered).inc();
    let route = Route {
        route: answered.route,
        method,
    };
    http.seconds.get_or_create(&route).observe(took.as_secs_f64());
    response
}

/// A caller can make up methods without end.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
