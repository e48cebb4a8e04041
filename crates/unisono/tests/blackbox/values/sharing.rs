//! Reading and writing values.

use std::time::Duration;

use serde_json::json as value;
use unisono_client::{PageRequest, Swap};
use unisono_model::key::Key;
use unisono_model::values::{
    Condition, Content, Expectation, OperationRequest, OperationResult, PutRequest, TransactionRequest,
};

use super::{code, content, json, put, put_for, run, text};
use crate::harness::Server;

#[tokio::test]
async fn a_value_tells_its_revisions_versions_and_writer() {
    let server = Server::start();
    let client = server.client();
    let first = put(&client, "a/b", value!({"x": 1})).await;
    let second = put(&client, "a/b", value!(2)).await;
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(second.create_revision, first.revision);
    assert!(second.revision > first.revision);
    let view = client.value("a/b").await.unwrap();
    assert_eq!(view.value.unwrap().get(), "2");
    assert_eq!(view.writer.as_deref(), Some("the-test"));
    assert_eq!((view.version, view.revision), (2, second.revision));
    let other = server.client_of("other");
    assert!(other.find_value("a/b").await.unwrap().is_none(), "namespaces are apart");
    client.delete_value("a/b", None).await.unwrap();
    let again = put(&client, "a/b", value!(3)).await;
    assert_eq!(again.version, 1, "it is a new value");
    assert_eq!(client.delete_value("nothing/here", None).await.unwrap().revision, None);
}

#[tokio::test]
async fn what_is_written_differently_and_means_the_same_is_the_same() {
    let server = Server::start();
    let client = server.client();
    put(&client, "a", value!({"x": 1, "y": [true, null]})).await;
    let expected = Content::Json(serde_json::from_str("{ \"y\": [true,null], \"x\":1 }").unwrap());
    let swapped = client
        .compare_and_swap("a", expected, json(value!(2)), Duration::from_secs(60))
        .await;
    assert!(matches!(swapped.unwrap(), Swap::Done(_)));
    let other = json(value!({"x": 1}));
    let refused = client
        .compare_and_swap("a", other, json(value!(3)), Duration::from_secs(60))
        .await
        .unwrap();
    let Swap::Refused(Some(current)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(current.value.unwrap().get(), "2");
}

#[tokio::test]
async fn three_operations_make_a_lease_of_a_value() {
    let server = Server::start();
    let client = server.client();
    let (mine, yours) = (|| json(value!("mine")), || json(value!("yours")));
    let ttl = Duration::from_secs(2);
    let Swap::Done(granted) = client.insert_if_absent("lease", mine(), ttl).await.unwrap() else {
        panic!("nobody has it");
    };
    let Swap::Refused(Some(held)) = client.insert_if_absent("lease", yours(), ttl).await.unwrap() else {
        panic!("somebody has it");
    };
    assert_eq!(held.value.unwrap().get(), "\"mine\"");
    assert!(held.expires_at.is_some());
    assert!(matches!(
        client.compare_and_swap("lease", yours(), yours(), ttl).await.unwrap(),
        Swap::Refused(Some(_))
    ));
    let Swap::Done(renewed) = client.compare_and_swap("lease", mine(), mine(), ttl).await.unwrap() else {
        panic!("it is mine");
    };
    assert_eq!(
        renewed.create_revision, granted.revision,
        "the token of the grant stays"
    );
    assert!(matches!(
        client.compare_and_delete("lease", yours()).await.unwrap(),
        Swap::Refused(Some(_))
    ));
    assert!(matches!(
        client.compare_and_delete("lease", mine()).await.unwrap(),
        Swap::Done(())
    ));
    let Swap::Done(next) = client.insert_if_absent("lease", yours(), ttl).await.unwrap() else {
        panic!("it is free");
    };
    assert!(next.create_revision > granted.create_revision, "tokens grow");
}

#[tokio::test]
async fn a_transaction_does_everything_or_nothing() {
    let server = Server::start();
    let client = server.client();
    let key = |text: &str| Key::parse(text).unwrap();
    put(&client, "from", value!(10)).await;
    let transfer = |expected: i32| TransactionRequest {
        r#if: vec![
            Condition {
                key: key("from"),
                is: Expectation::content(json(value!(expected))),
            },
            Condition {
                key: key("to"),
                is: Expectation::absent(),
            },
        ],
        then: vec![
            OperationRequest::Get { key: key("from") },
            OperationRequest::Delete {
                key: key("from"),
                fence: None,
                lock: None,
            },
            OperationRequest::Put {
                key: key("to"),
                with: Box::new(PutRequest::new(json(value!(expected)))),
            },
        ],
        party: None,
    };
    assert_eq!(code(client.transact(&transfer(11)).await), "condition-failed");
    assert_eq!(content(&client, "from").await.as_deref(), Some("10"));
    let done = client.transact(&transfer(10)).await.unwrap();
    let [
        OperationResult::Get(Some(before)),
        OperationResult::Delete(_),
        OperationResult::Put(_),
    ] = &done.results[..]
    else {
        panic!("{done:?}");
    };
    assert_eq!(
        before.value.as_ref().unwrap().get(),
        "10",
        "it reads what was there before"
    );
    assert_eq!(content(&client, "from").await, None);
    assert_eq!(content(&client, "to").await.as_deref(), Some("10"));
}

