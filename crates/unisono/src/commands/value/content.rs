//! The content of a value, on the command line and on standard output.

use std::io::{Read as _, Write as _};

use clap::Args;
use serde_json::value::RawValue;
use unisono_model::values::{Content, ValueView};

use crate::failure::Failure;
use crate::output::{Console, pretty};

/// How content is given.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ContentKind {
    /// The content is text: it becomes a JSON string
    #[arg(long, conflicts_with = "bytes")]
    text: bool,
    /// The content is bytes, and not JSON
    #[arg(long)]
    bytes: bool,
}

const FIX: &str = "give JSON such as 42, '\"text\"' or '{\"key\": 1}', or @FILE, or @- for standard input; --text takes any text, --bytes any bytes";

impl ContentKind {
    /// Reads content that is given as itself, as `@FILE`, or as `@-` for standard input.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it cannot be read, or is not what it is said to be.
    pub(super) fn read(self, given: &str) -> Result<Content, Failure> {
        let bytes = match given.strip_prefix('@') {
            Some("-") => standard_input()?,
            Some(file) => std::fs::read(file).map_err(|error| {
                Failure::usage(
                    format!("cannot read {file}: {error}"),
                    "give the path of a file after the @",
                )
            })?,
            None => given.as_bytes().to_vec(),
        };
        if self.bytes {
            return Ok(Content::Bytes(bytes));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage("the content is no text", "give it with --bytes to store it as it is"))?;
        let json = if self.text {
            serde_json::value::to_raw_value(&text)
        } else {
            RawValue::from_string(text.trim().to_owned())
        };
        json.map(Content::Json)
            .map_err(|error| Failure::usage(format!("the content is no JSON: {error}"), FIX))
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|error| {
        Failure::usage(
            format!("cannot read standard input: {error}"),
            "pipe the content into this command",
        )
    })?;
    Ok(bytes)
}

/// Prints what a value holds: JSON with line breaks, bytes as they are.
///
/// # Errors
/// [`Failure::Work`] when standard output cannot be written.
pub(super) fn print(view: &ValueView, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(view);
    }
    match view.content() {
        Some(Content::Json(json)) => console.line(pretty(json.get())),
        Some(Content::Bytes(bytes)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)
                .and_then(|()| out.flush())
                .map_err(|error| Failure::work(format!("cannot write to standard output: {error}")))?;
        }
        None => {}
    }
    Ok(())
}

/// What a list shows of the content, on one line.
pub(super) fn shown(view: &ValueView) -> String {
    match (&view.value, &view.base64) {
        _ if view.sensitive => "(sensitive)".to_owned(),
        (Some(json), _) => json.get().to_owned(),
        (None, Some(bytes)) => format!("{} bytes", bytes.0.len()),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const JSON: ContentKind = ContentKind {
        text: false,
        bytes: false,
    };

    fn read(kind: ContentKind, given: &str) -> Vec<u8> {
        kind.read(given).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn content_is_json_unless_it_is_said_to_be_something_else() {
        assert_eq!(read(JSON, " {\"a\": 1} "), b"{\"a\": 1}");
        let text = ContentKind { text: true, ..JSON };
        assert_eq!(read(text, "say \"hi\""), b"\"say \\\"hi\\\"\"");
        let bytes = ContentKind { bytes: true, ..JSON };
        assert_eq!(read(bytes, " x"), b" x");
        assert!(matches!(JSON.read("hello"), Err(Failure::Usage { .. })));
    }
}
