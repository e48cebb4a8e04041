//! What a policy must not say.

mod outside;

use std::collections::BTreeSet;

use super::amount::{Amount, Batch, Tolerance};
use super::cron::{Cron, zone};
use super::fault::Fault;
use super::gates::{Approval, Gate, Window};
use super::policy::{Budget, OnUnhealthy, Policy, Unmatched, Wave};
use crate::limits::MAX_WAVES;

/// The longest span that a policy may name: ten years, in seconds.
pub(super) const LONGEST_SECONDS: u64 = 10 * 366 * 24 * 3_600;
/// The longest maintenance window: a week, in seconds.
const LONGEST_WINDOW_SECONDS: u64 = 7 * 24 * 3_600;

/// Reads a policy from JSON and judges it.
///
/// # Errors
/// Every fault; only the first when it cannot be read at all.
pub fn read_policy(json: &str) -> Result<Policy, Vec<Fault>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let policy: Policy = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        vec![Fault::new(
            "invalid-policy",
            field,
            error.inner().to_string(),
            "see docs/guides/rollouts.md for what a policy may say",
        )]
    })?;
    match contradictions(&policy) {
        faults if faults.is_empty() => Ok(policy),
        faults => Err(faults),
    }
}

/// Everything in a policy that makes no sense, whatever the fleet.
#[must_use]
pub fn contradictions(policy: &Policy) -> Vec<Fault> {
    let mut judge = Judge(Vec::new());
    judge.batch("batch", &policy.batch);
    judge.tolerance("failureTolerance", policy.failure_tolerance);
    judge.positive("maxUnavailable", policy.max_unavailable);
    judge.budgets(&policy.budgets);
    if let Some(canary) = &policy.canary {
        judge.positive("canary.size", Some(canary.size));
        judge.selector("canary.select", &canary.select);
        judge.seconds("canary.bakeSeconds", canary.bake_seconds);
    }
    judge.waves(policy);
    judge.health(policy);
    if let Some(seconds) = policy.progress_deadline_seconds {
        judge.seconds("progressDeadlineSeconds", seconds);
        judge.not_zero("progressDeadlineSeconds", seconds, "leave it `null` for no deadline");
    }
    if let Some(approval) = &policy.approval {
        judge.approval(approval);
    }
    for (index, window) in policy.windows.iter().enumerate() {
        judge.window(&format!("windows[{index}]"), window);
    }
    judge.calls(policy);
    for (index, analysis) in policy.analysis.iter().enumerate() {
        judge.analysis(&format!("analysis[{index}]"), analysis, policy);
    }
    judge.0
}

struct Judge(Vec<Fault>);

impl Judge {
    fn fault(&mut self, code: &'static str, field: &str, reason: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Fault::new(code, field, reason, fix));
    }

    fn not_zero(&mut self, field: &str, value: u64, fix: &str) {
        if value == 0 {
            self.fault("zero", field, "0 makes no sense here", fix);
        }
    }

    fn seconds(&mut self, field: &str, seconds: u64) {
        if seconds > LONGEST_SECONDS {
            let reason = format!("{seconds} seconds are more than ten years");
            self.fault("too-long", field, reason, "write a shorter time");
        }
    }

    fn positive(&mut self, field: &str, amount: Option<Amount>) {
        if amount.is_some_and(Amount::is_zero) {
            self.fault(
                "zero",
                field,
                "with 0 nothing could ever move",
                "write at least 1, or a share above 0%",
            );
        }
    }

    fn batch(&mut self, field: &str, batch: &Batch) {
        match batch {
            // A share of 0 % is one target at a time: older controllers say so.
            Batch::Window(Amount::Count(0)) => self.positive(field, Some(Amount::Count(0))),
            Batch::Window(_) => {}
            Batch::Steps(steps) if steps.is_empty() => {
                self.fault(
                    "zero",
                    field,
                    "the list is empty",
                    "name at least one batch, such as [1, 5, \"10%\"]",
                );
            }
            Batch::Steps(steps) => {
                for (index, step) in steps.iter().enumerate() {
                    self.positive(&format!("{field}[{index}]"), Some(*step));
                }
            }
            Batch::Growing(growth) => {
                self.positive(&format!("{field}.start"), Some(growth.start));
                self.positive(&format!("{field}.max"), growth.max);
                if growth.factor < 2 {
                    let reason = format!("with the factor {} batches do not grow", growth.factor);
                    self.fault(
                        "no-growth",
                        &format!("{field}.factor"),
                        reason,
                        "write 2 or more, or a plain batch",
                    );
                }
            }
        }
    }

