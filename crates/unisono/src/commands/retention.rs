//! `unisono retention`: for how long orchestrations are kept after they have ended.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use unisono_client::Client;
use unisono_model::retention::RetentionRule;

use crate::cli::{Global, duration};
use crate::failure::Failure;
use crate::output::{Console, Grid};

/// What to do with the rules; they are shown when nothing is said.
#[derive(Args, Clone, Debug)]
pub(crate) struct RetentionArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Set how long orchestrations are kept: those of one definition, or of each that has no rule of its own
    Set(SetArgs),
    /// Take a rule away
    Unset {
        /// That of this orchestration definition; the namespace's when left out
        #[arg(long, value_name = "TYPE")]
        r#type: Option<String>,
    },
}

#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("rule").args(["max_age", "max_count", "forever"]).required(true).multiple(true)))]
struct SetArgs {
    /// Only those of this orchestration definition
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Delete them when they ended so long ago, such as 12h or 30d
    #[arg(long, value_name = "TIME", value_parser = age)]
    max_age: Option<Duration>,
    /// Keep so many of each definition, those that were started last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_count: Option<u64>,
    /// Keep all of them
    #[arg(long, conflicts_with_all = ["max_age", "max_count"])]
    forever: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        age if age < Duration::from_secs(1) => Err("it is shorter than a second".to_owned()),
        age => Ok(age),
    }
}

/// Shows or changes the rules of the namespace.
///
/// # Errors
/// [`Failure::Refused`] when there is no such definition.
pub(crate) async fn run(args: RetentionArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let whose = |r#type: &Option<String>| match r#type {
        Some(r#type) => r#type.clone(),
        None => format!("namespace {}", global.namespace_name()),
    };
    match args.what {
        None => show(&client, console).await,
        Some(What::Set(args)) => {
            let rule = RetentionRule {
                max_age_seconds: args.max_age.map(|age| age.as_secs()),
                max_count: args.max_count,
            };
            client.set_retention(args.r#type.as_deref(), &rule).await?;
            if console.is_json() {
                return console.json(&json!({"type": args.r#type, "rule": rule}));
            }
            console.line(format!(
                "{}: ended orchestrations are kept {}",
                whose(&args.r#type),
                words(&rule)
            ));
            Ok(())
        }
        Some(What::Unset { r#type }) => {
            client.unset_retention(r#type.as_deref()).await?;
            if console.is_json() {
                return console.json(&json!({"type": r#type, "rule": null}));
            }
            console.line(format!("{}: has no retention rule", whose(&r#type)));
            Ok(())
        }
    }
}

async fn show(client: &Client, console: Console) -> Result<(), Failure> {
    let rules = client.retention().await?;
    if console.is_json() {
        return console.json(&rules);
    }
    let mut grid = Grid::new(console, &["DEFINITION", "ENDED ORCHESTRATIONS ARE KEPT"]);
    let others = rules.default.map_or("for ever".to_owned(), |rule| words(&rule));
    for (name, rule) in &rules.definitions {
        grid.row([name.as_str().into(), words(rule).into()]);
    }
    grid.row([
        (if rules.definitions.is_empty() {
            "all"
        } else {
            "all others"
        })
        .into(),
        others.into(),
    ]);
    console.line(grid.text());
    Ok(())
}

fn words(rule: &RetentionRule) -> String {
    let age = rule.max_age_seconds.map(|age| format!("for {}", time(age)));
    let count = rule
        .max_count
        .map(|count| format!("the last {count} of each definition"));
    let limits: Vec<String> = age.into_iter().chain(count).collect();
    if limits.is_empty() {
        "for ever".to_owned()
    } else {
        limits.join(", ")
    }
}

/// The largest units that say it exactly.
fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rule_is_said_in_words() {
        let rule = |age, count| {
            words(&RetentionRule {
                max_age_seconds: age,
                max_count: count,
            })
        };
        assert_eq!(rule(None, None), "for ever");
        assert_eq!(rule(Some(2_592_000), None), "for 30d");
        assert_eq!(rule(Some(5_400), Some(7)), "for 1h 30m, the last 7 of each definition");
    }

    #[test]
    fn an_age_may_be_given_in_days() {
        assert_eq!(age("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(age("1w 2h").unwrap(), Duration::from_secs(7 * 86_400 + 7_200));
        assert!(age("10ms").is_err());
    }
}
