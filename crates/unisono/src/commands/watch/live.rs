//! Draws an orchestration on the terminal, again and again until it ends.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use unisono_client::{Client, WatchEvent};
use unisono_model::api::OrchestrationView;

use super::frame::{Line, lines};
use crate::failure::Failure;
use crate::output::{Console, now};

/// Between two drawings.
const TICK: Duration = Duration::from_millis(100);
/// After this long the view is fetched although nothing happened: reasons change with agents that come and go.
const REFRESH: Duration = Duration::from_secs(2);

/// Follows until the end; the last drawing stays on the screen.
pub(super) async fn follow(client: &Client, id: &str, console: Console) -> Result<OrchestrationView, Failure> {
    let mut screen = Screen::new(console);
    let mut watched = Watched::default();
    let mut tick = tokio::time::interval(TICK);
    let mut events = pin!(client.watch(id));
    loop {
        tokio::select! {
            event = events.next() => match event.transpose()? {
                Some(WatchEvent::Snapshot(view)) => watched.set(*view),
                Some(WatchEvent::History(_)) => watched.changed = true,
                Some(WatchEvent::End) | None => break,
            },
            _ = tick.tick() => {
                watched.refresh(client, id).await?;
                if let Some(view) = &watched.view {
                    screen.draw(view);
                }
            }
        }
    }
    let view = client.orchestration(id).await?;
    screen.draw(&view);
    Ok(view)
}

/// The view last fetched, and whether it is old.
#[derive(Default)]
struct Watched {
    view: Option<OrchestrationView>,
    fetched: Option<Instant>,
    /// How long fetching took.
    took: Duration,
    changed: bool,
}

impl Watched {
    fn set(&mut self, view: OrchestrationView) {
        self.view = Some(view);
        self.fetched = Some(Instant::now());
        self.changed = false;
    }

    /// Whether to fetch now. A view that takes long to fetch is fetched less often.
    fn is_due(&self) -> bool {
        let wait = if self.changed { self.took * 5 } else { REFRESH };
        self.fetched.is_some_and(|fetched| fetched.elapsed() >= wait)
    }

    /// Fetches the view when it is old. A server that is away for a moment does no harm: the watch knows how to wait.
    async fn refresh(&mut self, client: &Client, id: &str) -> Result<(), Failure> {
        if !self.is_due() {
            return Ok(());
        }
        let began = Instant::now();
        match client.orchestration(id).await {
            Ok(view) => self.set(view),
            Err(error) if error.is_unreachable() => self.fetched = Some(Instant::now()),
            Err(error) => return Err(error.into()),
        }
        self.took = began.elapsed();
        Ok(())
    }
}

/// Lines on the terminal that are drawn over each other.
struct Screen {
    bars: MultiProgress,
    lines: Vec<ProgressBar>,
    text: ProgressStyle,
    tier: ProgressStyle,
    console: Console,
}

impl Screen {
    fn new(console: Console) -> Self {
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20)),
            lines: Vec::new(),
            text: style("{msg}"),
            tier: style("{prefix:<8} {bar:24} {pos}/{len}").progress_chars("█▉▊▋▌▍▎▏░"),
            console,
        }
    }

    fn draw(&mut self, view: &OrchestrationView) {
        let lines = lines(view, now(), self.console);
        while self.lines.len() > lines.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.bars.remove(&line);
            }
        }
        while self.lines.len() < lines.len() {
            self.lines.push(self.bars.add(ProgressBar::no_length()));
        }
        for (bar, line) in self.lines.iter().zip(lines) {
            self.show(bar, line);
        }
    }

    fn show(&self, bar: &ProgressBar, line: Line) {
        match line {
            Line::Text(text) => {
                bar.set_style(self.text.clone());
                bar.set_message(text);
            }
            Line::Tier { label, done, total } => {
                bar.set_style(self.tier.clone());
                bar.set_prefix(label);
                bar.set_length(total);
                bar.set_position(done);
            }
        }
        bar.tick();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        for line in &self.lines {
            line.abandon();
        }
    }
}
