//! Reporting targets by hand, or out of a script.

use clap::Args;
use unisono_model::rollout::{Report, Said};

use super::{Of, phase_tone};
use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::output::{Grid, Tone};

/// What to report.
#[derive(Args, Clone, Debug)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    of: Of,
    /// Targets, each with the version that it runs: a=v1, or a alone when it runs none
    #[arg(required = true, value_name = "TARGET[=VERSION]")]
    targets: Vec<String>,
    /// Their group
    #[arg(long, value_name = "NAME", default_value = "")]
    group: String,
    /// How they are: healthy, unhealthy, inProgress, offline or busy
    #[arg(long, value_name = "HEALTH", default_value = "healthy", value_parser = said)]
    health: Said,
    /// What they have to say
    #[arg(long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Facts about them: key=value; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Their time zone, such as Europe/Berlin
    #[arg(long, value_name = "NAME")]
    time_zone: Option<String>,
}

fn said(text: &str) -> Result<Said, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "it is none of healthy, unhealthy, inProgress, offline and busy".to_owned())
}

/// Reports, and shows what each target should run.
pub(super) async fn run(args: ReportArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let reports: Vec<Report<'_>> = args.targets.iter().map(|target| one(&args, target)).collect();
    let told = entity.report(&reports).await?;
    if console.is_json() {
        return console.json_values(&told);
    }
    let mut grid = Grid::new(console, &["TARGET", "VERSION", "STATE", "WHAT TO DO"]);
    for it in &told {
        let version = it.version.as_deref().unwrap_or("-").to_owned();
        let version = if it.change {
            (Tone::Strong, version).into()
        } else {
            version.into()
        };
        grid.row([
            it.name.as_str().into(),
            version,
            (phase_tone(it.phase), it.phase.to_string()).into(),
            it.message.as_str().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

fn one<'a>(args: &'a ReportArgs, target: &'a str) -> Report<'a> {
    let (name, version) = match target.rsplit_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (target, None),
    };
    Report {
        name: name.into(),
        group: args.group.as_str().into(),
        version: version.map(Into::into),
        health: Some(args.health),
        message: args.message.as_str().into(),
        labels: (!args.label.is_empty()).then(|| args.label.iter().cloned().collect()),
        time_zone: args.time_zone.as_deref().map(Into::into),
        ..Report::default()
    }
}