    fn tolerance(&mut self, field: &str, tolerance: Tolerance) {
        if tolerance.of(1_000_000) >= 1_000_000 {
            self.fault(
                "tolerates-everything",
                field,
                format!("with {tolerance} every target may fail, and nothing would ever be proven"),
                "tolerate fewer failures than there are targets",
            );
        }
    }

    fn budgets(&mut self, budgets: &[Budget]) {
        let mut labels = BTreeSet::new();
        for (index, budget) in budgets.iter().enumerate() {
            let field = format!("budgets[{index}]");
            if budget.label.is_empty() {
                self.fault(
                    "missing",
                    &format!("{field}.label"),
                    "the label is empty",
                    "name a label, such as zone",
                );
            }
            if !labels.insert(&budget.label) {
                let reason = format!("there are two budgets for the label \"{}\"", budget.label);
                self.fault(
                    "duplicate",
                    &format!("{field}.label"),
                    reason,
                    "put both limits into one budget",
                );
            }
            if budget.max_in_flight.is_none() && budget.max_unavailable.is_none() {
                self.fault(
                    "missing",
                    &field,
                    "it limits nothing",
                    "give maxInFlight, maxUnavailable, or both",
                );
            }
            self.positive(&format!("{field}.maxInFlight"), budget.max_in_flight);
            self.positive(&format!("{field}.maxUnavailable"), budget.max_unavailable);
        }
    }

    fn selector(&mut self, field: &str, selector: &super::selector::Selector) {
        if let Some(reason) = selector.contradiction() {
            self.fault(
                "selects-nothing",
                field,
                reason,
                "correct the labels, or leave the wave out",
            );
        }
    }

    fn waves(&mut self, policy: &Policy) {
        if policy.waves.len() > MAX_WAVES {
            let reason = format!("there are {} waves", policy.waves.len());
            self.fault("too-many", "waves", reason, format!("name {MAX_WAVES} at most"));
        }
        if policy.waves.is_empty() && policy.unmatched == Unmatched::LeaveOut {
            let reason = "without waves every target is unmatched, and all would be left out";
            self.fault("selects-nothing", "unmatched", reason, "name waves, or write lastWave");
        }
        let mut names = BTreeSet::from(["rest"]);
        if policy.canary.is_some() {
            names.insert("canary");
        }
        for (index, wave) in policy.waves.iter().enumerate() {
            let field = format!("waves[{index}]");
            if wave.name.trim().is_empty() {
                self.fault(
                    "missing",
                    &format!("{field}.name"),
                    "the name is empty",
                    "give each wave a name",
                );
            } else if !names.insert(&wave.name) {
                let reason = format!("another wave is called \"{}\"", wave.name);
                self.fault(
                    "duplicate",
                    &format!("{field}.name"),
                    reason,
                    "give each wave a name of its own",
                );
            }
            self.wave(&field, wave);
            self.shadowed(index, &policy.waves);
        }
    }

    fn wave(&mut self, field: &str, wave: &Wave) {
        self.selector(&format!("{field}.select"), &wave.select);
        self.positive(&format!("{field}.take"), wave.take);
        self.positive(&format!("{field}.maxUnavailable"), wave.max_unavailable);
        self.seconds(&format!("{field}.bakeSeconds"), wave.bake_seconds);
        if let Some(batch) = &wave.batch {
            self.batch(&format!("{field}.batch"), batch);
        }
        if let Some(tolerance) = wave.failure_tolerance {
            self.tolerance(&format!("{field}.failureTolerance"), tolerance);
        }
    }

    /// A wave whose targets all belong to an earlier one can never move anything.
    fn shadowed(&mut self, index: usize, waves: &[Wave]) {
        let wave = &waves[index];
        let earlier = waves[..index]
            .iter()
            .find(|it| it.take.is_none() && it.select.covers(&wave.select));
        if let Some(earlier) = earlier {
            let reason = format!(
                "every target that it selects belongs to the earlier wave \"{}\"",
                earlier.name
            );
            let fix = "order the waves from the narrowest to the widest";
            self.fault("selects-nothing", &format!("waves[{index}].select"), reason, fix);
        }
    }

