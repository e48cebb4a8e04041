//! JSON that stands on the command line, in a file, or comes from standard input.

use std::io::Read as _;

use serde_json::value::RawValue;

use crate::failure::Failure;

/// Reads JSON given as itself, as `@FILE`, or as `@-` for standard input. `option` names the option in errors.
///
/// # Errors
/// [`Failure::Usage`] when the file cannot be read or the text is no JSON object.
pub(crate) fn read(option: &str, given: &str) -> Result<Box<RawValue>, Failure> {
    let (place, text) = match given.strip_prefix('@') {
        Some("-") => ("standard input".to_owned(), standard_input(option)?),
        Some(file) => (file.to_owned(), read_file(option, file)?),
        None => (option.to_owned(), given.to_owned()),
    };
    let fix = "give a JSON object such as '{\"key\": 1}', @FILE, or @- for standard input";
    let value: Box<RawValue> = serde_json::from_str(text.trim())
        .map_err(|error| Failure::usage(format!("{place} is no JSON: {error}"), fix))?;
    if value.get().starts_with('{') {
        Ok(value)
    } else {
        Err(Failure::usage(format!("{place} is JSON, but no object"), fix))
    }
}

fn read_file(option: &str, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(
            format!("{option}: cannot read {file}: {error}"),
            "give the path of a file with JSON after the @",
        )
    })
}

fn standard_input(option: &str) -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| {
        Failure::usage(
            format!("{option}: cannot read standard input: {error}"),
            "pipe JSON into this command",
        )
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_is_taken_as_it_is_or_from_a_file() {
        assert_eq!(read("--input", r#" {"a": 1} "#).unwrap().get(), r#"{"a": 1}"#);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"b\": 2}\n").unwrap();
        assert_eq!(
            read("--input", &format!("@{}", file.path().display())).unwrap().get(),
            r#"{"b": 2}"#
        );
    }

    #[test]
    fn what_is_no_object_is_wrong_usage() {
        for bad in ["", "{", "[1]", "7", "@/no/such/file"] {
            assert!(matches!(read("--input", bad), Err(Failure::Usage { .. })), "{bad}");
        }
    }
}
