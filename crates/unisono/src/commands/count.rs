//! `unisono count`: how many orchestrations there are.

use clap::{Args, ValueEnum};
use unisono_client::GroupBy;

use super::filter::FilterArgs;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Field, Grid, orchestration_tone};

/// Which orchestrations to count.
#[derive(Args, Clone, Debug)]
pub(crate) struct CountArgs {
    /// Count each type, version or state by itself, or each combination of several
    #[arg(long = "by", value_name = "WHAT", value_delimiter = ',', value_enum)]
    by: Vec<By>,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Type,
    Version,
    State,
}

impl From<By> for GroupBy {
    fn from(by: By) -> Self {
        match by {
            By::Type => Self::Type,
            By::Version => Self::Version,
            By::State => Self::State,
        }
    }
}

/// Counts orchestrations. A number that ends in `+` is a lower bound.
///
/// # Errors
/// [`Failure::Refused`] when the server does not take the filter.
pub(crate) async fn run(args: CountArgs, global: &Global) -> Result<(), Failure> {
    let by: Vec<GroupBy> = args.by.iter().copied().map(Into::into).collect();
    let count = global.client()?.count(&args.filter.filter(), &by).await?;
    let console = global.console();
    if console.is_json() {
        return console.json(&count);
    }
    if by.is_empty() {
        console.line(number(count.count, count.exact));
        return Ok(());
    }
    let mut grid = Grid::new(console, &["TYPE", "VERSION", "STATE", "COUNT"]);
    for group in &count.groups {
        let state = group
            .state
            .map(|state| (orchestration_tone(state), state.to_string()).into());
        grid.row([
            group.r#type.as_deref().unwrap_or("-").into(),
            group
                .version
                .map_or("-".to_owned(), |version| version.to_string())
                .into(),
            state.unwrap_or_else(|| Field::from("-")),
            number(group.count, group.exact).into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

fn number(count: u64, exact: bool) -> String {
    format!("{count}{}", if exact { "" } else { "+" })
}
