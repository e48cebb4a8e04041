//! Measurements: what a Prometheus server, or a JSON document, says about the targets with the version and without it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use unisono_engine::rollout::OpenCall;
use unisono_model::path::Path;
use unisono_model::rollout::{Analysis, CallSubject, Check, Counted, Measured, Source, fill};

use super::At;
use super::caller::Asked;
use crate::api::{Api, now};

/// What may stand in a URL as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a placeholder of a query stands for.
pub(super) fn placeholder((namespace, entity): &At, subject: &CallSubject, name: &str) -> String {
    match name {
        "version" => subject.version.to_string(),
        "baseline" => subject.baseline.as_ref().map(ToString::to_string).unwrap_or_default(),
        "namespace" => namespace.to_string(),
        "entity" => entity.to_string(),
        "rollout" => subject.rollout.to_string(),
        "wave" => subject.wave.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

/// One question and who is asked.
struct Probe<'a> {
    api: &'a Api,
    at: &'a At,
    call: &'a OpenCall,
    analysis: &'a Analysis,
}

/// Measures what the check of an analysis needs.
///
/// # Errors
/// Why nothing was measured, for people.
pub(super) async fn measure(api: &Api, at: &At, call: &OpenCall, analysis: &Analysis) -> Result<Measured, String> {
    let probe = Probe {
        api,
        at,
        call,
        analysis,
    };
    let baseline = analysis.baseline_query.as_deref();
    Ok(match analysis.check {
        Check::Threshold { min, max } => Measured::Value {
            value: worst(
                &probe.ask("query", Some(&analysis.query), false).await?,
                (min, max),
                analysis,
            )?,
        },
        Check::Compare { .. } => Measured::Samples {
            canary: probe.ask("query", Some(&analysis.query), false).await?,
            baseline: probe.ask("baselineQuery", baseline, true).await?,
        },
        Check::Errors { .. } => Measured::Counts {
            canary_counts: Counted {
                errors: probe.count("query", Some(&analysis.query), false).await?,
                total: probe
                    .count("totalQuery", analysis.total_query.as_deref(), false)
                    .await?,
            },
            baseline_counts: Counted {
                errors: probe.count("baselineQuery", baseline, true).await?,
                total: probe
                    .count("baselineTotalQuery", analysis.baseline_total_query.as_deref(), true)
                    .await?,
            },
        },
    })
}

/// The number that speaks loudest against the version, of one series or place; not a number when nothing was measured.
fn worst(samples: &[f64], (min, max): (Option<f64>, Option<f64>), analysis: &Analysis) -> Result<f64, String> {
    let ranges = matches!(
        analysis.source,
        Source::Prometheus {
            range_seconds: Some(_),
            ..
        }
    );
    if samples.len() > 1 && !ranges {
        return Err(format!(
            "the query gives {} numbers, and a threshold is about one: put them together, such as with sum() or max()",
            samples.len()
        ));
    }
    let excess = |value: f64| {
        let over = max.map_or(f64::NEG_INFINITY, |max| value - max);
        over.max(min.map_or(f64::NEG_INFINITY, |min| min - value))
    };
    let finite = samples.iter().copied().filter(|value| !value.is_nan());
    Ok(finite
        .max_by(|a, b| excess(*a).total_cmp(&excess(*b)))
        .unwrap_or(f64::NAN))
}

impl Probe<'_> {
    /// The numbers that a query gives.
    async fn ask(&self, field: &str, query: Option<&str>, baseline: bool) -> Result<Vec<f64>, String> {
        let query = query.ok_or_else(|| format!("{field} is missing"))?;
        let numbers = match &self.analysis.source {
            Source::Prometheus {
                range_seconds,
                step_seconds,
            } => {
                let range = range_seconds.map(|range| (range, step_seconds.unwrap_or((range / 60).max(1))));
                self.prometheus(query, range).await
            }
            Source::Http { baseline_url } => {
                let other = baseline_url.as_deref().filter(|_| baseline);
                self.document(query, other).await
            }
            Source::Call => Err("it is asked otherwise".to_owned()),
        };
        numbers.map_err(|reason| format!("{field}: {reason}"))
    }

    async fn count(&self, field: &str, query: Option<&str>, baseline: bool) -> Result<u64, String> {
        let numbers = self.ask(field, query, baseline).await?;
        let [number] = numbers[..] else {
            return match numbers.len() {
                // Nothing was counted yet.
                0 => Ok(0),
                many => Err(format!(
                    "{field}: the query gives {many} numbers, and one is counted: put them together"
                )),
            };
        };
        if !number.is_finite() || number < 0.0 {
            return Err(format!("{field}: {number} is no number of requests"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above; what is beyond is as much as there is"
        )]
        let count = number.round() as u64;
        Ok(count)
    }

    async fn prometheus(&self, query: &str, range: Option<(u64, u64)>) -> Result<Vec<f64>, String> {
        let query = fill(query, |name| {
            quoted(&placeholder(self.at, &self.call.view.subject, name))
        });
        let mut url = self.url(None)?;
        let word = if range.is_some() { "query_range" } else { "query" };
        url.path_segments_mut()
            .map_err(|()| "its URL has no path".to_owned())?
            .pop_if_empty()
            .extend(["api", "v1", word]);
        url.query_pairs_mut().append_pair("query", &query);
        if let Some((range, step)) = range {
            let end = now().0 / 1_000;
            let start = end.saturating_sub(i64::try_from(range).unwrap_or(i64::MAX));
            url.query_pairs_mut()
                .append_pair("start", &start.to_string())
                .append_pair("end", &end.to_string())
                .append_pair("step", &step.to_string());
        }
        let (success, body) = self.fetch(url).await?;
        numbers_of_prometheus(&body).map_err(|reason| match success {
            Ok(()) => reason,
            // It says what is wrong with a query in the body of a refusal.
            Err(complaint) => {
                if reason.starts_with(REFUSED) {
                    reason
                } else {
                    complaint
                }
            }
        })
    }

    async fn document(&self, place: &str, other: Option<&str>) -> Result<Vec<f64>, String> {
        let url = self.url(other)?;
        let place = fill(place, |name| placeholder(self.at, &self.call.view.subject, name));
        let (success, body) = self.fetch(url).await?;
        success?;
        let document: Value =
            serde_json::from_str(&body).map_err(|error| format!("the answer is no JSON ({error})"))?;
        numbers_at(&document, &place)
    }

    fn url(&self, other: Option<&str>) -> Result<Url, String> {
        let text = other.or(self.call.view.endpoint.url.as_deref()).unwrap_or_default();
        let filled = fill(text, |name| {
            let value = placeholder(self.at, &self.call.view.subject, name);
            utf8_percent_encode(&value, COMPONENT).to_string()
        });
        Url::parse(&filled).map_err(|error| format!("its URL makes no sense: {error}"))
    }

    /// The body of an answer, and what is wrong with its status.
    async fn fetch(&self, url: Url) -> Result<(Result<(), String>, String), String> {
        let asked = Asked {
            url,
            body: None,
            key: &self.call.view.key(),
        };
        let replied = self.api.caller.send(&self.call.view.endpoint, asked).await?;
        let success = match replied.status.is_success() {
            true => Ok(()),
            false => Err(replied.complaint()),
        };
        Ok((success, replied.body))
    }
}

/// A text within the quotes of a PromQL string, whichever they are: it cannot end it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str(r"\\"),
            '"' => quoted.push_str(r"\x22"),
            '\'' => quoted.push_str(r"\x27"),
            '`' => quoted.push_str(r"\x60"),
            letter => quoted.push(letter),
        }
    }
    quoted
}

