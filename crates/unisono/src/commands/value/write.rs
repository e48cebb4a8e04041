//! `unisono value set`, `cas` and `delete`.

use std::time::Duration;

use clap::Args;
use unisono_client::ClientError;
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{
    Condition, Content, DeleteResponse, Expectation, OperationRequest, OperationResult, PutRequest, PutResponse,
    TransactionRequest,
};

use super::content::ContentKind;
use crate::cli::{Global, duration, millis};
use crate::failure::Failure;
use crate::output::Console;

/// Characters of a content that an error shows.
const MOST_SHOWN: usize = 200;

/// How a value is written.
#[derive(Args, Clone, Debug)]
struct HowArgs {
    #[command(flatten)]
    kind: ContentKind,
    /// Let it expire after this time, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Let it vanish with this lease
    #[arg(long, value_name = "ID", value_parser = revision)]
    lease: Option<Revision>,
    /// Show its content only to who gets this very key (or, with =false, to all again)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sensitive: Option<bool>,
    /// What kind of content it is, such as text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The fencing token of a lock, under which it is written
    #[arg(long, value_name = "TOKEN", value_parser = revision)]
    fence: Option<Revision>,
    /// The lock that must be held under that token
    #[arg(long, value_name = "NAME", requires = "fence")]
    lock: Option<Name>,
    /// Who writes it: the producer of a promised value
    #[arg(long, value_name = "NAME")]
    party: Option<Name>,
}

/// What to write.
#[derive(Args, Clone, Debug)]
pub(crate) struct SetArgs {
    /// The key, a path such as cells/north/database-url
    key: String,
    /// The content: JSON, @FILE, or @- for standard input
    #[arg(value_name = "JSON|@FILE|@-", allow_negative_numbers = true)]
    content: String,
    #[command(flatten)]
    how: HowArgs,
    /// Only if the key has no value
    #[arg(long, conflicts_with = "if_revision")]
    if_absent: bool,
    /// Only if it was last written at this revision
    #[arg(long, value_name = "N", value_parser = revision)]
    if_revision: Option<Revision>,
}

/// What to compare, and what to write.
#[derive(Args, Clone, Debug)]
pub(crate) struct CasArgs {
    /// The key
    key: String,
    /// What it must hold: JSON, @FILE, or @- for standard input
    #[arg(value_name = "EXPECTED", allow_negative_numbers = true)]
    expected: String,
    /// What to write then
    #[arg(value_name = "NEW", allow_negative_numbers = true)]
    content: String,
    #[command(flatten)]
    how: HowArgs,
}

/// What to delete.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// The key
    key: String,
    /// Only if it holds this: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE|@-", conflicts_with = "if_revision")]
    r#if: Option<String>,
    /// Only if it was last written at this revision
    #[arg(long, value_name = "N", value_parser = revision)]
    if_revision: Option<Revision>,
    #[command(flatten)]
    kind: ContentKind,
    /// The fencing token of a lock, under which it is deleted
    #[arg(long, value_name = "TOKEN", value_parser = revision)]
    fence: Option<Revision>,
    /// The lock that must be held under that token
    #[arg(long, value_name = "NAME", requires = "fence")]
    lock: Option<Name>,
}

/// Reads a revision, a lease or a fencing token.
pub(crate) fn revision(text: &str) -> Result<Revision, String> {
    let revision = text.parse().map(Revision);
    revision.map_err(|_| "give the number that the server gave, such as 42".to_owned())
}

impl HowArgs {
    fn request(self, content: Content) -> PutRequest {
        PutRequest {
            content_type: self.content_type,
            ttl_ms: self.ttl.map(millis),
            lease: self.lease,
            sensitive: self.sensitive,
            fence: self.fence,
            lock: self.lock,
            party: self.party,
            ..PutRequest::new(content)
        }
    }
}

/// Writes a value.
///
/// # Errors
/// [`Failure::Refused`] when a condition does not hold, or the server refuses it otherwise.
pub(crate) async fn set(args: SetArgs, global: &Global) -> Result<(), Failure> {
    let content = args.how.kind.read(&args.content)?;
    let mut request = args.how.request(content);
    request.r#if = match args.if_revision {
        Some(revision) => Some(Expectation::revision(revision)),
        None => args.if_absent.then(Expectation::absent),
    };
    put(&args.key, &request, global).await
}

/// Writes a value if the key holds what is expected.
///
/// # Errors
/// [`Failure::Refused`] when it does not.
pub(crate) async fn cas(args: CasArgs, global: &Global) -> Result<(), Failure> {
    let (expected, content) = (args.how.kind.read(&args.expected)?, args.how.kind.read(&args.content)?);
    let mut request = args.how.request(content);
    request.r#if = Some(Expectation::content(expected));
    put(&args.key, &request, global).await
}

async fn put(key: &str, request: &PutRequest, global: &Global) -> Result<(), Failure> {
    let written = global.client()?.put_value(key, request).await.map_err(refused)?;
    let console = global.console();
    if console.is_json() {
        return console.json(&written);
    }
    console.line(told(&written));
    Ok(())
}

/// A condition that does not hold is told with what the key holds instead, if that may be shown.
fn refused(error: ClientError) -> Failure {
    let current = error.failed_condition().and_then(|failed| failed.current);
    let content = current.and_then(|current| current.content());
    match (error, content) {
        (ClientError::Problem(mut problem), Some(content)) => {
            let shown = match content {
                Content::Json(json) => json.get().to_owned(),
                Content::Bytes(bytes) => format!("{} bytes", bytes.len()),
            };
            problem.detail = format!("{}, and holds {}", problem.detail, shorter(shown));
            Failure::Refused(problem)
        }
        (error, _) => error.into(),
    }
}

/// Enough of a content to tell what it is.
fn shorter(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MOST_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn told(written: &PutResponse) -> String {
    let PutResponse {
        key,
        revision,
        version,
        expires_at,
        ..
    } = written;
    let expires = expires_at.map_or(String::new(), |at| format!(", expires at {at}"));
    format!("{key} is version {version} at revision {revision}{expires}")
}

/// Deletes a value.
///
/// # Errors
/// [`Failure::Refused`] when a condition does not hold, or the server refuses it otherwise.
pub(crate) async fn delete(args: DeleteArgs, global: &Global) -> Result<(), Failure> {
    let key = Key::parse(&args.key).map_err(|error| {
        Failure::usage(
            format!("{:?} is no key: {error}", args.key),
            "a key is a path such as cells/north/database-url",
        )
    })?;
    let is = match (&args.r#if, args.if_revision) {
        (Some(given), _) => Some(Expectation::content(args.kind.read(given)?)),
        (None, revision) => revision.map(Expectation::revision),
    };
    let conditions = is.map(|is| Condition { key: key.clone(), is });
    let request = TransactionRequest {
        r#if: conditions.into_iter().collect(),
        then: vec![OperationRequest::Delete {
            key,
            fence: args.fence,
            lock: args.lock,
        }],
        party: None,
    };
    let answer = global.client()?.transact(&request).await.map_err(refused)?;
    let Some(OperationResult::Delete(deleted)) = answer.results.first() else {
        return Err(Failure::work("the server answered a deletion with something else"));
    };
    show_deleted(deleted, global.console())
}

fn show_deleted(deleted: &DeleteResponse, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(deleted);
    }
    match deleted.revision {
        Some(revision) => console.line(format!("{} is deleted at revision {revision}", deleted.key)),
        None => console.line(format!("{} has no value", deleted.key)),
    }
    Ok(())
}
