//! What a policy must not say about whom it asks, measures by, and tells.

use std::collections::BTreeSet;

use super::Judge;
use crate::path::Path;
use crate::rollout::gates::{Analysis, Check, Endpoint, Source};
use crate::rollout::placeholders::{QUERY_PLACEHOLDERS, unknown_placeholder};
use crate::rollout::policy::{Policy, Unmatched};

/// Points that a range query may have.
const MOST_POINTS: u64 = 11_000;

impl Judge {
    pub(super) fn calls(&mut self, policy: &Policy) {
        let mut names = BTreeSet::new();
        for (index, hook) in policy.hooks.iter().enumerate() {
            let field = format!("hooks[{index}]");
            self.unique(&format!("{field}.name"), &mut names, &hook.name);
            if hook.on.is_empty() {
                let fix = "write start, wave, promotion, rollback, or several of these";
                self.fault("missing", &format!("{field}.on"), "it is never asked", fix);
            }
            self.endpoint(&format!("{field}.endpoint"), &hook.endpoint);
            self.not_classic(&format!("{field}.endpoint"), &hook.endpoint);
        }
        let controllers = [
            ("selection", &policy.controllers.selection),
            ("approval", &policy.controllers.approval),
            ("removal", &policy.controllers.removal),
            ("monitoring", &policy.controllers.monitoring),
            ("externalMonitoring", &policy.controllers.external_monitoring),
        ];
        for (name, endpoint) in controllers {
            if let Some(endpoint) = endpoint {
                self.endpoint(&format!("controllers.{name}"), endpoint);
            }
        }
        if let Some(seconds) = policy.controllers.external_monitoring_interval_seconds {
            self.not_zero(
                "controllers.externalMonitoringIntervalSeconds",
                seconds,
                "write at least 1",
            );
        }
        let mut names = BTreeSet::new();
        for (index, subscriber) in policy.notify.iter().enumerate() {
            let field = format!("notify[{index}]");
            self.unique(&format!("{field}.name"), &mut names, &subscriber.name);
            self.endpoint(&format!("{field}.endpoint"), &subscriber.endpoint);
            self.not_classic(&format!("{field}.endpoint"), &subscriber.endpoint);
            if let Some(seconds) = subscriber.park_after_seconds {
                self.seconds(&format!("{field}.parkAfterSeconds"), seconds);
            }
        }
    }

    /// Older controllers know no hooks, no analyses and no subscribers.
    fn not_classic(&mut self, field: &str, endpoint: &Endpoint) {
        if endpoint.classic {
            self.fault(
                "invalid-endpoint",
                &format!("{field}.classic"),
                "only controllers speak as older ones do",
                "leave it out",
            );
        }
    }

