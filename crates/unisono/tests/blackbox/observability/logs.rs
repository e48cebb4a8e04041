//! Logs whose levels are changed while the server runs.

use serde_json::Value;
use unisono_client::ClientError;
use unisono_model::api::LogFilter;

use crate::harness::{Server, ServerSetup, apply, eventually, program};

const NOTHING: &str = "{kind: ActivityDefinition, type: work}";

fn filter(text: &str) -> LogFilter {
    LogFilter {
        filter: text.to_owned(),
    }
}

fn log_level(server: &Server, words: &[&str]) -> (bool, String) {
    let ran = program()
        .args(["log-level", "--server", &server.url()])
        .args(words)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap().trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_says_more_after_the_level_was_raised_and_no_more_after_it_was_lowered() {
    let server = ServerSetup::default()
        .options(&["--log", "info", "--log-format", "json"])
        .start();
    assert_eq!(log_level(&server, &[]), (true, "info".to_owned()));
    let client = server.client();
    apply(&client, NOTHING).await;
    assert!(!server.site().logged("server").contains("DEBUG"));
    let raised = "info,unisono_node::api=debug";
    assert_eq!(log_level(&server, &[raised]), (true, raised.to_owned()));
    apply(&client, NOTHING).await;
    eventually("a line of the level debug", || async {
        server.site().logged("server").contains("\"DEBUG\"").then_some(())
    })
    .await;
    client.set_log_filter(&filter("warn")).await.unwrap();
    let before = server.site().logged("server").len();
    apply(&client, NOTHING).await;
    client.metrics().await.unwrap();
    assert_eq!(server.site().logged("server")[before..].matches("DEBUG").count(), 0);
    for line in server.site().logged("server").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["target"].is_string() && line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_not_understood_is_refused_with_the_reason_and_changes_nothing() {
    let server = Server::start();
    let client = server.client();
    let before = client.log_filter().await.unwrap();
    let refused = client
        .set_log_filter(&filter("info,unisono_node=loud"))
        .await
        .unwrap_err();
    let ClientError::Problem(problem) = refused else {
        panic!("{refused}")
    };
    assert_eq!((problem.status, &*problem.code), (400, "bad-log-filter"));
    assert!(
        problem
            .detail
            .starts_with("\"unisono_node=loud\" is no log directive: "),
        "{}",
        problem.detail
    );
    let (worked, said) = log_level(&server, &["inof"]);
    assert!(!worked && said.contains("there is no such level"), "{said}");
    assert_eq!(client.log_filter().await.unwrap(), before);
}

#[test]
fn a_server_does_not_start_with_a_filter_that_is_not_understood() {
    let ran = program().args(["server", "--log", "info,x=loud"]).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("\"x=loud\" is no log directive"), "{said}");
}
