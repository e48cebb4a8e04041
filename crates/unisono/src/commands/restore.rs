//! `unisono restore`: a data directory from a backup.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use unisono_node::backup::{self, Restored};

use crate::cli::Global;
use crate::commands::backup::{described, open, progress};
use crate::failure::Failure;
use crate::output::Console;
use crate::signals::Signals;

/// What to restore, and where to.
#[derive(Args, Clone, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup, or - for standard input
    file: PathBuf,
    /// The data directory to make: new or empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Restores.
///
/// # Errors
/// [`Failure::Work`] when the backup is damaged or the directory is not empty; the directory is then as it was.
pub(crate) async fn run(args: RestoreArgs, global: &Global) -> Result<(), Failure> {
    let console = global.console();
    let mut signals = Signals::catch()?;
    let (input, bytes) = open(&args.file)?;
    let progress = progress(console, bytes);
    let cancelled = Arc::new(AtomicBool::new(false));
    let input = Cancellable {
        input: progress.wrap_read(input),
        cancelled: Arc::clone(&cancelled),
    };
    let data = args.data.clone();
    let mut restoring = tokio::task::spawn_blocking(move || backup::restore(input, &data));
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        _ = signals.next() => {
            cancelled.store(true, Ordering::Relaxed);
            restoring.await
        }
    };
    progress.finish_and_clear();
    let restored = restored.map_err(|error| Failure::work(format!("the restore failed: {error}")))??;
    show(&restored, &args, console)
}

fn show(restored: &Restored, args: &RestoreArgs, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(restored);
    }
    let data = args.data.display();
    console.line(format!("restored into {data}: {}", described(&restored.backup)));
    console.line(format!(
        "open orchestrations: {}, state hash: {}",
        restored.state.open, restored.state.hash
    ));
    console.line(format!(
        "start it with: unisono server --data {data} (never beside the server that was backed up)"
    ));
    Ok(())
}

/// An input that ends with an error when it is no longer wanted.
struct Cancellable<R> {
    input: R,
    cancelled: Arc<AtomicBool>,
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the restore was interrupted"));
        }
        self.input.read(buffer)
    }
}
