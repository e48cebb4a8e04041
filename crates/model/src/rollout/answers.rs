//! Reading what somebody outside has answered.
//!
//! The form of this project is an [`Answer`]. Controllers of older systems say the same in other words, and are understood:
//! `{"targets": […]}` where targets are chosen, `{"status": "ok"}` or another status with a `message` where something is
//! monitored.

use serde::Deserialize;
use serde_json::Value;

use super::calls::{Answer, CallKind, Measured};
use super::text::TargetId;

/// Bytes of an answer that an error shows.
const SHOWN: usize = 200;

#[derive(Deserialize)]
struct Chosen {
    targets: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    group: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    status: String,
    #[serde(default)]
    message: String,
}

impl CallKind {
    /// What an answer to it looks like, for people.
    #[must_use]
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Hook | Self::ExternalMonitoring => r#"{"answer": "go"} or {"answer": "refuse", "message": "why"}"#,
            Self::Selection | Self::Approval | Self::Removal => {
                r#"{"answer": "targets", "targets": [{"name": "a"}]} or {"answer": "refuse", "message": "why"}"#
            }
            Self::Monitoring => {
                r#"{"answer": "go"}, {"answer": "targets", "targets": [those that are well]} or {"answer": "refuse"}"#
            }
            Self::Analysis => {
                r#"{"value": 0.2}, {"canary": [1, 2], "baseline": [1, 1]} or {"canaryCounts": {"errors": 0, "total": 9}, "baselineCounts": {"errors": 1, "total": 90}}"#
            }
        }
    }

    fn monitors(self) -> bool {
        matches!(self, Self::Monitoring | Self::ExternalMonitoring)
    }

    fn chooses(self) -> bool {
        matches!(
            self,
            Self::Selection | Self::Approval | Self::Removal | Self::Monitoring
        )
    }

    fn takes(self, answer: &Answer) -> bool {
        match answer {
            Answer::Unreachable { .. } => true,
            Answer::Go => self == Self::Hook || self.monitors(),
            Answer::Refuse { .. } => self != Self::Analysis,
            Answer::Targets { .. } => self.chooses(),
            Answer::Measured { .. } => self == Self::Analysis,
        }
    }
}

/// Reads an answer to a call of this kind. `classic` allows what older controllers leave out: without a field `targets`
/// they have chosen none.
///
/// # Errors
/// What is wrong with it and what was wanted, for people.
pub fn read_answer(kind: CallKind, classic: bool, body: &str) -> Result<Answer, String> {
    let unreadable = |reason: &str| {
        Err(format!(
            "the answer cannot be read: {reason}; it was {}, and this call takes {}",
            shown(body),
            kind.wanted()
        ))
    };
    let value: Value = match serde_json::from_str(body) {
        Ok(value) => value,
        Err(error) => return unreadable(&format!("it is no JSON ({error})")),
    };
    let read = if value.get("answer").is_some() {
        strictly(&value)
    } else if value.get("targets").is_some() && kind.chooses() {
        Chosen::deserialize(&value)
            .map_err(|error| error.to_string())
            .and_then(chosen)
    } else if value.get("status").is_some() && kind.monitors() {
        Status::deserialize(&value).map(said).map_err(|error| error.to_string())
    } else if kind == CallKind::Analysis {
        let read = Measured::deserialize(&value).map_err(|_| "it holds no measurement".to_owned());
        read.map(|measured| Answer::Measured { measured })
    } else if classic && kind.chooses() && value.is_object() {
        Ok(Answer::Targets { targets: Vec::new() })
    } else {
        Err("it is none of the forms that are known".to_owned())
    };
    match read {
        Ok(answer) if kind.takes(&answer) => Ok(answer),
        Ok(_) => unreadable("it answers another question"),
        Err(reason) => unreadable(&reason),
    }
}

/// An answer in which nothing is overlooked: a yes with a condition is none.
fn strictly(value: &Value) -> Result<Answer, String> {
    let answer = Answer::deserialize(value).map_err(|error| error.to_string())?;
    let mut fields = value.as_object().into_iter().flat_map(serde_json::Map::keys);
    match fields.find(|field| answer == Answer::Go && !["answer", "message"].contains(&field.as_str())) {
        Some(field) => Err(format!("unknown field `{field}`")),
        None => Ok(answer),
    }
}

