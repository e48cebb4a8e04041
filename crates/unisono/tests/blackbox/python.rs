//! An agent in another language, over a stock WebSocket library, does all that an agent can.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use unisono_client::PageRequest;
use unisono_model::api::{ActivityState, CompleteRequest, OrchestrationState, OrchestrationView};

use crate::harness::{Server, activity, apply, eventually, finished, in_state, kinds, request_with, terminate};

const INSTALL: &str = "install Python 3.10 or newer with its venv module (apt-get install python3 python3-venv)";

/// A folder with the interpreter and the libraries that the script needs; kept between runs.
fn environment() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let ready = environment.join("ready");
    if std::fs::read_to_string(&ready).is_ok_and(|installed| installed == wanted) {
        return environment;
    }
    succeed(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
        INSTALL,
    );
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(requirements);
    succeed(
        &mut pip,
        "pip could not install what tests/python/requirements.txt names; is there a network?",
    );
    std::fs::write(ready, wanted).unwrap();
    environment
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn succeed(command: &mut Command, help: &str) {
    match command.output() {
        Err(error) => panic!("{command:?}: {error}; {help}"),
        Ok(output) if !output.status.success() => {
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            panic!("{command:?}: {}\n{}{help}", output.status, said.concat());
        }
        Ok(_) => {}
    }
}

/// The script, running. Killed when dropped.
struct Script(Child);

impl Script {
    fn start(server: &Server) -> Self {
        let mut command = Command::new(environment().join("bin/python"));
        command
            .arg(folder().join("agent.py"))
            .args([server.url().as_str(), "default", "python"]);
        let log = server.site().log("python");
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DEFINITIONS: &str = "
{kind: ActivityDefinition, type: echo.py}
---
{kind: ActivityDefinition, type: counter.py}
---
{kind: ActivityDefinition, type: flaky.py}
---
{kind: ActivityDefinition, type: wait.py}
---
{kind: ActivityDefinition, type: fatal.py}
---
type: everything
activities:
- {id: echo, type: echo.py, inputs: [greeting]}
- {id: counter, type: counter.py}
- {id: flaky, type: flaky.py, dependsOn: echo}
- {id: wait, type: wait.py, dependsOn: [counter, flaky]}
- {id: last, type: echo.py, dependsOn: wait, inputs: [wait.answer, counter.count]}
---
{type: fatal, activities: [{id: a, type: fatal.py}]}
";

fn output(view: &OrchestrationView) -> Value {
    serde_json::from_str(view.output.as_ref().unwrap().get()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_python_speaks_the_whole_protocol() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let mut script = Script::start(&server);
    for id in ["first", "second"] {
        client
            .start(&request_with(id, "everything", &json!({"greeting": "grüß dich"})))
            .await
            .unwrap();
        let waits = in_state(&client, id, "wait", ActivityState::Waiting).await;
        if id == "second" {
            // The same process connects again, and goes on.
            server.kill();
            server.restart();
        }
        let answer = serde_json::value::to_raw_value(&json!({"answer": 42})).unwrap();
        let token = waits.token.unwrap().to_string();
        client
            .complete(
                id,
                "wait",
                &CompleteRequest {
                    token,
                    output: Some(answer),
                    context: None,
                },
            )
            .await
            .unwrap();
        let view = finished(&client, id).await;
        assert_eq!(view.summary.state, OrchestrationState::Completed, "{}", view.reason);
        let expected = json!({"echo": {"greeting": "grüß dich"}, "counter": {"count": 3}, "flaky": {"attempt": 2},
            "wait": {"answer": 42}, "last": {"answer": 42, "count": 3}});
        assert_eq!(output(&view), expected);
        assert_eq!(view.context["count"].value.get(), "3");
        assert!(
            !view.context.contains_key("note"),
            "it was deleted with the last result"
        );
        assert_eq!(activity(&view, "counter").attempts, 3);
    }
    let saved = kinds(&client, "first")
        .await
        .iter()
        .filter(|kind| *kind == "contextSaved counter")
        .count();
    assert!(saved >= 1, "context changes on the way");
    let logs = client
        .logs("first", Some("flaky"), None, &PageRequest::default())
        .await
        .unwrap()
        .items;
    let texts: Vec<&str> = logs.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(texts, ["flaky.py, attempt 1", "flaky.py, attempt 2"]);
    client.start(&request_with("bad", "fatal", &json!({}))).await.unwrap();
    let view = finished(&client, "bad").await;
    assert_eq!(
        view.reason,
        "activity a failed: attempt 1 fails because its type says so"
    );
    let left = terminate(&mut script.0);
    assert!(left.status.success(), "{left:?}");
    eventually("it said goodbye", || async {
        client.agents().await.unwrap().items.is_empty().then_some(())
    })
    .await;
}
