//! What a person sees of a rollout at one moment, as lines. Pure: drawing them is somebody else's.

use std::collections::BTreeMap;

use unisono_model::ids::Timestamp;
use unisono_model::rollout::{Counts, EntitySnapshot, GridView, RolloutView, WaveView};

use super::rollout_tone;
use crate::output::{Console, Tone, shortened, span};

/// Characters of a bar.
const BAR: u64 = 40;
/// Cells on one line of the grid.
const CELLS: usize = 80;
/// Cells of a grid.
pub(super) const MOST_CELLS: u32 = 640;
/// Waves shown; those around the one under way.
const MOST_WAVES: usize = 10;
/// Characters of a reason.
const REASON: usize = 160;

/// The words of cells, the worst first: one of them colours a cell that holds others as well.
const WORDS: [(&str, Tone, char); 14] = [
    ("failed", Tone::Bad, '✗'),
    ("notRecovered", Tone::Bad, '✗'),
    ("unhealthy", Tone::Bad, '!'),
    ("unknown", Tone::Waiting, '?'),
    ("offline", Tone::Waiting, 'o'),
    ("rollingBack", Tone::Waiting, '◀'),
    ("inFlight", Tone::Busy, '▶'),
    ("busy", Tone::Waiting, 'b'),
    ("rolledBack", Tone::Good, '□'),
    ("pending", Tone::Quiet, '·'),
    ("idle", Tone::Quiet, '·'),
    ("skipped", Tone::Quiet, '-'),
    ("pinned", Tone::Quiet, 'p'),
    ("done", Tone::Good, '■'),
];

/// The lines for this moment.
pub(super) fn lines(shown: &EntitySnapshot, grid: Option<&GridView>, now: Timestamp, console: Console) -> Vec<String> {
    let name = console.paint_error(Tone::Strong, shown.entity.summary.name.as_str());
    let Some(rollout) = &shown.rollout else {
        return vec![format!("{name}  no version has been rolled out")];
    };
    let mut lines = vec![format!("{name}  {}", head(rollout, now, console))];
    lines.extend(rollout.reasons.iter().map(|it| {
        let until = it.until.map_or(String::new(), |until| format!(", until {until}"));
        let text = shortened(&format!("{}{until}", it.message), REASON);
        format!("  {}  {text}", console.paint_error(Tone::Waiting, it.code.as_str()))
    }));
    lines.extend(waves(rollout).iter().map(|wave| wave_line(wave, console)));
    if let Some(grid) = grid {
        lines.extend(cells(grid, console));
    }
    lines
}

fn head(rollout: &RolloutView, now: Timestamp, console: Console) -> String {
    let summary = &rollout.summary;
    let took = span(summary.ended_at.unwrap_or(now).millis_since(summary.created_at));
    let state = console.paint_error(rollout_tone(summary.state), summary.state.as_str());
    let counts = &summary.counts;
    let done = format!("{} of {} done, {} failed", counts.done, counts.total, counts.failed);
    format!(
        "rollout {} of version {}  {state}  {took}  {done}",
        summary.id, summary.version
    )
}

fn waves(rollout: &RolloutView) -> &[WaveView] {
    let current = rollout.wave as usize;
    let begin = current
        .saturating_sub(MOST_WAVES / 2)
        .min(rollout.waves.len().saturating_sub(MOST_WAVES));
    let end = (begin + MOST_WAVES).min(rollout.waves.len());
    &rollout.waves[begin..end]
}

fn wave_line(wave: &WaveView, console: Console) -> String {
    let counts = &wave.counts;
    let name = shortened(&wave.name, 16);
    format!(
        "{name:<16}  {}  {}/{}  {}",
        bar(counts, console),
        counts.done,
        counts.total,
        wave.state
    )
}

/// A bar whose parts are as long as their shares; what there is of something is seen, however little it is.
fn bar(counts: &Counts, console: Console) -> String {
    let parts = [
        (counts.done, Tone::Good, '█'),
        (counts.in_flight, Tone::Busy, '▒'),
        (counts.rolling_back, Tone::Waiting, '◀'),
        (counts.rolled_back, Tone::Good, '□'),
        (counts.failed + counts.not_recovered, Tone::Bad, '✗'),
    ];
    let (mut text, mut left) = (String::new(), BAR);
    for (count, tone, mark) in parts {
        let length = (count * BAR / counts.total.max(1)).max(count.min(1)).min(left);
        left -= length;
        let part: String = (0..length).map(|_| mark).collect();
        if !part.is_empty() {
            text.push_str(&console.paint_error(tone, &part));
        }
    }
    let rest: String = (0..left).map(|_| '░').collect();
    text + &console.paint_error(Tone::Quiet, &rest)
}

fn cells(grid: &GridView, console: Console) -> Vec<String> {
    let worst = |cell: &BTreeMap<String, u64>| {
        let found = WORDS
            .into_iter()
            .find(|(word, ..)| cell.get(*word).is_some_and(|count| *count > 0));
        found.unwrap_or(("idle", Tone::Quiet, '·'))
    };
    let mut lines: Vec<String> = grid
        .cells
        .chunks(CELLS)
        .map(|row| {
            row.iter()
                .map(worst)
                .map(|(_, tone, mark)| console.paint_error(tone, &mark.to_string()))
                .collect()
        })
        .collect();
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (word, count) in grid.cells.iter().flatten() {
        *totals.entry(word).or_default() += count;
    }
    let legend = WORDS.into_iter().filter_map(|(word, tone, mark)| {
        let count = totals.get(word)?;
        Some(format!(
            "{} {count} {word}",
            console.paint_error(tone, &mark.to_string())
        ))
    });
    let mut legend: Vec<String> = legend.collect();
    if grid.targets_per_cell > 1 {
        legend.push(format!("each for {} targets", grid.targets_per_cell));
    }
    lines.push(legend.join("  "));
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::{ColorChoice, Format};

    fn plain() -> Console {
        Console::new(Format::Table, ColorChoice::Never)
    }

    #[test]
    fn a_bar_shows_whatever_little_there_is() {
        let counts = Counts {
            total: 1_000_000,
            done: 500_000,
            in_flight: 3,
            failed: 1,
            ..Counts::default()
        };
        let bar = bar(&counts, plain());
        assert_eq!(bar, format!("{}▒✗{}", "█".repeat(20), "░".repeat(18)));
    }

    #[test]
    fn a_bar_never_grows_too_long() {
        let counts = Counts {
            total: 40,
            done: 38,
            in_flight: 1,
            rolled_back: 1,
            failed: 2,
            ..Counts::default()
        };
        assert_eq!(bar(&counts, plain()).chars().count(), 40);
        assert_eq!(bar(&Counts::default(), plain()), "░".repeat(40));
    }

    #[test]
    fn a_cell_is_coloured_by_the_worst_of_its_targets() {
        let cell = |words: &[(&str, u64)]| words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let grid = GridView {
            targets: 6,
            targets_per_cell: 2,
            cells: vec![
                cell(&[("done", 2)]),
                cell(&[("done", 1), ("failed", 1)]),
                cell(&[("pending", 1), ("inFlight", 1)]),
            ],
        };
        let lines = cells(&grid, plain());
        assert_eq!(lines[0], "■✗▶");
        assert_eq!(
            lines[1],
            "✗ 1 failed  ▶ 1 inFlight  · 1 pending  ■ 3 done  each for 2 targets"
        );
    }
}
