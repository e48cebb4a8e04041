//! What the documentation tells people to type is typed, and works.
//!
//! Every fenced block with the info string `sh` of a file is run in order in one folder. A block that is one command
//! which runs until it is stopped is started in the background. Blocks with `sh no-run` are for reading.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{PATIENCE, Site, free_port, program, terminate};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// The blocks to run, with the line at which each begins.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        if info == "sh" {
            blocks.push((number, block.join("\n")));
        }
    }
    blocks
}

/// A reader's shell: one folder, one server, and what was started in the background.
struct Reader {
    site: Site,
    port: u16,
    background: Vec<Child>,
    /// Process groups of the blocks, which may have left something running.
    groups: Vec<Pid>,
}

impl Reader {
    fn new() -> Self {
        let site = Site::new();
        std::fs::create_dir(site.path("home")).unwrap();
        Self {
            site,
            port: free_port(),
            background: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn home(&self) -> PathBuf {
        self.site.path("home")
    }

    fn shell(&self, script: &str) -> Command {
        let binaries = Path::new(program().get_program()).parent().unwrap().to_owned();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.home())
            .env("PATH", path)
            .env("UNISONO_SERVER", format!("http://127.0.0.1:{}", self.port))
            .stdin(Stdio::null());
        shell
    }

    fn read(&mut self, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap();
        let blocks = blocks(&text);
        assert!(!blocks.is_empty(), "{} has no block to run", file.display());
        for (line, block) in blocks {
            let place = format!("{}:{line}", file.display());
            if block.starts_with("unisono dev") || block.starts_with("unisono server") {
                self.start(&format!("exec {block} --listen 127.0.0.1:{}", self.port));
                self.wait_for_the_server(&place);
            } else if block.starts_with("unisono agent") {
                self.start(&format!("exec {block}"));
            } else {
                self.run(&block, &place);
            }
        }
    }

    fn run(&mut self, block: &str, place: &str) {
        // Into a file: what the block leaves running would hold a pipe open.
        let said = self.site.path("said");
        let file = File::create(&said).unwrap();
        let mut shell = self.shell(block);
        shell.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let mut child = shell.spawn().unwrap();
        self.groups.push(Pid::from_child(&child));
        let begin = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begin.elapsed() > PATIENCE * 4 => break None,
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        };
        assert!(
            status.is_some_and(|status| status.success()),
            "{place}: {block}\n{}",
            String::from_utf8_lossy(&std::fs::read(said).unwrap())
        );
    }

    fn start(&mut self, command: &str) {
        let name = format!("background-{}", self.background.len());
        let child = self
            .shell(command)
            .stdout(self.site.log(&name))
            .stderr(self.site.log(&name))
            .spawn()
            .unwrap();
        self.background.push(child);
    }

    fn wait_for_the_server(&self, place: &str) {
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "{place}: the server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in self.background.iter_mut().rev() {
            terminate(child);
        }
        for group in &self.groups {
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }
}

fn guide(name: &str) -> PathBuf {
    repository().join("docs/guides").join(name)
}

#[test]
fn the_readme_works() {
    Reader::new().read(&repository().join("README.md"));
}

#[test]
fn getting_started_works() {
    Reader::new().read(&guide("getting-started.md"));
}

#[test]
fn the_guide_on_definitions_works() {
    Reader::new().read(&guide("definitions.md"));
}

#[test]
fn the_guide_on_operations_works() {
    Reader::new().read(&guide("operations.md"));
}

#[test]
fn the_guide_on_queries_works() {
    Reader::new().read(&guide("queries.md"));
}

#[test]
fn the_guide_on_values_and_locks_works() {
    Reader::new().read(&guide("values-and-locks.md"));
}

#[test]
fn the_guide_on_hosts_works() {
    Reader::new().read(&guide("hosts.md"));
}

#[test]
fn the_guide_on_rollouts_works() {
    Reader::new().read(&guide("rollouts.md"));
}

#[test]
fn the_guide_on_hooks_works() {
    Reader::new().read(&guide("hooks.md"));
}

#[test]
fn the_guide_on_the_tenant_works() {
    let mut reader = Reader::new();
    let (from, to) = (repository().join("examples"), reader.home().join("examples"));
    let copied = Command::new("cp").arg("-r").arg(from).arg(&to).status().unwrap();
    assert!(copied.success());
    let _ = std::fs::remove_dir_all(to.join("tenant/out"));
    reader.read(&guide("tenant.md"));
}
