//! What a command learns of its attempt from environment variables.

use std::collections::{BTreeMap, btree_map::Entry};
use std::ffi::OsString;

use serde_json::value::RawValue;
use tokio::process::Command;

use super::files::Files;
use crate::context::ActivityContext;

/// Bytes of one variable; Linux refuses to start a program with one of more than 128 KiB.
const MAX_VARIABLE_BYTES: usize = 100 * 1024;
/// Bytes of all variables of the agent's own; Linux bounds arguments and environment together.
const MAX_TOTAL_BYTES: usize = 512 * 1024;

/// Sets the variables of the attempt. What does not fit, or has a NUL in it, is left out: stdin has the whole input.
pub(super) fn set(command: &mut Command, context: &ActivityContext, files: &Files) {
    // A variable of an agent that is itself run by an agent would be taken for one of this attempt.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("UNISONO_")) {
            command.env_remove(name);
        }
    }
    command
        .env("UNISONO_CONTEXT_PATCH", files.patch_path())
        .env("UNISONO_RESULT", files.result_path());
    for name in ["TRACEPARENT", "TRACESTATE"] {
        command.env_remove(name);
    }
    if let Some(trace) = context.trace() {
        command.env("TRACEPARENT", trace.parent());
        command.envs(trace.state.as_ref().map(|state| ("TRACESTATE", state)));
    }
    let mut total = 0;
    for (name, value) in variables(context) {
        total += name.len() + value.len() + 2;
        if value.len() <= MAX_VARIABLE_BYTES && total <= MAX_TOTAL_BYTES && !value.contains('\0') {
            command.env(OsString::from(name), value);
        }
    }
}

/// The small ones first, so that these are never the ones left out.
fn variables(context: &ActivityContext) -> Vec<(String, String)> {
    let fixed = [
        ("NAMESPACE", context.namespace().to_string()),
        ("ORCHESTRATION_ID", context.orchestration_id().to_string()),
        ("ORCHESTRATION_TYPE", context.orchestration_type().to_string()),
        ("ACTIVITY_ID", context.activity_id().to_string()),
        ("ACTIVITY_TYPE", context.activity_type().to_string()),
        ("ATTEMPT", context.attempt().to_string()),
        ("TOKEN", context.token().to_string()),
        ("DISCRIMINATOR", context.discriminator().unwrap_or_default().to_owned()),
        (
            "CORRELATION_ID",
            context.correlation_id().unwrap_or_default().to_owned(),
        ),
    ];
    let mut variables: Vec<_> = fixed
        .into_iter()
        .map(|(name, value)| (format!("UNISONO_{name}"), value))
        .collect();
    variables.extend(inputs(context.raw_input()));
    variables.push(("UNISONO_INPUT".to_owned(), context.raw_input().get().to_owned()));
    variables.push(("UNISONO_CONTEXT".to_owned(), context.raw_context().get().to_owned()));
    variables
}

/// One variable for each property of the input: text as it is, everything else as JSON. Two properties that would have
/// the same name (`a-b` and `a.b`) have none.
fn inputs(input: &RawValue) -> impl Iterator<Item = (String, String)> + use<> {
    let properties: BTreeMap<String, Box<RawValue>> = serde_json::from_str(input.get()).unwrap_or_default();
    let mut variables: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (key, value) in properties {
        let text = serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned());
        match variables.entry(variable_name(&key)) {
            Entry::Vacant(entry) => drop(entry.insert(Some(text))),
            Entry::Occupied(mut entry) => drop(entry.insert(None)),
        }
    }
    variables.into_iter().filter_map(|(name, text)| Some((name, text?)))
}

/// `baseUrl` is `UNISONO_INPUT_BASEURL`, `base-url` is `UNISONO_INPUT_BASE_URL`.
fn variable_name(key: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!("UNISONO_INPUT_{}", key.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::context::tests::context;
    use serde_json::json;

    #[test]
    fn each_property_of_the_input_is_a_variable() {
        let input = json!({"name": "a b", "base-url": "x", "list": [1, "y"], "a-b": 1, "a.b": 2});
        let (context, _events) = context(input, json!({"k": 1}));
        let variables: BTreeMap<_, _> = variables(&context).into_iter().collect();
        assert_eq!(variables["UNISONO_INPUT_NAME"], "a b");
        assert_eq!(variables["UNISONO_INPUT_BASE_URL"], "x");
        assert_eq!(variables["UNISONO_INPUT_LIST"], r#"[1,"y"]"#);
        assert_eq!(variables["UNISONO_CONTEXT"], r#"{"k":1}"#);
        assert!(!variables.contains_key("UNISONO_INPUT_A_B"));
    }
}
