//! Errors as RFC 9457 `application/problem+json`: a stable code, what went wrong, and what to do.

use std::any::Any;
use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use unisono_engine::Rejection;
use unisono_engine::rollout::RolloutRejection;
use unisono_model::api::{PROBLEM_JSON, Problem};
use unisono_model::problem::{Mistake, Span};
use unisono_model::rollout::Fault;
use unisono_model::schema::Violation;

use super::refusals;
use super::rollouts::faults_problem;
use crate::partition::Unavailable;

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

pub(crate) type Answer<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            code: Cow::Borrowed(code),
            status: status.as_u16(),
            title: title(code),
            detail: detail.into(),
            help: None,
            field: None,
            mistakes: Vec::new(),
            data: None,
        }))
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            .help("this is a fault of the server: its log says more")
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    pub(crate) fn mistakes(mut self, mistakes: Vec<Mistake>) -> Self {
        self.0.mistakes = mistakes;
        self
    }

    /// The field is one of what stands in another.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.0.field = Some(match self.0.field {
            Some(field) => format!("{outer}.{field}"),
            None => outer.to_owned(),
        });
        self
    }

    /// The same faults, with their places in a source.
    pub(crate) fn relocated(mut self, locate: impl FnOnce(&[Fault]) -> Vec<Mistake>) -> Self {
        let fault = |mistake: &Mistake| Fault {
            code: mistake.code.clone(),
            field: mistake.path.clone(),
            reason: mistake.message.clone(),
            fix: mistake.help.clone(),
        };
        let faults: Vec<Fault> = self.0.mistakes.iter().map(fault).collect();
        self.0.mistakes = locate(&faults);
        self
    }

    /// Whether it has this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.0.code == code
    }

    /// More for programs.
    pub(crate) fn data(mut self, data: serde_json::Value) -> Self {
        self.0.data = Some(data);
        self
    }

    /// The payload in `field` does not fit its schema.
    pub(crate) fn violations(field: &str, whose: &str, violations: &[Violation]) -> Self {
        let mistakes = violations
            .iter()
            .map(|violation| Mistake {
                code: Cow::Borrowed("schema-violation"),
                file: "request".to_owned(),
                line: 0,
                column: 0,
                path: if violation.path.is_empty() {
                    field.to_owned()
                } else {
                    format!("{field}.{}", violation.path)
                },
                message: violation.message.clone(),
                help: format!("make {field} fit {whose}"),
                span: Span::default(),
            })
            .collect();
        let count = violations.len();
        let first = violations.first().map(|violation| match violation.path.as_str() {
            "" => format!(": {}", violation.message),
            path => format!(": {path}: {}", violation.message),
        });
        let more = if count > 1 {
            format!(" (and {} more)", count - 1)
        } else {
            String::new()
        };
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "schema-violation",
            format!("{field} does not fit {whose}{}{more}", first.unwrap_or_default()),
        )
        .field(field)
        .mistakes(mistakes)
    }
}

