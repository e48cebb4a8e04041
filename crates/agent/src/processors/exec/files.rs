//! The private directory of an attempt, with the two files that the command may write.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use unisono_model::limits::MAX_OUTPUT_BYTES;
use unisono_model::protocol::{ContextPatch, Outcome};

use crate::processor::ActivityFailure;

/// Only the user of the agent can enter it; removed with the attempt.
pub(super) struct Files {
    directory: TempDir,
}

impl Files {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            directory: tempfile::Builder::new()
                .prefix("unisono-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()?,
        })
    }

    /// Where the command may write context changes.
    pub(super) fn patch_path(&self) -> PathBuf {
        self.directory.path().join("context-patch.json")
    }

    /// Where the command may write a result other than "done".
    pub(super) fn result_path(&self) -> PathBuf {
        self.directory.path().join("result.json")
    }

    pub(super) async fn patch(&self) -> Result<Option<ContextPatch>, ActivityFailure> {
        let expected = r#"{"set": {"key": "value"}, "delete": ["other"]}"#;
        read(self.patch_path(), "UNISONO_CONTEXT_PATCH", expected).await
    }

    pub(super) async fn result(&self) -> Result<Option<Outcome>, ActivityFailure> {
        read(
            self.result_path(),
            "UNISONO_RESULT",
            r#"{"wait": {"timeoutMs": 60000}} or {"schedule": {"afterMs": 5000}}"#,
        )
        .await
    }
}

/// `None` when the command wrote nothing there.
async fn read<T: DeserializeOwned>(
    path: PathBuf,
    variable: &str,
    expected: &str,
) -> Result<Option<T>, ActivityFailure> {
    let wrong = |reason: String| {
        let message =
            format!("the file that the command wrote at ${variable} is of no use: {reason}; expected {expected}");
        ActivityFailure::fatal("bad-output", message)
    };
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let mut text = Vec::new();
    let limit = MAX_OUTPUT_BYTES as u64;
    file.take(limit + 1)
        .read_to_end(&mut text)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() > MAX_OUTPUT_BYTES {
        return Err(wrong(format!("it is longer than {MAX_OUTPUT_BYTES} bytes")));
    }
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}
