//! An agent process, with scripts that it runs.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use super::server::{Ended, terminate};
use super::{Site, program, signal};

/// An agent, before it is started.
pub(crate) struct AgentSetup {
    site: Arc<Site>,
    server: String,
    name: String,
    namespace: String,
    concurrency: u32,
    echo: Vec<String>,
    activities: String,
    options: Vec<String>,
}

impl AgentSetup {
    pub(super) fn new(site: Arc<Site>, server: String, name: &str) -> Self {
        std::fs::create_dir_all(site.path(name)).unwrap();
        Self {
            site,
            server,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            concurrency: 8,
            echo: Vec::new(),
            activities: String::new(),
            options: Vec::new(),
        }
    }

    pub(crate) fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    pub(crate) fn concurrency(mut self, attempts: u32) -> Self {
        self.concurrency = attempts;
        self
    }

    /// More options of the command.
    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Completes activities of this type with their input as the output.
    pub(crate) fn echo(mut self, activity_type: &str) -> Self {
        self.echo.push(activity_type.to_owned());
        self
    }

    /// Runs activities of this type by a `sh` script. `$SITE` is the folder of the test; `note TEXT` adds the text,
    /// with the run, activity and attempt in front, to the file `executions` there, in one write.
    pub(crate) fn exec(self, activity_type: &str, script: &str) -> Self {
        self.exec_with(activity_type, script, "")
    }

    /// The same, with more of the processor's settings, such as `timeout: 1s`.
    pub(crate) fn exec_with(mut self, activity_type: &str, script: &str, settings: &str) -> Self {
        let (site, file) = (
            self.site.path("").display().to_string(),
            self.directory().join(activity_type),
        );
        let note = "note() { echo \"$UNISONO_ORCHESTRATION_ID $UNISONO_ACTIVITY_ID $UNISONO_ATTEMPT $*\" \
                    >> \"$SITE/executions\"; }";
        std::fs::write(&file, format!("#!/bin/sh\nset -eu\nSITE='{site}'\n{note}\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        let settings = if settings.is_empty() {
            String::new()
        } else {
            format!(", {settings}")
        };
        writeln!(
            self.activities,
            "  - {{type: {activity_type}, exec: {{command: [./{activity_type}]{settings}}}}}"
        )
        .unwrap();
        self
    }

    fn directory(&self) -> PathBuf {
        self.site.path(&self.name)
    }

    /// Starts it; it connects in its own time.
    pub(crate) fn start(self) -> AgentProcess {
        if !self.activities.is_empty() {
            let config = format!("activities:\n{}", self.activities);
            std::fs::write(self.directory().join("agent.yaml"), config).unwrap();
        }
        let child = self.launch();
        AgentProcess {
            setup: self,
            child: Some(child),
        }
    }

    fn launch(&self) -> Child {
        let mut command = program();
        command.args([
            "agent",
            "--name",
            &self.name,
            "--server",
            &self.server,
            "--namespace",
            &self.namespace,
        ]);
        command.args(["--concurrency", &self.concurrency.to_string()]);
        command.args(&self.options);
        for activity_type in &self.echo {
            command.args(["--echo", activity_type]);
        }
        if !self.activities.is_empty() {
            command.arg("--config").arg(self.directory().join("agent.yaml"));
        }
        command
            .stdout(Stdio::null())
            .stderr(self.site.log(&self.name))
            .spawn()
            .unwrap()
    }
}

/// A running agent. Killed when dropped, with what it runs.
pub(crate) struct AgentProcess {
    setup: AgentSetup,
    child: Option<Child>,
}

impl AgentProcess {
    /// `kill -9`. What it runs goes on.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Starts it again after it has ended, as a new incarnation.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "the agent runs already");
        self.child = Some(self.setup.launch());
    }

    /// `SIGTERM`, and waits for the end.
    pub(crate) fn terminate(&mut self) -> Ended {
        terminate(&mut self.child.take().unwrap())
    }

    /// `SIGTERM`, and waits for nothing.
    pub(crate) fn ask_to_leave(&self) {
        signal(self.child.as_ref().unwrap(), Signal::TERM);
    }

    /// Waits for its end after [`AgentProcess::ask_to_leave`].
    pub(crate) fn left(&mut self) -> std::process::ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// `SIGSTOP`: it is there, and does nothing. What it runs goes on.
    pub(crate) fn pause(&self) {
        signal(self.child.as_ref().unwrap(), Signal::STOP);
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().unwrap(), Signal::CONT);
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        let scripts = children(child.id());
        self.kill();
        for script in scripts {
            // Each leads a group of its own.
            let _ = rustix::process::kill_process_group(script, Signal::KILL);
            let _ = kill_process(script, Signal::KILL);
        }
    }
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