#[tokio::test]
async fn pages_of_a_range_hold_every_key_once_and_in_order() {
    let server = Server::start();
    let client = server.client();
    for number in 0..25 {
        put(&client, &format!("k/{number:02}"), value!(number)).await;
    }
    put(&client, "l", value!(0)).await;
    let (mut keys, mut page) = (
        Vec::new(),
        PageRequest {
            limit: Some(10),
            page_token: None,
        },
    );
    loop {
        let next = client.values("k/", &page).await.unwrap();
        keys.extend(next.items.iter().map(|item| item.key.to_string()));
        page.page_token = next.next_page_token;
        if page.page_token.is_none() {
            break;
        }
    }
    assert_eq!(keys, (0..25).map(|number| format!("k/{number:02}")).collect::<Vec<_>>());
    // A page of large values is cut short, and says so.
    let large = "x".repeat(1_000_000);
    for number in 0..9 {
        put(&client, &format!("large/{number}"), value!(large)).await;
    }
    let first = client.values("large/", &PageRequest::default()).await.unwrap();
    assert!(
        first.items.len() < 9 && first.next_page_token.is_some(),
        "{} items",
        first.items.len()
    );
}

#[tokio::test]
async fn what_expires_is_there_until_its_time_is_over_and_then_for_nobody() {
    let server = Server::start();
    let client = server.client();
    let written = put_for(&client, "short", 700).await;
    put_for(&client, "kept", 700).await;
    put(&client, "kept", value!("for ever")).await;
    let until = written.expires_at.unwrap();
    loop {
        let before = now();
        let found = client.find_value("short").await.unwrap();
        let after = now();
        match found {
            Some(_) => assert!(before < until.0 + 1_000, "it should have expired at {until}"),
            None => {
                assert!(after >= until.0, "it has expired before {until}");
                break;
            }
        }
    }
    // What has expired is in nobody's way.
    let inserted = client
        .insert_if_absent("short", json(value!(1)), Duration::from_secs(9))
        .await;
    assert!(matches!(inserted.unwrap(), Swap::Done(_)));
    assert!(content(&client, "kept").await.is_some());
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn what_is_sensitive_is_shown_to_who_gets_it_and_to_nobody_else() {
    let server = Server::start();
    let client = server.client();
    let secret = PutRequest {
        sensitive: Some(true),
        ..PutRequest::new(json(value!("s3cr3t")))
    };
    client.put_value("db/password", &secret).await.unwrap();
    put(&client, "db/password", value!("s3cr3t-2")).await;
    assert_eq!(content(&client, "db/password").await.as_deref(), Some("\"s3cr3t-2\""));
    let awaited = client
        .await_value("db/password", None, Duration::from_secs(9))
        .await
        .unwrap();
    assert_eq!(awaited.value.unwrap().get(), "\"s3cr3t-2\"");
    let listed = client.values("", &PageRequest::default()).await.unwrap();
    assert!(listed.items[0].sensitive && listed.items[0].content().is_none());
    let refused = client
        .compare_and_swap("db/password", json(value!(1)), json(value!(2)), Duration::from_secs(9))
        .await;
    let mut seen = format!("{refused:?}{listed:?}");
    let http = reqwest::Client::new();
    let values = format!("{}/api/v1/namespaces/default/values", server.url());
    let watch = http
        .get(format!("{values}?after=0"))
        .header("accept", "text/event-stream");
    let mut watch = watch.send().await.unwrap();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(Duration::from_millis(500), watch.chunk()).await {
        seen.push_str(&text(&piece));
    }
    assert!(seen.contains("\"sensitive\":true"), "{seen}");
    for arguments in [
        &["value", "list"][..],
        &["value", "watch", "--prefix", "", "--after", "0", "--count", "2"],
    ] {
        let ran = run(&server, arguments);
        assert!(ran.status.success(), "{ran:?}");
        seen.push_str(&text(&ran.stdout));
        let ran = run(&server, &[arguments, &["--output", "json"][..]].concat());
        seen.push_str(&text(&ran.stdout));
    }
    let data = server.data().display().to_string();
    let inspected = text(&run(&server, &["journal", "inspect", "--data", &data]).stdout);
    assert!(inspected.contains("db/password"), "{inspected}");
    seen.push_str(&inspected);
    seen.push_str(&client.metrics().await.unwrap());
    seen.push_str(&server.site().logged("server"));
    assert!(!seen.contains("s3cr3t"), "{seen}");
}

#[tokio::test]
async fn bytes_come_back_as_they_were() {
    let server = Server::start();
    let file = server.site().path("bytes");
    std::fs::write(&file, [0, 255, 10, 13]).unwrap();
    let given = format!("@{}", file.display());
    let set = run(
        &server,
        &["value", "set", "b", &given, "--bytes", "--content-type", "image/x-icon"],
    );
    assert!(set.status.success(), "{set:?}");
    assert_eq!(run(&server, &["value", "get", "b"]).stdout, [0, 255, 10, 13]);
    let view = server.client().value("b").await.unwrap();
    assert_eq!(view.content_type, "image/x-icon");
}

#[tokio::test]
async fn on_the_command_line_a_refused_condition_shows_what_is_there_and_lists_have_a_line_for_each() {
    let server = Server::start();
    let client = server.client();
    put(&client, "k", serde_json::json!({"a": 1})).await;
    put(&client, "l", serde_json::json!("x".repeat(1_000))).await;
    for (key, shows) in [("k", "and holds {\"a\":1}"), ("l", "xxx…")] {
        let refused = run(&server, &["value", "cas", key, "2", "3"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(shows), "{}", text(&refused.stderr));
    }
    run(&server, &["value", "set", "secret", "1234567", "--sensitive"]);
    let refused = run(&server, &["value", "cas", "secret", "2", "3"]);
    assert!(!text(&refused.stderr).contains("1234567"), "{}", text(&refused.stderr));
    let listed = text(&run(&server, &["value", "list", "--output", "jsonl"]).stdout);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(!listed.contains("1234567"));
}
