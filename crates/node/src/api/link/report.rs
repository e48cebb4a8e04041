//! What an agent's result means to the engine; what cannot stand becomes an error that says why.

use unisono_engine::orchestration::Report;
use unisono_engine::payload::{Failure, Payload};
use unisono_model::limits::{MAX_OUTPUT_BYTES, MAX_REASON_BYTES};
use unisono_model::protocol::{ActivityError, Outcome};
use unisono_model::schema::Violation;

use super::Held;

/// Bytes of an error's code.
const MAX_CODE_BYTES: usize = 256;

pub(super) fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

fn failure(error: ActivityError) -> Failure {
    let mut failure = Failure::from(error);
    truncate(&mut failure.message, MAX_REASON_BYTES);
    if let Some(code) = &mut failure.code {
        truncate(code, MAX_CODE_BYTES);
    }
    failure
}

pub(super) fn described(what: &str, violations: &[Violation]) -> String {
    let list: Vec<String> = violations
        .iter()
        .take(10)
        .map(|violation| match violation.path.as_str() {
            "" => violation.message.clone(),
            path => format!("{path}: {}", violation.message),
        })
        .collect();
    format!("{what}: {}", list.join("; "))
}

/// What the engine is told; an output that cannot stand is a fatal error that says why.
pub(super) fn report(outcome: Outcome, held: Option<&Held>) -> Report {
    let output = match outcome {
        Outcome::Complete { output } => output,
        Outcome::Wait { timeout_ms } => return Report::Wait(timeout_ms),
        Outcome::Schedule { after_ms } => return Report::Schedule(after_ms),
        Outcome::Retry { error } => return Report::Retry(failure(error)),
        Outcome::Fatal { error } => return Report::Fatal(failure(error)),
    };
    let Some(output) = output else {
        return checked(Payload::empty_object(), held);
    };
    if !output.get().starts_with('{') {
        return Report::Fatal(Failure::new("output-invalid", "the output is not a JSON object"));
    }
    if output.get().len() > MAX_OUTPUT_BYTES {
        return Report::Fatal(Failure::new(
            "output-too-large",
            format!(
                "the output is {} bytes long; the limit is {MAX_OUTPUT_BYTES}; keep large data elsewhere and return a reference to it",
                output.get().len()
            ),
        ));
    }
    checked(Payload::from(output), held)
}

fn checked(output: Payload, held: Option<&Held>) -> Report {
    let fits = held.map_or(Ok(()), |held| {
        held.plan.validate_activity_output(held.activity, output.raw())
    });
    match fits {
        Ok(()) => Report::Complete(output),
        Err(violations) => Report::Fatal(Failure::new(
            "output-invalid",
            described("the output does not fit the activity's output schema", &violations),
        )),
    }
}
