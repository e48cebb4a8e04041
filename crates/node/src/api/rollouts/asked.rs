//! What handlers take from a request about an entity.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use unisono_engine::rollout::{By, RequestKey};
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, GroupName, TargetId, TargetName, TextError};
use xxhash_rust::xxh3::xxh3_64;

use crate::api::extract::{Actor, name};
use crate::api::problem::{Answer, ApiError};

/// The header by which a caller marks requests that are the same.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of such a key.
const MAX_KEY_BYTES: usize = 256;

/// An entity that a path names, and the segments after it.
pub(in crate::api) struct At {
    pub(in crate::api) namespace: Name,
    pub(in crate::api) entity: EntityName,
    pub(super) rest: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request("bad-path", rejection.body_text()))?;
        let mut texts = segments.into_iter().map(|(_, text)| text);
        let namespace = name("namespace", &texts.next().unwrap_or_default())?;
        let text = texts.next().unwrap_or_default();
        let entity = EntityName::parse(plain(&text)).map_err(|error| bad_name("entity", &error))?;
        let rest = texts.next().map(|text| plain(&text).to_owned());
        Ok(Self {
            namespace,
            entity,
            rest,
        })
    }
}

impl At {
    /// The third segment of the path.
    pub(super) fn segment(&self) -> &str {
        self.rest.as_deref().unwrap_or_default()
    }

    /// The target that the third segment names.
    pub(super) fn target(&self, group: Option<&str>) -> Answer<TargetId> {
        let group = group.unwrap_or_default();
        Ok(TargetId {
            group: GroupName::parse(group).map_err(|error| bad_name("group", &error))?,
            name: TargetName::parse(self.segment()).map_err(|error| bad_name("target", &error))?,
        })
    }
}

/// A segment without the mark that protects it.
fn plain(segment: &str) -> &str {
    segment.strip_prefix('~').unwrap_or(segment)
}

pub(super) fn bad_name(field: &str, error: &TextError) -> ApiError {
    ApiError::bad_request("bad-name", error.to_string()).field(field).help(
        "give the name percent-encoded; in a path, one that begins with `~` or is made of dots gets a `~` in front",
    )
}

/// Who asks, on what basis, and whether the request may have come before.
pub(in crate::api) struct Asker {
    actor: Actor,
    based_on: Option<Revision>,
    key: Option<String>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let actor = Actor::from_request_parts(parts, state).await;
        let actor = actor.unwrap_or_else(|never: Infallible| match never {});
        Ok(Self {
            actor,
            based_on: if_match(&parts.headers)?,
            key: key(&parts.headers)?,
            path: parts.uri.path().to_owned(),
        })
    }
}

impl Asker {
    /// The same for the engine. `asked` is the body of the request.
    pub(super) fn by(self, reason: Option<String>, asked: &[u8]) -> By {
        let digest = xxh3_64(asked) ^ xxh3_64(self.path.as_bytes()).rotate_left(1);
        By {
            actor: self.actor.0,
            reason: reason.filter(|reason| !reason.trim().is_empty()),
            based_on: self.based_on,
            request: self.key.map(|key| RequestKey { key, digest }),
        }
    }
}

fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY_BYTES {
        return Err(ApiError::bad_request(
            "bad-header",
            format!("a key has 1 to {MAX_KEY_BYTES} visible characters"),
        )
        .field("Idempotency-Key")
        .help("give each request a key of its own, such as a UUID"));
    }
    Ok(Some(text.to_owned()))
}

/// The revision that a change is based on; `*` asks for nothing.
fn if_match(headers: &HeaderMap) -> Answer<Option<Revision>> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let revision = tag.trim_start_matches("W/").trim_matches('"').parse().ok();
    revision.map(|revision| Some(Revision(revision))).ok_or_else(|| {
        ApiError::bad_request("bad-header", "If-Match is the ETag of an entity, such as \"42\"")
            .field("If-Match")
            .help("get the entity, and give the ETag of the answer")
    })
}

/// There is no such entity.
pub(super) fn no_entity(entity: &EntityName) -> ApiError {
    ApiError::not_found("entity-not-found", format!("there is no entity \"{entity}\""))
        .field("entity")
        .help("name an entity that exists; setting a version, a policy, or reporting a target makes one")
}

/// There is no such target.
pub(super) fn no_target(target: &TargetId) -> ApiError {
    ApiError::not_found("target-not-found", format!("there is no target {target}"))
        .field("target")
        .help("name a target that has been reported, with its group in `group`")
}

/// A field, header or parameter that makes no sense.
pub(super) fn invalid(field: &str, reason: impl Into<String>, help: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", reason)
        .field(field)
        .help(help)
}
