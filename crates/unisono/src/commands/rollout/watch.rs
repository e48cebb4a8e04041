//! Follows a rollout until it is over. On a terminal it draws waves, reasons and a grid of targets; elsewhere it writes a
//! line for each thing that is decided.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use unisono_client::{Entity, EntityWatchEvent as E};
use unisono_model::rollout::{EntitySnapshot, GridView, RolloutState};

use super::frame::{MOST_CELLS, lines};
use super::{Of, show};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, now};

/// Between two drawings: times go on when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// What to follow.
#[derive(Args, Clone, Debug)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    of: Of,
    /// Go on with the rollouts that come after this one, until it is interrupted
    #[arg(long)]
    forever: bool,
}

/// Follows.
pub(super) async fn run(args: WatchArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    follow(&entity, args.forever, console).await
}

/// Follows until the rollout is over.
///
/// # Errors
/// [`Failure::Work`] when it did not succeed.
pub(crate) async fn follow(entity: &Entity, forever: bool, console: Console) -> Result<(), Failure> {
    let mut screen = (console.can_draw() && console.is_terminal()).then(|| Screen::new(console));
    let mut events = pin!(entity.watch(screen.is_some().then_some(MOST_CELLS)));
    let mut tick = tokio::time::interval(TICK);
    let (mut shown, mut grid): (Option<EntitySnapshot>, Option<GridView>) = (None, None);
    loop {
        tokio::select! {
            event = events.next() => match event.transpose()? {
                None => return Err(Failure::work("the watch ended")),
                Some(E::Snapshot(snapshot) | E::Progress(snapshot)) => {
                    let first = shown.is_none();
                    shown = Some(*snapshot);
                    if first && screen.is_none() && !console.is_json() {
                        begin(shown.as_ref(), console);
                    }
                }
                Some(E::History(entry)) if screen.is_none() => {
                    if console.is_json() {
                        console.json_line(&entry)?;
                    } else {
                        console.line(show::line(&entry, console));
                    }
                }
                Some(E::Grid(drawn)) => grid = Some(drawn),
                Some(E::Gap(gap)) => console.note(format!("entries {} to {} were missed", gap.after + 1, gap.first - 1)),
                Some(E::History(_) | E::Targets(_)) => {}
            },
            _ = tick.tick() => {}
        }
        let Some(snapshot) = &shown else { continue };
        if let Some(screen) = &mut screen {
            screen.draw(&lines(snapshot, grid.as_ref(), now(), console));
        }
        // The grid comes after the snapshot that it belongs to.
        let over = snapshot
            .rollout
            .as_ref()
            .filter(|it| it.summary.state.is_terminal() && it.queued.is_none());
        if let Some(over) = over.filter(|_| !forever && (screen.is_none() || grid.is_some())) {
            return verdict(over.summary.state, snapshot);
        }
    }
}

/// Where it stands when the watch begins.
fn begin(shown: Option<&EntitySnapshot>, console: Console) {
    let Some(shown) = shown else { return };
    for line in lines(shown, None, now(), console) {
        console.line(line);
    }
}

fn verdict(state: RolloutState, shown: &EntitySnapshot) -> Result<(), Failure> {
    if state == RolloutState::Succeeded {
        return Ok(());
    }
    let verdict = shown.rollout.as_ref().and_then(|it| it.summary.verdict.as_ref());
    let why = verdict.map_or(String::new(), |verdict| format!(": {}", verdict.message));
    Err(Failure::work(format!(
        "the rollout {state}{why}",
        state = match state {
            RolloutState::Failed => "failed",
            RolloutState::Aborted => "was aborted",
            _ => "was superseded",
        }
    )))
}

/// Lines on the terminal that are drawn over each other.
struct Screen {
    bars: MultiProgress,
    lines: Vec<ProgressBar>,
    style: ProgressStyle,
}

impl Screen {
    fn new(_: Console) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20)),
            lines: Vec::new(),
            style: ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        }
    }

    fn draw(&mut self, lines: &[String]) {
        while self.lines.len() > lines.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.bars.remove(&line);
            }
        }
        while self.lines.len() < lines.len() {
            let line = self.bars.add(ProgressBar::no_length());
            line.set_style(self.style.clone());
            self.lines.push(line);
        }
        for (bar, line) in self.lines.iter().zip(lines) {
            bar.set_message(line.clone());
            bar.tick();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        for line in &self.lines {
            line.abandon();
        }
    }
}