    fn unique<'a>(&mut self, field: &str, names: &mut BTreeSet<&'a str>, name: &'a str) {
        if !names.insert(name) {
            let reason = format!("\"{name}\" is there twice");
            self.fault("duplicate", field, reason, "give each its own name");
        }
    }

    fn endpoint(&mut self, field: &str, endpoint: &Endpoint) {
        let given = [
            endpoint.url.is_some(),
            endpoint.activity.is_some(),
            endpoint.local.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let reason = "it says nowhere to ask, or several places";
            self.fault(
                "invalid-endpoint",
                field,
                reason,
                "give exactly one of url, activity and local",
            );
        }
        if let Some(url) = &endpoint.url {
            self.url(&format!("{field}.url"), url);
        } else if endpoint.secret.is_some() || endpoint.token.is_some() || endpoint.classic {
            self.fault(
                "invalid-endpoint",
                field,
                "secret, token and classic are about requests to a url",
                "leave them out, or give a url",
            );
        }
        if endpoint.timeout_seconds == 0 || endpoint.timeout_seconds > 24 * 3_600 {
            let reason = format!("{} seconds are not between 1 and a day", endpoint.timeout_seconds);
            self.fault(
                "invalid",
                &format!("{field}.timeoutSeconds"),
                reason,
                "write how long an answer may take",
            );
        }
    }

    fn url(&mut self, field: &str, url: &str) {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let is_http =
            rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace));
        if !is_http {
            // What stands before an @ may be a password.
            let reason = match url.contains('@') {
                true => "it is no http or https URL".to_owned(),
                false => format!("\"{url}\" is no http or https URL"),
            };
            self.fault("invalid-endpoint", field, reason, "write it like https://host/path");
        } else if rest.is_some_and(|rest| rest.split(['/', '?', '#']).next().is_some_and(|it| it.contains('@'))) {
            self.fault(
                "invalid-endpoint",
                field,
                "there are a user or a password in it, and policies are shown to everybody",
                "keep it as a secret of the server, and name that as `token` or `secret`",
            );
        }
    }

    pub(super) fn analysis(&mut self, field: &str, analysis: &Analysis, policy: &Policy) {
        let repeated = policy.analysis.iter().filter(|it| it.name == analysis.name).count() > 1;
        if repeated {
            let reason = format!("\"{}\" is there twice", analysis.name);
            self.fault("duplicate", &format!("{field}.name"), reason, "give each its own name");
        }
        self.endpoint(&format!("{field}.endpoint"), &analysis.endpoint);
        self.not_classic(&format!("{field}.endpoint"), &analysis.endpoint);
        self.source(field, analysis);
        self.not_zero(
            &format!("{field}.intervalSeconds"),
            analysis.interval_seconds,
            "write at least 1",
        );
        self.not_zero(
            &format!("{field}.measurements"),
            analysis.measurements.into(),
            "write at least 1",
        );
        self.queries(field, analysis);
        for wave in &analysis.waves {
            let known = policy.waves.iter().any(|it| it.name == *wave)
                || (wave == "rest" && policy.unmatched == Unmatched::LastWave)
                || (wave == "canary" && policy.canary.is_some());
            if !known {
                let reason = format!("there is no wave \"{wave}\"");
                self.fault(
                    "unknown-wave",
                    &format!("{field}.waves"),
                    reason,
                    "name a wave of the plan",
                );
            }
        }
        self.check(&format!("{field}.check"), &analysis.check);
    }

    fn queries(&mut self, field: &str, analysis: &Analysis) {
        let (compares, counts) = match analysis.check {
            Check::Threshold { .. } => (false, false),
            Check::Compare { .. } => (true, false),
            Check::Errors { .. } => (true, true),
        };
        let asked = analysis.source != Source::Call;
        let queries = [
            ("query", Some(&analysis.query), true),
            ("baselineQuery", analysis.baseline_query.as_ref(), asked && compares),
            ("totalQuery", analysis.total_query.as_ref(), asked && counts),
            (
                "baselineTotalQuery",
                analysis.baseline_total_query.as_ref(),
                asked && counts,
            ),
        ];
        for (name, query, needed) in queries {
            let field = format!("{field}.{name}");
            match query {
                None if needed => self.fault("missing", &field, "this check needs it", "write what is measured"),
                Some(query) if query.trim().is_empty() => {
                    self.fault("missing", &field, "the query is empty", "write what is measured");
                }
                Some(_) if asked && !needed => {
                    self.fault("unused", &field, "this check does not ask it", "leave it out");
                }
                Some(query) => self.query(&field, query, &analysis.source),
                None => {}
            }
        }
    }

    fn query(&mut self, field: &str, query: &str, source: &Source) {
        self.placeholders(field, query);
        if let (Source::Http { .. }, true) = (source, query != ".")
            && let Err(error) = Path::parse(query)
        {
            let fix = "write a place in the answer, such as data.errors, or `.` for the whole of it";
            self.fault("invalid", field, error.to_string(), fix);
        }
    }

    fn placeholders(&mut self, field: &str, text: &str) {
        if let Some(unknown) = unknown_placeholder(text) {
            let reason = format!("there is nothing to fill in for {{{{{unknown}}}}}");
            self.fault(
                "unknown-placeholder",
                field,
                reason,
                format!("write one of {}", QUERY_PLACEHOLDERS.join(", ")),
            );
        }
    }

    fn source(&mut self, field: &str, analysis: &Analysis) {
        let source = format!("{field}.source");
        match &analysis.source {
            Source::Call => return,
            Source::Prometheus {
                range_seconds,
                step_seconds,
            } => {
                let points = range_seconds
                    .zip(*step_seconds)
                    .map(|(range, step)| range / step.max(1));
                if range_seconds.is_none() && step_seconds.is_some() {
                    let reason = "there are no steps without a range";
                    self.fault(
                        "unused",
                        &format!("{source}.stepSeconds"),
                        reason,
                        "give a rangeSeconds",
                    );
                } else if *range_seconds == Some(0) || *step_seconds == Some(0) || points == Some(0) {
                    let reason = "the range has no two points";
                    self.fault("zero", &source, reason, "make the range longer than its step");
                } else if points.is_some_and(|points| points > MOST_POINTS) {
                    let reason = format!("a range of more than {MOST_POINTS} points is asked for");
                    self.fault("too-many", &source, reason, "make the step longer");
                }
            }
            Source::Http { baseline_url } => {
                if let Some(url) = baseline_url {
                    self.url(&format!("{source}.baselineUrl"), url);
                    self.placeholders_of_url(&format!("{source}.baselineUrl"), url);
                }
                if let Some(url) = &analysis.endpoint.url {
                    self.placeholders_of_url(&format!("{field}.endpoint.url"), url);
                }
            }
        }
        if analysis.endpoint.url.is_none() {
            let reason = "it is measured over HTTP";
            self.fault("invalid-endpoint", &format!("{field}.endpoint"), reason, "give its url");
        }
    }

    fn placeholders_of_url(&mut self, field: &str, url: &str) {
        self.placeholders(field, url);
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        if host
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|host| host.contains("{{"))
        {
            self.fault(
                "invalid-endpoint",
                field,
                "a placeholder stands in the host, where a version could choose whom the server talks to",
                "write the host as it is",
            );
        }
    }

    fn check(&mut self, field: &str, check: &Check) {
        match check {
            Check::Threshold { min: None, max: None } => {
                self.fault("missing", field, "it has no bound", "give min, max, or both");
            }
            Check::Threshold {
                min: Some(min),
                max: Some(max),
            } if min > max => {
                let reason = format!("nothing is at least {min} and at most {max}");
                self.fault("unreachable", field, reason, "make min the smaller one");
            }
            Check::Threshold { .. } => {}
            Check::Compare { alpha, min_samples, .. } | Check::Errors { alpha, min_samples } => {
                if !(*alpha > 0.0 && *alpha < 1.0) {
                    let reason = format!("{alpha} is no probability between 0 and 1");
                    self.fault(
                        "invalid",
                        &format!("{field}.alpha"),
                        reason,
                        "write 0.05, or another between 0 and 1",
                    );
                }
                self.not_zero(
                    &format!("{field}.minSamples"),
                    (*min_samples).into(),
                    "write at least 1",
                );
            }
        }
    }
}
