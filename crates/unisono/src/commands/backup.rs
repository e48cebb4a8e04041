//! `unisono backup`: everything a running server has, in one file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use unisono_client::BackupDownload;
use unisono_node::backup::{self, BackupError, Contents};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Console;
use crate::signals::Signals;

/// Where to put the backup, or what to do with one.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// A file that does not exist yet, or - for standard output
    #[arg(long, value_name = "FILE", required = true)]
    to: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Read a backup to its end, and say what it holds or what is wrong with it
    Verify {
        /// The backup, or - for standard input
        file: PathBuf,
    },
}

/// Takes a backup, or verifies one.
///
/// # Errors
/// [`Failure::Work`] when the backup is not complete, or cannot be written.
pub(crate) async fn run(args: BackupArgs, global: &Global) -> Result<(), Failure> {
    match (args.what, args.to) {
        (Some(What::Verify { file }), _) => verify(&file, global.console()),
        (None, Some(to)) => take(&to, global).await,
        (None, None) => Err(Failure::usage("it is not said where to", "add --to FILE, or --to -")),
    }
}

fn verify(file: &Path, console: Console) -> Result<(), Failure> {
    let (input, bytes) = open(file)?;
    let progress = progress(console, bytes);
    let contents = backup::verify(progress.wrap_read(input));
    progress.finish_and_clear();
    let contents = contents?;
    if console.is_json() {
        return console.json(&contents);
    }
    console.line(format!("{} is complete: {}", file.display(), described(&contents)));
    Ok(())
}

/// A backup to be read, and its size.
pub(crate) fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if is_standard(file) {
        return Ok((Box::new(io::stdin()), None));
    }
    let opened = File::open(file).and_then(|opened| Ok((opened.metadata()?.len(), opened)));
    let (bytes, opened) = opened.map_err(|error| Failure::Usage {
        message: format!("cannot read {}: {error}", file.display()),
        help: Some("give a file that `unisono backup --to` has written, or - for standard input".to_owned()),
    })?;
    Ok((Box::new(opened), Some(bytes)))
}

fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

/// A backup in a few words.
pub(crate) fn described(contents: &Contents) -> String {
    let totals = &contents.totals;
    let files = match totals.files {
        0 => String::new(),
        files => format!(", {files} files"),
    };
    format!(
        "revision {}, {} orchestrations{files}, {}, taken at {}",
        totals.revision,
        contents.orchestrations(),
        HumanBytes(contents.bytes),
        contents.info.created_at
    )
}

/// Shows bytes as they go by, to a person only.
pub(crate) fn progress(console: Console, bytes: Option<u64>) -> ProgressBar {
    if !console.can_draw() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}",
        ),
    };
    // The template is one of the two above.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

async fn take(to: &Path, global: &Global) -> Result<(), Failure> {
    let console = global.console();
    let mut signals = Signals::catch()?;
    let target = Target::create(to)?;
    let progress = progress(console, None);
    let taken = tokio::select! {
        taken = receive(global, target, &progress) => taken,
        name = signals.next() => Err(Failure::work(format!("{name}: the backup was given up, and nothing is left of it"))),
    };
    progress.finish_and_clear();
    let contents = taken?;
    let said = format!("backed up to {}: {}", to.display(), described(&contents));
    match (is_standard(to), console.is_json()) {
        (false, true) => console.json(&contents)?,
        (false, false) => console.line(said),
        (true, _) => console.note(said),
    }
    Ok(())
}

async fn receive(global: &Global, target: Target, progress: &ProgressBar) -> Result<Contents, Failure> {
    let mut download = global.client()?.backup().await?;
    let (sender, receiver) = mpsc::channel(8);
    let written = tokio::task::spawn_blocking(move || target.fill(receiver));
    let broke = forward(&mut download, &sender, progress).await;
    drop(sender);
    let written = written
        .await
        .map_err(|error| Failure::work(format!("the backup could not be written: {error}")))?;
    match (written, broke) {
        (Err(Failure::Work { message, .. }), Err(error)) => {
            Err(Failure::work(format!("{message}; the connection broke: {error}")))
        }
        (written, _) => written,
    }
}

/// Passes on what comes, until it ends or nobody wants it any more.
async fn forward(
    download: &mut BackupDownload,
    sender: &mpsc::Sender<Bytes>,
    progress: &ProgressBar,
) -> Result<(), unisono_client::ClientError> {
    while let Some(chunk) = download.chunk().await? {
        progress.inc(chunk.len() as u64);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Where a backup is written to. A file appears under its name when it is complete and durable, and not before.
enum Target {
    Standard,
    File { partial: NamedTempFile, path: PathBuf },
}

impl Target {
    fn create(path: &Path) -> Result<Self, Failure> {
        if is_standard(path) {
            return Ok(Self::Standard);
        }
        if path.exists() {
            return Err(Failure::usage(
                format!(
                    "{} exists already, and a backup never replaces anything",
                    path.display()
                ),
                "give another name, or remove it first",
            ));
        }
        let partial = tempfile::Builder::new()
            .prefix(".unisono-backup-")
            .suffix(".partial")
            .tempfile_in(folder(path))
            .map_err(|error| Failure::Usage {
                message: format!("cannot write into {}: {error}", folder(path).display()),
                help: Some("give a file in a directory that exists and can be written".to_owned()),
            })?;
        Ok(Self::File {
            partial,
            path: path.to_owned(),
        })
    }

    /// Writes what comes, and verifies it on the way.
    fn fill(self, receiver: mpsc::Receiver<Bytes>) -> Result<Contents, Failure> {
        match self {
            Self::Standard => {
                let mut out = io::stdout().lock();
                let contents = copy(receiver, &mut out)?;
                out.flush().map_err(|error| failed("standard output", &error))?;
                Ok(contents)
            }
            Self::File { partial, path } => {
                let contents = copy(receiver, partial.as_file())?;
                let shown = path.display().to_string();
                partial.as_file().sync_all().map_err(|error| failed(&shown, &error))?;
                partial
                    .persist_noclobber(&path)
                    .map_err(|error| failed(&shown, &error.error))?;
                File::open(folder(&path))
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| failed(&shown, &error))?;
                Ok(contents)
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn failed(place: &str, error: &io::Error) -> Failure {
    Failure::work(format!("the backup cannot be written to {place}: {error}"))
}

fn copy(receiver: mpsc::Receiver<Bytes>, sink: impl Write) -> Result<Contents, Failure> {
    let mut copying = Copying {
        receiver,
        current: Bytes::new(),
        sink,
        broken: None,
    };
    let verified = backup::verify(&mut copying);
    match (copying.broken, verified) {
        (Some(error), _) => Err(failed("where it should go", &error)),
        (None, verified) => verified.map_err(|error: BackupError| error.into()),
    }
}

/// Reads what comes, and writes it somewhere before it is looked at.
struct Copying<W> {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    sink: W,
    /// Why the sink takes no more.
    broken: Option<io::Error>,
}

impl<W: Write> Read for Copying<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            let Some(next) = self.receiver.blocking_recv() else {
                return Ok(0);
            };
            if let Err(error) = self.sink.write_all(&next) {
                self.broken = Some(error);
                return Err(io::Error::other("it cannot be written"));
            }
            self.current = next;
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