const REFUSED: &str = "the query was refused";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queried {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
enum Data {
    Scalar(Point),
    Vector(Vec<Sampled>),
    Matrix(Vec<Series>),
    String(IgnoredAny),
}

/// A time and a number, which is written as a text.
#[derive(Deserialize)]
struct Point(#[expect(dead_code, reason = "of no interest")] f64, String);

#[derive(Deserialize)]
struct Sampled {
    value: Point,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<Point>,
}

fn numbers_of_prometheus(body: &str) -> Result<Vec<f64>, String> {
    let queried: Queried =
        serde_json::from_str(body).map_err(|error| format!("it does not answer as Prometheus does ({error})"))?;
    let points = match queried.data {
        _ if queried.status != "success" => return Err(format!("{REFUSED}: {}", queried.error)),
        Some(Data::Scalar(point)) => vec![point],
        Some(Data::Vector(samples)) => samples.into_iter().map(|it| it.value).collect(),
        Some(Data::Matrix(series)) => series.into_iter().flat_map(|it| it.values).collect(),
        Some(Data::String(_)) => return Err("the query gives a text, not numbers".to_owned()),
        None => return Err("it does not answer as Prometheus does (there is no data)".to_owned()),
    };
    let read = |point: Point| point.1.parse().map_err(|_| format!("{:?} is no number", point.1));
    points.into_iter().map(read).collect()
}

/// The numbers at a place of a document. `*` is each item of a list or an object.
fn numbers_at(document: &Value, place: &str) -> Result<Vec<f64>, String> {
    let mut found = vec![document];
    if place != "." {
        let path = Path::parse(place).map_err(|error| error.to_string())?;
        for segment in path.segments() {
            found = found.into_iter().flat_map(|value| step(value, segment)).collect();
        }
    }
    if found.is_empty() {
        return Err(format!("there is nothing at \"{place}\" in the answer"));
    }
    let mut numbers = Vec::new();
    for value in found {
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for item in items {
            let number = item
                .as_f64()
                .ok_or_else(|| format!("what stands at \"{place}\" is no number"))?;
            numbers.push(number);
        }
    }
    Ok(numbers)
}

fn step<'a>(value: &'a Value, segment: &str) -> Vec<&'a Value> {
    match value {
        Value::Array(items) if segment == "*" => items.iter().collect(),
        Value::Object(fields) if segment == "*" => fields.values().collect(),
        Value::Array(items) => segment
            .parse()
            .ok()
            .and_then(|index: usize| items.get(index))
            .into_iter()
            .collect(),
        Value::Object(fields) => fields.get(segment).into_iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_prometheus_answers_is_read() {
        let read = |result: &str| numbers_of_prometheus(&format!(r#"{{"status": "success", "data": {result}}}"#));
        let vector = r#"{"resultType": "vector", "result": [{"metric": {}, "value": [1700000000.1, "0.25"]}]}"#;
        assert_eq!(read(vector).unwrap(), [0.25]);
        assert_eq!(read(r#"{"resultType": "scalar", "result": [1, "3"]}"#).unwrap(), [3.0]);
        let matrix = r#"{"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"], [2, "+Inf"]]}]}"#;
        assert_eq!(read(matrix).unwrap(), [1.0, f64::INFINITY]);
        assert!(read(r#"{"resultType": "vector", "result": []}"#).unwrap().is_empty());
        assert!(read(r#"{"resultType": "vector", "result": [{"value": [1, "NaN"]}]}"#).unwrap()[0].is_nan());
        let refused = r#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#;
        assert_eq!(
            numbers_of_prometheus(refused).unwrap_err(),
            "the query was refused: parse error"
        );
        assert!(numbers_of_prometheus("<html>").is_err());
    }

    #[test]
    fn a_version_does_not_break_out_of_the_string_that_it_stands_in() {
        assert_eq!(quoted(r#"v2"} or up{a="'`\"#), r"v2\x22} or up{a=\x22\x27\x60\\");
    }

    #[test]
    fn places_of_a_document_are_found() {
        let document = serde_json::json!({"data": {"errors": 3}, "items": [{"ms": 1.5}, {"ms": 2}], "list": [1, 2]});
        let read = |place| numbers_at(&document, place);
        assert_eq!(read("data.errors").unwrap(), [3.0]);
        assert_eq!(read("/items/1/ms").unwrap(), [2.0]);
        assert_eq!(read("items.*.ms").unwrap(), [1.5, 2.0]);
        assert_eq!(read("list").unwrap(), [1.0, 2.0]);
        assert!(read("nothing").unwrap_err().contains("nothing at"));
        assert!(read("data").unwrap_err().contains("no number"));
        assert_eq!(numbers_at(&serde_json::json!(7), ".").unwrap(), [7.0]);
    }
}