    fn health(&mut self, policy: &Policy) {
        let health = &policy.health;
        let spans = [
            ("health.healthyForSeconds", health.healthy_for_seconds),
            ("health.deadlineSeconds", health.deadline_seconds),
            ("health.silentAfterSeconds", health.silent_after_seconds),
            ("health.unhealthyForSeconds", health.unhealthy_for_seconds),
        ];
        for (field, seconds) in spans {
            self.seconds(field, seconds);
        }
        self.not_zero(
            "health.deadlineSeconds",
            health.deadline_seconds,
            "give targets at least a second",
        );
        self.not_zero(
            "health.silentAfterSeconds",
            health.silent_after_seconds,
            "write how long silence may last",
        );
        self.not_zero(
            "health.healthyReports",
            health.healthy_reports.into(),
            "write 1 or more",
        );
        self.not_zero(
            "health.unhealthyReports",
            health.unhealthy_reports.into(),
            "write 1 or more",
        );
        // Older controllers may say so, and then every target that has to move fails.
        let older = policy.progress_deadline_seconds.is_none() && health.on_unhealthy == OnUnhealthy::Wait;
        if !older && health.healthy_for_seconds > health.deadline_seconds {
            let reason = format!(
                "a target would have to be healthy for {} seconds within {}",
                health.healthy_for_seconds, health.deadline_seconds
            );
            self.fault(
                "unreachable",
                "health.healthyForSeconds",
                reason,
                "make it shorter than deadlineSeconds",
            );
        }
    }

    fn approval(&mut self, approval: &Approval) {
        self.not_zero(
            "approval.required",
            approval.required.into(),
            "leave the approval out, or ask for 1",
        );
        let people = approval.of.len();
        if people > 0 && approval.required as usize > people {
            let reason = format!("{} have to agree out of {people}", approval.required);
            self.fault(
                "unreachable",
                "approval.required",
                reason,
                "ask for fewer, or name more people in `of`",
            );
        }
        if approval.at.is_empty() || approval.at.contains(&Gate::Rollback) {
            let reason = "an approval stands before start, wave or promotion; going back never waits for one";
            self.fault(
                "invalid",
                "approval.at",
                reason,
                "write start, wave, promotion, or several of these",
            );
        }
        if let Some(seconds) = approval.expires_seconds {
            self.seconds("approval.expiresSeconds", seconds);
            self.not_zero(
                "approval.expiresSeconds",
                seconds,
                "leave it out for approvals that never expire",
            );
        }
    }

    fn window(&mut self, field: &str, window: &Window) {
        if let Err(error) = Cron::parse(&window.cron) {
            let fix = "write it like `0 2 * * mon-fri`: minute, hour, day of month, month, day of week";
            self.fault("invalid-cron", &format!("{field}.cron"), error.to_string(), fix);
        }
        if window.duration_seconds == 0 || window.duration_seconds > LONGEST_WINDOW_SECONDS {
            let reason = format!(
                "a window of {} seconds is not between 1 and {LONGEST_WINDOW_SECONDS}",
                window.duration_seconds
            );
            self.fault(
                "invalid",
                &format!("{field}.durationSeconds"),
                reason,
                "write up to a week",
            );
        }
        if let Some(Err(reason)) = window.time_zone.as_deref().map(zone) {
            let fix = "write a name of the IANA database, such as Europe/Berlin";
            self.fault("unknown-time-zone", &format!("{field}.timeZone"), reason, fix);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields(json: &str) -> Vec<String> {
        match read_policy(json) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.field).collect(),
        }
    }

    #[test]
    fn an_empty_policy_is_whole() {
        assert_eq!(read_policy("{}").unwrap(), Policy::default());
        let again = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(read_policy(&again).unwrap(), Policy::default());
    }

