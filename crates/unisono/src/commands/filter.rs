//! Which orchestrations a command is about.

use clap::Args;
use unisono_client::OrchestrationFilter;
use unisono_model::api::{OrchestrationState, WaitReason};
use unisono_model::ids::Timestamp;

use crate::cli::{duration, label, millis};
use crate::output::now;

/// Those that match everything given; all of them when nothing is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which orchestrations")]
pub(crate) struct FilterArgs {
    /// In this state, or one of several: initialized, running, completed, errored, cancelled
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<OrchestrationState>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    r#type: Option<String>,
    /// Of this version of their definition
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// With this label (repeatable: with all of them)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// With this correlation id
    #[arg(long, value_name = "TEXT")]
    correlation_id: Option<String>,
    /// Started at this time or later: 2026-01-31T12:00:00Z, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    after: Option<Timestamp>,
    /// Started before this time: 2026-01-31T12:00:00Z, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    before: Option<Timestamp>,
    /// Ended at this time or later
    #[arg(long, value_name = "TIME", value_parser = instant)]
    ended_after: Option<Timestamp>,
    /// Ended before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    ended_before: Option<Timestamp>,
    /// Waiting for this, or one of several: no-agent, agents-full, external-call, time, retry
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    waiting_for: Vec<WaitReason>,
    /// For which this expression of CEL is true, such as 'labels.team == "blue" && now - createdAt > duration("1h")'
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
}

impl FilterArgs {
    pub(crate) fn filter(self) -> OrchestrationFilter {
        OrchestrationFilter {
            states: self.states,
            r#type: self.r#type,
            version: self.version,
            labels: self.labels,
            correlation_id: self.correlation_id,
            created_after: self.after,
            created_before: self.before,
            ended_after: self.ended_after,
            ended_before: self.ended_before,
            waiting_for: self.waiting_for,
            expression: self.filter,
        }
    }
}

/// An instant, or how long ago it was.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let fix = "give a time such as 2026-01-31T12:00:00Z, or how long ago it was, such as 2h";
    let ago = duration(text).map_err(|_| fix.to_owned())?;
    Ok(Timestamp(
        now().0.saturating_sub(i64::try_from(millis(ago)).unwrap_or(i64::MAX)),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago_it_was() {
        assert_eq!(instant("2023-11-14T22:13:20Z"), Ok(Timestamp(1_700_000_000_000)));
        let hour_ago = instant("1h").unwrap();
        assert!((now().millis_since(hour_ago)).abs_diff(3_600_000) < 5_000);
        assert!(instant("yesterday").unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