fn chosen(chosen: Chosen) -> Result<Answer, String> {
    let targets = chosen.targets.iter().map(|it| TargetId::parse(&it.group, &it.name));
    let targets: Result<_, _> = targets.collect();
    Ok(Answer::Targets {
        targets: targets.map_err(|error| error.to_string())?,
    })
}

fn said(status: Status) -> Answer {
    if status.status.eq_ignore_ascii_case("ok") {
        return Answer::Go;
    }
    let message = format!("{} {}", status.status, status.message);
    Answer::Refuse {
        message: message.trim().to_owned(),
    }
}

/// The beginning of an answer, for people.
fn shown(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() {
        return "empty".to_owned();
    }
    let end = body.char_indices().map(|(at, _)| at).nth(SHOWN).unwrap_or(body.len());
    let more = if end < body.len() { " …" } else { "" };
    format!("{:?}{more}", &body[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KINDS: [CallKind; 7] = [
        CallKind::Hook,
        CallKind::Selection,
        CallKind::Approval,
        CallKind::Removal,
        CallKind::Monitoring,
        CallKind::ExternalMonitoring,
        CallKind::Analysis,
    ];

    fn targets(names: &[&str]) -> Answer {
        Answer::Targets {
            targets: names.iter().map(|name| TargetId::parse("", name).unwrap()).collect(),
        }
    }

    #[test]
    fn every_kind_takes_the_answers_that_fit_and_no_others() {
        let go = r#"{"answer": "go"}"#;
        let refuse = r#"{"answer": "refuse", "message": "no"}"#;
        let some = r#"{"answer": "targets", "targets": [{"name": "a"}]}"#;
        let value = r#"{"answer": "measured", "measured": {"value": 1.5}}"#;
        let taken = |kind| [go, refuse, some, value].map(|body| read_answer(kind, false, body).is_ok());
        let expected = [
            [true, true, false, false],
            [false, true, true, false],
            [false, true, true, false],
            [false, true, true, false],
            [true, true, true, false],
            [true, true, false, false],
            [false, false, false, true],
        ];
        assert_eq!(KINDS.map(taken), expected);
    }

    #[test]
    fn older_controllers_are_understood() {
        let read = |kind, body| read_answer(kind, true, body).unwrap();
        let body = r#"{"targets": [{"name": "a", "version": "v1", "isError": true}]}"#;
        assert_eq!(read(CallKind::Selection, body), targets(&["a"]));
        assert_eq!(read(CallKind::Removal, "{}"), targets(&[]));
        assert_eq!(
            read(CallKind::Monitoring, r#"{"status": "OK", "message": "fine"}"#),
            Answer::Go
        );
        let message = "error disk full".to_owned();
        assert_eq!(
            read(
                CallKind::ExternalMonitoring,
                r#"{"status": "error", "message": "disk full"}"#
            ),
            Answer::Refuse { message }
        );
        assert!(read_answer(CallKind::Selection, false, "{}").is_err());
    }

    #[test]
    fn measurements_need_no_envelope() {
        let read = |body| read_answer(CallKind::Analysis, false, body);
        for body in [
            r#"{"value": 0.25}"#,
            r#"{"canary": [1, 2.5], "baseline": []}"#,
            r#"{"canaryCounts": {"errors": 0, "total": 9}, "baselineCounts": {"errors": 1, "total": 90}}"#,
        ] {
            assert!(matches!(read(body), Ok(Answer::Measured { .. })), "{body}");
        }
        assert!(read(r#"{"value": "high"}"#).is_err());
    }

    #[test]
    fn nothing_that_cannot_be_read_is_a_yes() {
        let garbage = [
            "",
            "ok",
            "<html>Sign in</html>",
            "{}",
            "true",
            "null",
            r#"{"answer": "Go"}"#,
            r#"{"answer": "go", "unless": "it rains"}"#,
            r#"{"answer": "measured", "measured": {"value": 1}}"#,
            r#"{"status": "ok"}"#,
            r#"{"answer": "go"} trailing"#,
        ];
        for body in garbage {
            let error = read_answer(CallKind::Hook, false, body).unwrap_err();
            assert!(error.contains(r#"{"answer": "go"}"#), "{body}: {error}");
        }
        let long = format!("{{{}", "ü".repeat(1_000));
        assert!(read_answer(CallKind::Hook, false, &long).unwrap_err().len() < 1_000);
    }
}