impl ApiError {
    /// Something about rollouts was refused.
    fn rollout(rejection: &RolloutRejection, detail: String) -> Self {
        let status = match rejection {
            RolloutRejection::EntityNotFound { .. }
            | RolloutRejection::TargetNotFound { .. }
            | RolloutRejection::CallNotFound { .. }
            | RolloutRejection::SubscriberNotFound { .. } => StatusCode::NOT_FOUND,
            RolloutRejection::Changed { .. } => StatusCode::PRECONDITION_FAILED,
            RolloutRejection::Faults(_)
            | RolloutRejection::KeyTaken { .. }
            | RolloutRejection::WrongAnswer { .. }
            | RolloutRejection::TooManyTargets { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            RolloutRejection::NoRollout { .. }
            | RolloutRejection::NotNow { .. }
            | RolloutRejection::NotThisTarget { .. }
            | RolloutRejection::BadVersion { .. }
            | RolloutRejection::UnderWay { .. }
            | RolloutRejection::NotFrozen => StatusCode::CONFLICT,
        };
        let problem = Self::new(status, rejection.code(), detail).help(rejection.fix());
        match rejection {
            RolloutRejection::Faults(faults) => faults_problem(faults, problem.0.detail),
            RolloutRejection::KeyTaken { .. } => problem.field("Idempotency-Key"),
            RolloutRejection::Changed { .. } => problem.field("If-Match"),
            RolloutRejection::EntityNotFound { .. } => problem.field("entity"),
            RolloutRejection::TargetNotFound { .. } => problem.field("targets"),
            RolloutRejection::CallNotFound { .. } => problem.field("call"),
            RolloutRejection::BadVersion { .. } => problem.field("version"),
            _ => problem,
        }
    }
}

fn title(code: &str) -> String {
    let text = code.replace('-', " ");
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some("1"),
            // Somebody has to make room first.
            StatusCode::INSUFFICIENT_STORAGE => Some("10"),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        let (code, help) = match unavailable {
            Unavailable::DiskFull(_) | Unavailable::Held(_) => {
                status = StatusCode::INSUFFICIENT_STORAGE;
                let help = "repeat the request later: the server goes on by itself when there is room on the disk of its data \
                            directory";
                ("disk-full", help)
            }
            Unavailable::Reopening => ("store-unavailable", "repeat the request after a moment"),
            Unavailable::Lost => (
                "outcome-unknown",
                "look whether it took effect before you repeat it; a start with your own id can be repeated safely",
            ),
            Unavailable::Overloaded => ("overloaded", "repeat the request after a moment"),
            Unavailable::Stopping => ("stopping", "repeat the request when the server is back"),
            Unavailable::Store(_) => ("store-unavailable", "look at the server's log and its disk"),
        };
        Self::new(status, code, unavailable.to_string()).help(help)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::Stale => Self::new(StatusCode::SERVICE_UNAVAILABLE, "changed-meanwhile", detail)
                .help("definitions change too fast just now: repeat the request"),
            Rejection::DefinitionNotFound { .. } => Self::not_found("definition-not-found", detail)
                .field("type")
                .help("list what there is with `unisono get definitions`, or apply it with `unisono apply -f FILE`"),
            Rejection::VersionNotFound { .. } => Self::not_found("version-not-found", detail)
                .field("version")
                .help("leave version out to start the newest"),
            Rejection::DefinitionInactive { type_name } => Self::conflict("definition-inactive", detail)
                .field("type")
                .help(format!("apply \"{type_name}\" with `active: true` to start it again")),
            Rejection::DefinitionInUse { .. } => Self::conflict("definition-in-use", detail)
                .help("delete or change those orchestration definitions first"),
            Rejection::IdTaken { id } => Self::conflict("id-taken", detail)
                .field("id")
                .help(format!("use another id, or look at it with `unisono get {id}`")),
            Rejection::NotOpen { .. } => Self::not_found("orchestration-not-found", detail).field("id"),
            Rejection::StillOpen { id } => Self::conflict("orchestration-open", detail).field("id").help(format!(
                "cancel it first (`unisono cancel {id}`), or wait until it has ended"
            )),
            Rejection::NamespaceNotFound { .. } => Self::not_found("namespace-not-found", detail)
                .field("namespace")
                .help("a namespace is made by applying a definition in it (`unisono apply -f FILE --namespace NAMESPACE`)"),
            Rejection::ActivityNotFound { .. } => Self::not_found("activity-not-found", detail)
                .field("activity")
                .help("`unisono get ID` lists its activities"),
            Rejection::StaleToken { .. } => Self::conflict("stale-token", detail)
                .field("token")
                .help("`unisono get ID` shows the token of every activity that waits"),
            Rejection::TokenOfAnother { .. } => Self::conflict("token-mismatch", detail)
                .field("token")
                .help("`unisono get ID` shows which token belongs to which activity"),
            Rejection::ContextTooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "context-too-large", detail)
                .help("keep large data elsewhere and put a reference to it into the context"),
            Rejection::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large", detail)
                .help("ask for less at once; keep large data elsewhere and pass a reference to it"),
            Rejection::Rollout(rejection) => Self::rollout(&rejection, detail),
            Rejection::SessionReplaced => Self::conflict("session-replaced", detail),
            Rejection::Value(rejection) => refusals::value(rejection, detail),
            Rejection::Lease(rejection) => refusals::lease(rejection, detail),
            Rejection::Internal(_) => Self::internal(detail),
        }
    }
}

pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::not_found("no-such-route", format!("nothing is served at {}", uri.path()))
        .help("/openapi.json lists every route")
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-such-method",
        format!("{} does not take {method}", uri.path()),
    )
    .help("/openapi.json lists every route with its methods")
}

pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal("the server failed while it handled the request").into_response()
}
