//! A server process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use unisono_client::{Client, ClientOptions};

use super::{AgentSetup, PATIENCE, Site, SmallDisk, WallClock, ports, program, signal};

/// How a server is run.
#[derive(Clone, Debug)]
pub(crate) struct ServerSetup {
    heartbeat: String,
    grace: String,
    checkpoint_bytes: Option<u64>,
    options: Vec<String>,
    disk: Option<Arc<SmallDisk>>,
    clock: Option<WallClock>,
}

impl Default for ServerSetup {
    fn default() -> Self {
        Self {
            heartbeat: "1s".to_owned(),
            grace: "2s".to_owned(),
            checkpoint_bytes: None,
            options: Vec::new(),
            disk: None,
            clock: None,
        }
    }
}

impl ServerSetup {
    /// How often agents and server say something.
    pub(crate) fn heartbeat(mut self, time: &str) -> Self {
        time.clone_into(&mut self.heartbeat);
        self
    }

    /// How long an agent may be gone.
    pub(crate) fn grace(mut self, time: &str) -> Self {
        time.clone_into(&mut self.grace);
        self
    }

    /// Bytes of events between two checkpoints.
    pub(crate) fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = Some(bytes);
        self
    }

    /// More options of the command.
    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Starts it in a new folder, and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let mut server = self.at(Site::new(), "data");
        server.restart();
        server
    }

    /// The same with its data on a small disk; none where there can be none.
    pub(crate) fn start_on_small_disk(mut self, mebibytes: u32) -> Option<(Server, Arc<SmallDisk>)> {
        let site = Site::new();
        let disk = Arc::new(SmallDisk::mount(&site.path("disk"), mebibytes)?);
        self.disk = Some(Arc::clone(&disk));
        let mut server = self.at(site, "disk/data");
        server.restart();
        Some((server, disk))
    }

    /// The same where the wall clock can be set, for this server and what is started beside it.
    pub(crate) fn start_with_wall_clock(mut self) -> (Server, WallClock) {
        let site = Site::new();
        let clock = WallClock::of(&site);
        self.clock = Some(clock.clone());
        let mut server = self.at(site, "data");
        server.restart();
        (server, clock)
    }

    fn at(self, site: Site, folder: &str) -> Server {
        Server {
            site: Arc::new(site),
            folder: folder.to_owned(),
            port: ports::free(),
            setup: self,
            child: None,
        }
    }
}

/// How a process ended that was asked to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) took: Duration,
}

/// What a server says of how its state came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Open runs.
    pub(crate) open: u64,
    /// Events of the journal's tail, after the last checkpoint.
    pub(crate) replayed: u64,
    /// Events ever.
    pub(crate) revision: u64,
}

impl Recovery {
    fn read(line: &str) -> Self {
        let number = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}"));
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            digits.parse().unwrap()
        };
        Self {
            open: number("open="),
            replayed: number("replayed="),
            revision: number("revision="),
        }
    }
}

/// A server on a port and a data directory that stay the same when it is restarted. Killed when dropped.
pub(crate) struct Server {
    site: Arc<Site>,
    folder: String,
    port: u16,
    setup: ServerSetup,
    child: Option<Child>,
}

impl Server {
    /// One on another folder of the same site and on the same port, to be started when this one is gone.
    pub(crate) fn successor(&self, folder: &str) -> Self {
        Self {
            site: Arc::clone(&self.site),
            folder: folder.to_owned(),
            port: self.port,
            setup: self.setup.clone(),
            child: None,
        }
    }

    /// One with the usual setup.
    pub(crate) fn start() -> Self {
        ServerSetup::default().start()
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.site.path(&self.folder)
    }

    /// The program under test where it sees the data directory, and the server's clock.
    pub(crate) fn program(&self) -> Command {
        let disk = self.setup.disk.as_ref();
        let mut program = disk.map_or_else(program, |disk| disk.program());
        if let Some(clock) = &self.setup.clock {
            clock.rule(&mut program);
        }
        program
    }

    /// A client of the default namespace.
    pub(crate) fn client(&self) -> Client {
        self.client_of("default")
    }

    pub(crate) fn client_of(&self, namespace: &str) -> Client {
        let actor = Some("the-test".to_owned());
        Client::new(ClientOptions {
            actor,
            ..ClientOptions::new(self.url(), namespace)
        })
        .unwrap()
    }

    /// An agent of this server, not yet started.
    pub(crate) fn agent(&self, name: &str) -> AgentSetup {
        AgentSetup::new(Arc::clone(&self.site), self.url(), name)
    }

    /// Starts it again after it has ended, and waits until it listens.
    pub(crate) fn restart(&mut self) {
        let listening = self.launch();
        let said = listening.recv_timeout(PATIENCE);
        let expected = format!("listening on {}", self.url());
        assert_eq!(said.as_deref(), Ok(expected.as_str()), "the first line of the server");
    }

    /// Starts it again, and waits for nothing. What it prints first comes through the channel.
    pub(crate) fn launch(&mut self) -> mpsc::Receiver<String> {
        assert!(self.child.is_none(), "the server runs already");
        let mut command = self.program();
        command
            .arg("server")
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--agent-grace", &self.setup.grace, "--heartbeat", &self.setup.heartbeat]);
        if let Some(bytes) = self.setup.checkpoint_bytes {
            command.args(["--checkpoint-bytes", &bytes.to_string()]);
        }
        command.args(&self.setup.options);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(self.site.log("server"))
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let (sender, listening) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        listening
    }

    /// How its state came back, each time that it was started.
    pub(crate) fn recoveries(&self) -> Vec<Recovery> {
        let log = self.site.logged("server");
        log.lines()
            .filter(|line| line.contains("state recovered"))
            .map(Recovery::read)
            .collect()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// `SIGSTOP`: it is there, and does nothing.
    pub(crate) fn pause(&self) {
        signal(self.child.as_ref().unwrap(), Signal::STOP);
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().unwrap(), Signal::CONT);
    }

    /// `SIGTERM`, and waits for the end.
    pub(crate) fn terminate(&mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        terminate(&mut child)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        wait(&mut child, "by itself")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks a process to leave, and waits until it has.
pub(crate) fn terminate(child: &mut Child) -> Ended {
    signal(child, Signal::TERM);
    wait(child, "after SIGTERM")
}

/// Waits until a process has ended.
fn wait(child: &mut Child, why: &str) -> Ended {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Ended {
                status,
                took: begin.elapsed(),
            };
        }
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the process has not left within {PATIENCE:?} {why}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
