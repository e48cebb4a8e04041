//! A command behind its keeper, as the host sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use unisono_host::Moment;

use crate::cli::millis;
use crate::commands::keep::{FromKeeper, PROGRAM, ToKeeper};

/// A command that runs, behind its keeper. When this is dropped early, the keeper sees that its host is gone.
pub(super) struct Kept {
    /// Reaped in the background when this is dropped.
    keeper: Child,
    said: Lines<BufReader<OwnedReadHalf>>,
    host: OwnedWriteHalf,
    leader: Pid,
}

impl Kept {
    /// Starts the command, to live until this moment for now.
    ///
    /// # Errors
    /// When there can be no keeper, or it could not start the command.
    pub(super) async fn start(
        command: &[String],
        environment: impl IntoIterator<Item = (String, String)>,
        until: Moment,
    ) -> io::Result<Self> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let (read, mut host) = UnixStream::from_std(ours)?.into_split();
        let keeper = Command::new(PROGRAM)
            .args(["keep", "--"])
            .args(command)
            .envs(environment)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // Ctrl-C at a terminal is for the host alone.
            .process_group(0)
            .spawn()?;
        let mut said = BufReader::new(read).lines();
        tell(&mut host, ToKeeper::LiveUntil(nanos(until))).await;
        match hear(&mut said).await {
            Some(FromKeeper::Started(leader)) => {
                let leader = Pid::from_raw(leader).ok_or_else(|| io::Error::other("it has no process id"))?;
                Ok(Self {
                    keeper,
                    said,
                    host,
                    leader,
                })
            }
            _ => Err(io::Error::other("its keeper could not start it, and has said why")),
        }
    }

    /// The process that the command is.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// Lets the command live until this moment.
    pub(super) async fn live_until(&mut self, until: Moment) {
        tell(&mut self.host, ToKeeper::LiveUntil(nanos(until))).await;
    }

    /// Asks the command to leave, and has it killed when it is still there after the grace.
    pub(super) async fn stop(&mut self, grace: Duration) {
        tell(&mut self.host, ToKeeper::Stop(millis(grace))).await;
    }

    /// Kills a keeper that does not do what it was told, such as one that is stopped, and with it the command.
    pub(super) fn kill(&mut self) {
        // It may have ended meanwhile.
        let _ = self.keeper.start_kill();
    }

    /// Waits until nothing of the command runs any more, and says how it ended.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            match hear(&mut self.said).await {
                Some(FromKeeper::Ended(how)) => return how,
                Some(FromKeeper::Started(_)) => {}
                None => return self.lost_keeper().await,
            }
        }
    }

    /// The keeper died, and so did the command; what else is in its group is killed here.
    async fn lost_keeper(&mut self) -> String {
        const PAUSE: Duration = Duration::from_millis(5);
        while kill_process_group(self.leader, Signal::KILL).is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
        "was killed, since its keeper was".to_owned()
    }
}

/// A keeper that is gone need not be told.
async fn tell(keeper: &mut OwnedWriteHalf, what: ToKeeper) {
    if let Ok(line) = serde_json::to_string(&what) {
        let _ = keeper.write_all(format!("{line}\n").as_bytes()).await;
    }
}

/// The next thing that the keeper says; nothing, when it is gone.
async fn hear(said: &mut Lines<BufReader<OwnedReadHalf>>) -> Option<FromKeeper> {
    let line = said.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}

fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_nanos()).unwrap_or(u64::MAX)
}
