//! Reports of targets and controllers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use unisono_engine::rollout::{Guidance, Told};
use unisono_model::rollout::{Fault, Instruction, Phase, ReadReports, Reading, Report, read_reports};

use super::asked::At;
use super::operations::{Asked, report};
use crate::api::Api;
use crate::api::extract::Raw;
use crate::api::problem::{Answer, ApiError};

/// Bytes of reports that are read at once, without a thread of their own.
const SMALL_BYTES: usize = 256 * 1024;
/// Bytes of an instruction, about.
const INSTRUCTION_BYTES: usize = 128;

/// Report targets: a list of them, or one. The answer is what each of these should do, in the same order.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/reports", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    request_body(description = "A list of targets, or one by itself", content = Vec<Report<'static>>),
    responses((status = 200, body = Vec<Instruction>, description = "A list for a list, and one for one"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "A target makes no sense; nothing was taken")))]
pub(in crate::api) async fn report_targets(State(api): State<Api>, at: At, Raw(body): Raw) -> Answer<Response> {
    let ReadReports { reports, single } = read(body, Reading::Strict).await?.map_err(|fault| problem(&fault))?;
    let answers = report(&api, &at.namespace, &at.entity, reports).await?;
    let body = instructions(&answers, single);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reads reports; many of them on a thread of their own.
pub(super) async fn read(body: bytes::Bytes, reading: Reading) -> Answer<Result<ReadReports, Fault>> {
    if body.len() <= SMALL_BYTES {
        return Ok(read_reports(&body, reading));
    }
    tokio::task::spawn_blocking(move || read_reports(&body, reading))
        .await
        .map_err(|error| ApiError::internal(format!("the reports could not be read: {error}")))
}

/// A target that makes no sense.
pub(crate) fn problem(fault: &Fault) -> ApiError {
    let (status, code) = match &*fault.code {
        "bad-json" => (StatusCode::BAD_REQUEST, "bad-json"),
        "too-many-targets" => (StatusCode::PAYLOAD_TOO_LARGE, "too-many-targets"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-target"),
    };
    ApiError::new(status, code, fault.reason.clone())
        .field(fault.field.clone())
        .help(fault.fix.clone())
}

/// The instructions as JSON. Few of them differ in more than their names.
fn instructions(answers: &[Asked], single: bool) -> Vec<u8> {
    let targets: usize = answers.iter().map(|answer| answer.reports.len()).sum();
    let mut json = Vec::with_capacity(targets * INSTRUCTION_BYTES + 2);
    if !single {
        json.push(b'[');
    }
    let mut first = true;
    for Asked { reports, told } in answers {
        let tails: Vec<Vec<u8>> = told.what.iter().map(tail).collect();
        let gone = tail(&Guidance {
            version: None,
            change: false,
            phase: Phase::Idle,
            message: "it was forgotten".to_owned(),
        });
        for (reported, place) in reports.iter().zip(&told.of) {
            if !std::mem::take(&mut first) {
                json.push(b',');
            }
            json.extend_from_slice(b"{\"group\":");
            text(&mut json, reported.group);
            json.extend_from_slice(b",\"name\":");
            text(&mut json, reported.name);
            let tail = if *place == Told::GONE {
                Some(&gone)
            } else {
                tails.get(*place as usize)
            };
            json.extend_from_slice(tail.unwrap_or(&gone));
        }
    }
    if !single {
        json.push(b']');
    }
    json
}

/// What follows the names of an instruction.
fn tail(told: &Guidance) -> Vec<u8> {
    let mut json = Vec::new();
    if let Some(version) = &told.version {
        json.extend_from_slice(b",\"version\":");
        text(&mut json, version);
    }
    json.extend_from_slice(if told.change {
        b",\"change\":true"
    } else {
        b",\"change\":false"
    });
    json.extend_from_slice(b",\"phase\":");
    text(&mut json, told.phase.as_str());
    json.extend_from_slice(b",\"message\":");
    text(&mut json, &told.message);
    json.push(b'}');
    json
}

fn text(json: &mut Vec<u8>, text: &str) {
    // Writing a text to memory cannot fail.
    let _ = serde_json::to_writer(json, text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use unisono_model::rollout::{GroupName, TargetName, Version};

    use super::*;

    #[test]
    fn instructions_are_written_as_they_are_declared() {
        let json = br#"[{"name": "a/\"b\"\u00fc", "group": "g"}, {"name": "c"}]"#;
        let reports = Arc::new(read_reports(json, Reading::Strict).unwrap().reports);
        let told = Told {
            what: vec![Guidance {
                version: Some(Version::parse("v\"2").unwrap()),
                change: true,
                phase: Phase::InFlight,
                message: "take version v\"2".to_owned(),
            }],
            of: vec![0, Told::GONE],
        };
        let written: Vec<Instruction> =
            serde_json::from_slice(&instructions(&[Asked { reports, told }], false)).unwrap();
        let expected = Instruction {
            group: GroupName::parse("g").unwrap(),
            name: TargetName::parse("a/\"b\"ü").unwrap(),
            version: Some(Version::parse("v\"2").unwrap()),
            change: true,
            phase: Phase::InFlight,
            message: "take version v\"2".to_owned(),
        };
        assert_eq!(written[0], expected);
        assert_eq!((written.len(), &written[1].version), (2, &None));
    }
}
