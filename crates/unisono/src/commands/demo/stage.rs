//! What the demonstration stands on: a folder for temporary files, a server in this process, an agent in another one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use unisono_client::Client;
use unisono_node::{Node, NodeOptions};

use super::example;
use crate::child::AgentProcess;
use crate::cli::Global;
use crate::failure::Failure;

/// How long the leaving agent may take: its scripts are short.
const AGENT_LEAVES: Duration = Duration::from_secs(5);

/// Everything that must be taken down again. The agent's process goes when this is dropped, too.
pub(super) struct Stage {
    /// A client of the server.
    pub(super) client: Client,
    /// The folder: `example/`, `data/`, `out/` and `agent.log`.
    pub(super) directory: PathBuf,
    node: Node,
    agent: AgentProcess,
}

impl Stage {
    /// Makes the folder, starts the server and the agent.
    pub(super) async fn set(example: Option<&Path>, global: &Global) -> Result<Self, Failure> {
        let temporary = tempfile::Builder::new().prefix("unisono-demo-").tempdir();
        let temporary = temporary.map_err(|error| cannot("make a folder for temporary files", &error))?;
        prepare(temporary.path(), example)?;
        let options = NodeOptions::new(temporary.path().join("data"), ([127, 0, 0, 1], 0).into());
        let node = Node::start(options).await?;
        let server = format!("http://{}", node.address());
        let agent = start_agent(temporary.path(), &server, global)?;
        let client = global.client_of(&server)?;
        // From here on `clear` decides what is removed.
        Ok(Self {
            client,
            directory: temporary.keep(),
            node,
            agent,
        })
    }

    /// Waits until the server or the agent has ended by itself.
    pub(super) async fn trouble(&mut self) -> Failure {
        tokio::select! {
            problem = self.node.problem() => problem.into(),
            how = self.agent.ended() => Failure::work(format!("the agent {how}; it said:\n{}", log(&self.directory))),
        }
    }

    /// Ends the agent and the server, and removes what is not to be kept.
    pub(super) async fn clear(self, keep: bool) -> Result<(), Failure> {
        self.agent.stop(AGENT_LEAVES).await;
        self.node.shutdown().await?;
        if !keep {
            remove_all_but_the_files(&self.directory).map_err(|error| cannot("tidy up", &error))?;
        }
        Ok(())
    }
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::work(format!("cannot {what}: {error}"))
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("agent.log"))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn prepare(directory: &Path, example: Option<&Path>) -> Result<(), Failure> {
    fs::create_dir(directory.join("out")).map_err(|error| cannot("make the folder for the files", &error))?;
    let copy = directory.join("example");
    let Some(given) = example else {
        return example::write(&copy).map_err(|error| cannot("write the example", &error));
    };
    let whole = std::path::absolute(given).map_err(|error| cannot("find the example", &error))?;
    if !whole.join("agent.yaml").is_file() {
        let message = format!("{} has no agent.yaml", given.display());
        return Err(Failure::usage(
            message,
            "give --example a directory like examples/tenant",
        ));
    }
    std::os::unix::fs::symlink(whole, copy).map_err(|error| cannot("link to the example", &error))
}

fn start_agent(directory: &Path, server: &str, global: &Global) -> Result<AgentProcess, Failure> {
    let log = File::create(directory.join("agent.log")).map_err(|error| cannot("write the agent's log", &error))?;
    let config = directory.join("example/agent.yaml").display().to_string();
    let arguments = [
        "--server",
        server,
        "--namespace",
        global.namespace_name(),
        "--config",
        &config,
    ];
    let out = ("TENANT_OUT".into(), directory.join("out").into_os_string());
    // Shorter than AGENT_LEAVES, so that it is the agent who ends a script that takes long.
    let drain = ("UNISONO_AGENT_DRAIN_TIMEOUT".into(), "2s".into());
    AgentProcess::spawn(arguments, [out, drain], Stdio::from(log))
}

/// Only `out/` stays, and nothing at all when it is empty.
fn remove_all_but_the_files(directory: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(directory.join("data"))?;
    fs::remove_file(directory.join("agent.log"))?;
    let example = directory.join("example");
    // A link is removed, never what it points to.
    if example.is_symlink() {
        fs::remove_file(example)?
    } else {
        fs::remove_dir_all(example)?
    }
    if files_below(&directory.join("out")).is_empty() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// Every file below a folder, by its path from there. What cannot be read is left out.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => files.extend(path.strip_prefix(folder).map(Path::to_owned)),
                Err(_) => {}
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(folder: &Path) {
        prepare(folder, None).unwrap();
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("agent.log"), "").unwrap();
    }

    #[test]
    fn the_files_stay_and_everything_else_goes() {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path());
        fs::create_dir(folder.path().join("out/web")).unwrap();
        fs::write(folder.path().join("out/web/did.json"), "{}").unwrap();
        remove_all_but_the_files(folder.path()).unwrap();
        assert_eq!(files_below(folder.path()), [Path::new("out/web/did.json")]);
    }

    #[test]
    fn when_there_are_no_files_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path());
        remove_all_but_the_files(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn an_example_of_ones_own_is_used_where_it_lies_and_never_removed() {
        let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(own.path().join("agent.yaml"), "").unwrap();
        prepare(folder.path(), Some(own.path())).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("agent.log"), "").unwrap();
        remove_all_but_the_files(folder.path()).unwrap();
        assert!(own.path().join("agent.yaml").is_file());
    }
}
