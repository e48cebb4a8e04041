//! The `exec` processor, with real processes.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Running, completed, eventually, failed, task};
use tempfile::TempDir;
use unisono_agent::Agent;
use unisono_model::protocol::{AttemptResult, Outcome};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs a script once. It stands in a file, run by `sh FILE`: no test writes a file and executes it at the same time.
async fn run(script: &str, input: serde_json::Value) -> (AttemptResult, String) {
    let directory = directory();
    std::fs::write(directory.path().join("run.sh"), script).unwrap();
    let mut agent = Running::configured(directory.path(), "exec: {command: [sh, run.sh], timeout: 20s}").await;
    let result = agent.run(&input, &json!({"shared": [1]})).await;
    agent.leave().await.unwrap();
    result
}

fn alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[tokio::test]
async fn exit_code_0_completes_with_the_object_on_stdout() {
    let (result, log) = run("cat; echo working >&2; printf 'no newline' >&2", json!({"a": {"b": 1}})).await;
    assert_eq!(completed(&result), json!({"a": {"b": 1}}));
    assert_eq!(log, "working\nno newline\n");
    assert_eq!(completed(&run("true", json!({})).await.0), json!(null));
}

#[tokio::test]
async fn exit_code_75_is_a_retry_and_any_other_is_fatal_with_the_last_lines_of_stderr() {
    let (kind, code, message) = failed(&run("echo busy >&2; exit 75", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("retry", "exit-code"));
    assert_eq!(message, "`sh` asked to be run again (exit code 75): busy");
    let (kind, code, message) = failed(&run("echo first >&2; echo no such zone >&2; exit 3", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("fatal", "exit-code"));
    assert_eq!(message, "`sh` failed with exit code 3: first\nno such zone");
}

#[tokio::test]
async fn a_command_killed_by_a_signal_is_fatal_and_names_the_signal() {
    let (kind, code, message) = failed(&run("kill -SEGV $$", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("fatal", "signal"));
    assert!(message.contains("was killed by SIGSEGV (signal 11)"), "{message}");
}

#[tokio::test]
async fn stdout_that_is_no_object_is_fatal_and_shown() {
    for output in ["hello", "[1]", "{} {}"] {
        let (kind, code, message) = failed(&run(&format!("echo '{output}'"), json!({})).await.0);
        assert_eq!((kind, code.as_str()), ("fatal", "bad-output"));
        assert!(message.contains(&format!("it begins with {output:?}")), "{message}");
    }
}

#[tokio::test]
async fn a_stdout_without_end_is_stopped() {
    let (kind, code, _) = failed(&run("cat /dev/zero", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("fatal", "output-too-large"));
}

#[tokio::test]
async fn the_attempt_is_told_in_the_environment() {
    let script = r#"
        test "$UNISONO_INPUT_NAME" = "a b" && test "$UNISONO_INPUT_LIST" = '[1,2]' && test "$UNISONO_ATTEMPT" = 1 &&
        test "$UNISONO_ORCHESTRATION_ID" = run-1 && test "$UNISONO_ORCHESTRATION_TYPE" = tenant &&
        test "$UNISONO_ACTIVITY_ID" = step && test "$UNISONO_ACTIVITY_TYPE" = t &&
        test "$UNISONO_DISCRIMINATOR" = deploy && test "$UNISONO_NAMESPACE" = default &&
        test "$UNISONO_CORRELATION_ID" = "order 7" && test "$UNISONO_TOKEN" = 1-0000000000000007 &&
        test "$UNISONO_CONTEXT" = '{"shared":[1]}' && test "$UNISONO_INPUT" = "$(cat)" || { env >&2; exit 1; }
    "#;
    completed(&run(script, json!({"name": "a b", "list": [1, 2]})).await.0);
}

#[tokio::test]
async fn an_input_too_large_for_the_environment_still_comes_on_stdin() {
    let text = "x".repeat(300_000);
    let script =
        "test -z \"$UNISONO_INPUT_TEXT\" && test -z \"$UNISONO_INPUT\" && test \"$UNISONO_INPUT_N\" = 1 && cat";
    let (result, _) = run(script, json!({"text": text, "nul": "a\u{0}b", "n": 1})).await;
    assert_eq!(completed(&result)["text"], json!(text));
    assert_eq!(completed(&result)["nul"], json!("a\u{0}b"));
}

#[tokio::test]
async fn nothing_of_the_input_reaches_a_shell() {
    let directory = directory();
    let file = directory.path().join("pwned");
    let evil = format!("$(touch {0}); touch {0} | `touch {0}` && touch {0}", file.display());
    // Neither as an argument nor as a variable: printenv shows what a program gets.
    let mut agent = Running::configured(directory.path(), "exec: {command: [printenv, UNISONO_INPUT]}").await;
    let input = json!({ "name": evil, "; rm -rf /": evil });
    let (result, _) = agent.run(&input, &json!({})).await;
    assert_eq!(completed(&result), input);
    assert!(!file.exists());
    let mut agent = Running::configured(
        directory.path(),
        "exec: {command: [echo, \"{\\\"x\\\":1}\", \"$(touch pwned)\"]}",
    )
    .await;
    let (_, _, message) = failed(&agent.run(&input, &json!({})).await.0);
    assert!(message.contains("$(touch pwned)"), "{message}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_command_may_change_the_context_and_ask_to_wait_or_to_run_later() {
    let script = r#"echo '{"set": {"did": {"x": 1}}, "delete": ["old"]}' > "$UNISONO_CONTEXT_PATCH"; exit 75"#;
    let (result, _) = run(script, json!({})).await;
    let patch = serde_json::to_string(&result.patch.unwrap()).unwrap();
    assert_eq!(patch, r#"{"set":{"did":{"x": 1}},"delete":["old"]}"#);
    let (result, _) = run(r#"echo '{"wait": {"timeoutMs": 5000}}' > "$UNISONO_RESULT""#, json!({})).await;
    assert!(
        matches!(result.outcome, Outcome::Wait { timeout_ms: Some(5000) }),
        "{result:?}"
    );
    let (result, _) = run(r#"echo '{"schedule": {"afterMs": 10}}' > "$UNISONO_RESULT""#, json!({})).await;
    assert!(
        matches!(result.outcome, Outcome::Schedule { after_ms: 10 }),
        "{result:?}"
    );
    let (_, code, message) = failed(&run(r#"echo '{"later": 1}' > "$UNISONO_RESULT""#, json!({})).await.0);
    assert_eq!(code, "bad-output");
    assert!(
        message.contains("$UNISONO_RESULT is of no use") && message.contains("schedule"),
        "{message}"
    );
}

#[tokio::test]
async fn a_command_that_is_not_there_names_the_path_and_the_directory() {
    let directory = directory();
    let at = directory.path().display();
    for (exec, expected) in [
        (
            "{command: [./missing.sh]}",
            format!("cannot run `{at}/./missing.sh` in {at}: there is no such program"),
        ),
        (
            "{command: [no-such-program-7]}",
            format!("cannot run `no-such-program-7` in {at}: there is no such program"),
        ),
        (
            "{command: [sh], directory: gone}",
            format!("its directory {at}/gone does not exist"),
        ),
    ] {
        let mut agent = Running::configured(directory.path(), &format!("exec: {exec}")).await;
        let (kind, code, message) = failed(&agent.run(&json!({}), &json!({})).await.0);
        assert_eq!((kind, code.as_str()), ("fatal", "command-not-found"));
        assert!(message.contains(&expected), "{message}\nshould contain\n{expected}");
    }
    std::fs::write(directory.path().join("plain.txt"), "x").unwrap();
    let mut agent = Running::configured(directory.path(), "exec: {command: [./plain.txt]}").await;
    let (_, code, message) = failed(&agent.run(&json!({}), &json!({})).await.0);
    assert_eq!(code, "command-not-executable");
    assert!(message.contains("chmod +x"), "{message}");
}

/// A script that starts a grandchild, and says the ids of both in files.
const FAMILY: &str = "echo $$ > leader; sleep 1000 & echo $! > grandchild; ";

fn pid(directory: &Path, name: &str) -> Option<i32> {
    std::fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok()
}

async fn family(rest: &str, limits: &str) -> (TempDir, Running, i32, i32) {
    let directory = directory();
    std::fs::write(directory.path().join("run.sh"), format!("{FAMILY}{rest}")).unwrap();
    let agent = Running::configured(directory.path(), &format!("exec: {{command: [sh, run.sh]{limits}}}")).await;
    agent.send(task(1, "t", &json!({}), &json!({}))).await;
    eventually("both processes run", || {
        pid(directory.path(), "grandchild").is_some_and(alive)
    })
    .await;
    let (leader, grandchild) = (
        pid(directory.path(), "leader").unwrap(),
        pid(directory.path(), "grandchild").unwrap(),
    );
    (directory, agent, leader, grandchild)
}

#[tokio::test]
async fn a_cancelled_command_is_terminated_with_its_grandchildren() {
    let (directory, agent, leader, grandchild) = family("trap 'echo cleaned > trace; exit 0' TERM; wait", "").await;
    agent.cancel(1).await;
    eventually("the leader is gone", || !alive(leader)).await;
    eventually("the grandchild is gone", || !alive(grandchild)).await;
    assert_eq!(
        std::fs::read_to_string(directory.path().join("trace")).unwrap(),
        "cleaned\n"
    );
    eventually("no zombie is left", || !Path::new(&format!("/proc/{leader}")).exists()).await;
    agent.leave().await.unwrap();
}

#[tokio::test]
async fn a_command_that_ignores_the_polite_signal_is_killed_after_five_seconds() {
    let (_directory, agent, leader, grandchild) = family("trap '' TERM; while true; do sleep 1; done", "").await;
    let began = Instant::now();
    agent.cancel(1).await;
    eventually("the leader is gone", || !alive(leader)).await;
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("the grandchild is gone", || !alive(grandchild)).await;
}

#[tokio::test]
async fn a_command_over_its_time_is_stopped_and_is_a_retry() {
    let (_directory, mut agent, leader, grandchild) = family("wait", ", timeout: 300ms").await;
    let (kind, code, message) = failed(&agent.result().await.0);
    assert_eq!((kind, code.as_str()), ("retry", "timeout"));
    assert!(message.contains("took longer than 300ms"), "{message}");
    assert!(!alive(leader) && !alive(grandchild));
}

#[tokio::test]
async fn what_a_command_leaves_running_is_killed_when_it_ends() {
    let (_directory, mut agent, _, grandchild) = family("sleep 0.3; echo '{\"done\": true}'", "").await;
    let (result, _) = agent.result().await;
    assert_eq!(completed(&result), json!({"done": true}));
    eventually("the grandchild is gone", || !alive(grandchild)).await;
}

#[tokio::test]
async fn a_process_that_left_the_group_and_holds_the_pipe_does_not_hold_the_attempt() {
    let began = Instant::now();
    let (result, _) = run("setsid sleep 15 & echo '{\"a\": 1}'", json!({})).await;
    assert_eq!(completed(&result), json!({"a": 1}));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn an_agent_that_is_dropped_takes_its_commands_with_it() {
    let (_directory, agent, leader, grandchild) = family("wait", "").await;
    agent.agent.abort();
    eventually("both are gone", || !alive(leader) && !alive(grandchild)).await;
}

#[tokio::test]
async fn a_noisy_command_has_a_bounded_log() {
    let (result, log) = run("yes noise | head -c 3000000 >&2", json!({})).await;
    completed(&result);
    assert!(log.len() < 1_200_000, "{}", log.len());
    assert!(log.contains("the rest of this attempt's log is left out"));
}

#[tokio::test]
async fn an_output_that_no_frame_can_carry_is_a_fatal_error() {
    let (kind, code, _) = failed(
        &run(
            "printf '{\"x\":\"'; head -c 2000000 /dev/zero | tr '\\0' x; printf '\"}'",
            json!({}),
        )
        .await
        .0,
    );
    assert_eq!((kind, code.as_str()), ("fatal", "too-large"));
}

#[test]
fn names_of_the_agents_own_variables_are_refused() {
    let text = "activities: [{type: t, exec: {command: [x], environment: {UNISONO_TOKEN: x}}}]";
    let error = unisono_agent::AgentConfig::parse(text, Path::new("a.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("environment.UNISONO_TOKEN: names that begin with UNISONO_ are the agent's own"),
        "{error}"
    );
    assert!(Agent::builder().build().is_err());
}