    #[test]
    fn nonsense_is_named_by_its_field() {
        for (json, field) in [
            (r#"{"batch": 0}"#, "batch"),
            (r#"{"batch": "120%"}"#, "batch"),
            (r#"{"batch": [1, 0]}"#, "batch[1]"),
            (r#"{"batch": {"start": 1, "factor": 1}}"#, "batch.factor"),
            (r#"{"failureTolerance": "100%"}"#, "failureTolerance"),
            (r#"{"failureTolerance": -1}"#, "failureTolerance"),
            (r#"{"maxUnavailable": 0}"#, "maxUnavailable"),
            (r#"{"budgets": [{"label": "zone"}]}"#, "budgets[0]"),
            (r#"{"waves": [{"name": "a"}, {"name": "a"}]}"#, "waves[1].name"),
            (r#"{"waves": [{"name": "a"}, {"name": "b"}]}"#, "waves[1].select"),
            (r#"{"unmatched": "leaveOut"}"#, "unmatched"),
            (r#"{"health": {"healthyForSeconds": 900}}"#, "health.healthyForSeconds"),
            (r#"{"health": {"deadlineSeconds": 0}}"#, "health.deadlineSeconds"),
            (r#"{"approval": {"required": 2, "of": ["a"]}}"#, "approval.required"),
            (
                r#"{"windows": [{"cron": "0 25 * * *", "durationSeconds": 60}]}"#,
                "windows[0].cron",
            ),
            (
                r#"{"windows": [{"cron": "0 2 * * *", "durationSeconds": 60, "timeZone": "X"}]}"#,
                "windows[0].timeZone",
            ),
            (
                r#"{"hooks": [{"name": "h", "on": ["start"], "endpoint": {"url": "ftp://x"}}]}"#,
                "hooks[0].endpoint.url",
            ),
            (
                r#"{"hooks": [{"name": "h", "on": ["start"], "endpoint": {"url": "https://u:p@x/"}}]}"#,
                "hooks[0].endpoint.url",
            ),
            (
                r#"{"hooks": [{"name": "h", "on": ["start"], "endpoint": {"activity": "a", "secret": "s"}}]}"#,
                "hooks[0].endpoint",
            ),
            (
                r#"{"notify": [{"name": "h", "endpoint": {"url": "http://x", "classic": true}}]}"#,
                "notify[0].endpoint.classic",
            ),
            (r#"{"controllers": {"selection": {}}}"#, "controllers.selection"),
            (r#"{"onFailure": "explode"}"#, "onFailure"),
            (r#"{"bach": 1}"#, "bach"),
        ] {
            assert!(fields(json).iter().any(|it| it == field), "{json}: {:?}", fields(json));
        }
    }

    #[test]
    fn an_analysis_says_all_that_its_check_and_its_source_need_and_no_more() {
        let of = |check: &str, source: &str, rest: &str| {
            let url = if rest.contains("endpoint") {
                ""
            } else {
                r#""endpoint": {"url": "http://prom"}, "#
            };
            let json = format!(
                r#"{{"analysis": [{{"name": "a", "query": "data.x", {url}"check": {{"kind": "{check}", {}}},
                    "source": {{"kind": "{source}"}} {rest}}}]}}"#,
                if check == "threshold" {
                    "\"max\": 1"
                } else {
                    "\"minSamples\": 1"
                }
            );
            fields(&json)
                .into_iter()
                .map(|field| field.replace("analysis[0].", ""))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("threshold", "prometheus", ""), Vec::<String>::new());
        assert_eq!(of("errors", "call", ""), Vec::<String>::new());
        assert_eq!(of("compare", "prometheus", ""), ["baselineQuery"]);
        assert_eq!(
            of("errors", "http", ""),
            ["baselineQuery", "totalQuery", "baselineTotalQuery"]
        );
        assert_eq!(
            of("threshold", "prometheus", r#", "baselineQuery": "y""#),
            ["baselineQuery"]
        );
        assert_eq!(of("threshold", "http", r#", "endpoint": {"local": "x"}"#), ["endpoint"]);
        assert_eq!(
            of("threshold", "http", r#", "endpoint": {"url": "http://{{version}}/x"}"#),
            ["endpoint.url"]
        );
        assert_eq!(of("compare", "http", r#", "baselineQuery": "a..b""#), ["baselineQuery"]);
        assert_eq!(
            of("compare", "call", r#", "baselineQuery": "{{it}}""#),
            ["baselineQuery"]
        );
    }

    #[test]
    fn ranges_have_points_and_not_too_many() {
        let of = |source: &str| {
            fields(&format!(
                r#"{{"analysis": [{{"name": "a", "query": "x", "endpoint": {{"url": "http://p"}},
                    "check": {{"kind": "threshold", "max": 1}}, "source": {{"kind": "prometheus", {source}}}}}]}}"#
            ))
        };
        assert_eq!(of(r#""rangeSeconds": 600"#), Vec::<String>::new());
        assert_eq!(of(r#""rangeSeconds": 600, "stepSeconds": 601"#), ["analysis[0].source"]);
        assert_eq!(
            of(r#""rangeSeconds": 600000, "stepSeconds": 1"#),
            ["analysis[0].source"]
        );
        assert_eq!(of(r#""stepSeconds": 1"#), ["analysis[0].source.stepSeconds"]);
    }

    #[test]
    fn every_fault_is_named_at_once_with_its_fix() {
        let faults = read_policy(r#"{"batch": 0, "maxUnavailable": 0, "approval": {"required": 0}}"#).unwrap_err();
        assert_eq!(faults.len(), 3);
        assert!(
            faults
                .iter()
                .all(|fault| !fault.fix.is_empty() && !fault.reason.is_empty())
        );
    }

    #[test]
    fn waves_may_overlap_when_the_earlier_one_takes_only_some() {
        let json = r#"{"waves": [{"name": "a", "take": 5}, {"name": "b", "select": {"labels": {"zone": "x"}}}]}"#;
        assert_eq!(fields(json), Vec::<String>::new());
    }
}
