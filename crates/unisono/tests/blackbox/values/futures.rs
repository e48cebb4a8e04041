//! Futures, from the waiting side and from the giving side.

use std::time::Duration;

use serde_json::json;
use unisono_model::name::Name;
use unisono_model::values::{DeclareRequest, FutureState, PutRequest};

use super::{code, json as content, lease, put, run, start, text};
use crate::harness::{Server, eventually};

const LONG: Duration = Duration::from_secs(30);

fn promise(producer: &str) -> DeclareRequest {
    DeclareRequest {
        producer: Name::parse(producer).unwrap(),
        schema: None,
        ttl_ms: None,
        lease: None,
        new_epoch: false,
    }
}

#[tokio::test]
async fn those_who_wait_are_seen_and_hear_of_the_value_at_once() {
    let server = Server::start();
    let client = server.client();
    let waiting = client.clone();
    let wait = tokio::spawn(async move { waiting.await_value("k", Some("app"), LONG).await });
    let waiters = eventually("somebody waits", || async {
        let waiters = client.waiters("k").await.unwrap();
        (!waiters.is_empty()).then_some(waiters)
    })
    .await;
    assert_eq!(waiters[0].party.as_ref().unwrap().as_str(), "app");
    assert_eq!(waiters[0].who, "the-test");
    put(&client, "k", json!(7)).await;
    assert_eq!(wait.await.unwrap().unwrap().value.unwrap().get(), "7");
    assert!(client.waiters("k").await.unwrap().is_empty());
}

#[tokio::test]
async fn who_is_gone_waits_no_more() {
    let server = Server::start();
    let mut child = start(&server, &["value", "await", "k", "--timeout", "1h", "--party", "gone"]);
    let client = server.client();
    eventually("it waits", || async {
        (client.waiters("k").await.unwrap().len() == 1).then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("nobody waits", || async {
        client.waiters("k").await.unwrap().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_promise_is_kept_by_its_producer_with_a_value_that_fits_once() {
    let server = Server::start();
    let client = server.client();
    let schema = serde_json::value::to_raw_value(&json!({"type": "object", "required": ["url"]})).unwrap();
    let declare = DeclareRequest {
        schema: Some(schema),
        ..promise("installer")
    };
    client.declare_future("db", &declare).await.unwrap();
    let keep = |party: &str, value| PutRequest {
        party: Some(Name::parse(party).unwrap()),
        ..PutRequest::new(content(value))
    };
    assert_eq!(
        code(client.put_value("db", &keep("other", json!({"url": "x"}))).await),
        "not-the-producer"
    );
    let misfit = client
        .put_value("db", &keep("installer", json!({"ulr": "x"})))
        .await
        .unwrap_err();
    assert!(misfit.to_string().contains("url: is required and missing"), "{misfit}");
    client
        .put_value("db", &keep("installer", json!({"url": "x"})))
        .await
        .unwrap();
    assert_eq!(
        code(client.put_value("db", &keep("installer", json!({"url": "y"}))).await),
        "future-settled"
    );
    assert_eq!(client.future("db").await.unwrap().state, FutureState::Kept);
    let anew = DeclareRequest {
        new_epoch: true,
        ..promise("installer")
    };
    assert_eq!(client.declare_future("db", &anew).await.unwrap().epoch, 2);
    assert!(client.find_value("db").await.unwrap().is_none());
}

#[tokio::test]
async fn a_producer_that_fails_or_withdraws_or_is_late_is_told_to_those_who_wait() {
    let server = Server::start();
    let client = server.client();
    let short = lease(&client, "p", Duration::from_millis(600)).await.id;
    let leased = DeclareRequest {
        lease: Some(short),
        ..promise("p")
    };
    let timed = DeclareRequest {
        ttl_ms: Some(600),
        ..promise("p")
    };
    for (key, request) in [
        ("leased", &leased),
        ("timed", &timed),
        ("broken", &promise("p")),
        ("withdrawn", &promise("p")),
    ] {
        client.declare_future(key, request).await.unwrap();
    }
    let waits = ["leased", "timed", "broken", "withdrawn"].map(|key| {
        let client = client.clone();
        tokio::spawn(async move { client.await_value(key, None, LONG).await })
    });
    eventually("all wait", || async {
        let pending = client
            .futures("", &unisono_client::PageRequest::default())
            .await
            .unwrap();
        pending.items.iter().all(|future| future.waiters == 1).then_some(())
    })
    .await;
    client.break_future("broken", "the pump is off").await.unwrap();
    client.withdraw_future("withdrawn").await.unwrap();
    let mut said = Vec::new();
    for wait in waits {
        let error = wait.await.unwrap().unwrap_err();
        said.push((error.code().unwrap().to_owned(), error.to_string()));
    }
    let expected = [
        ("broken-promise", "the lease of its producer was not renewed in time"),
        ("promise-expired", "its producer did not give it a value in time"),
        ("broken-promise", "the pump is off"),
        ("broken-promise", "the promise was withdrawn by the-test"),
    ];
    for ((code, text), (expected_code, expected_text)) in said.iter().zip(expected) {
        assert_eq!(code, expected_code, "{text}");
        assert!(text.contains(expected_text), "{text}");
    }
    assert_eq!(
        code(client.await_value("broken", None, LONG).await),
        "broken-promise",
        "also for who comes later"
    );
}

#[tokio::test]
async fn who_closes_a_cycle_of_waiting_is_told_the_whole_cycle() {
    let server = Server::start();
    let client = server.client();
    for (key, producer) in [("ka", "a"), ("kb", "b"), ("kc", "c")] {
        client.declare_future(key, &promise(producer)).await.unwrap();
    }
    let waits = [("kb", "a"), ("kc", "b")].map(|(key, party)| {
        let client = client.clone();
        tokio::spawn(async move { client.await_value(key, Some(party), LONG).await })
    });
    eventually("both wait", || async {
        let (b, c) = (client.waiters("kb").await.unwrap(), client.waiters("kc").await.unwrap());
        (b.len() + c.len() == 2).then_some(())
    })
    .await;
    let refused = run(&server, &["value", "await", "ka", "--party", "c"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains(
            "c waits for value ka, which a has to give; a waits for value kb, which b has to give; b waits for value kc, which c has to give"
        ),
        "{said}"
    );
    // The others wait on, and get what they wait for.
    let keep = |party: &str| PutRequest {
        party: Some(Name::parse(party).unwrap()),
        ..PutRequest::new(content(json!(1)))
    };
    client.put_value("kc", &keep("c")).await.unwrap();
    client.put_value("kb", &keep("b")).await.unwrap();
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_await_goes_on_through_a_restart_of_the_server() {
    let mut server = Server::start();
    let client = server.client();
    client.declare_future("k", &promise("p")).await.unwrap();
    let waiting = client.clone();
    let wait = tokio::spawn(async move { waiting.await_value("k", Some("app"), LONG).await });
    eventually("it waits", || async {
        (client.waiters("k").await.unwrap().len() == 1).then_some(())
    })
    .await;
    server.kill();
    server.restart();
    eventually("it waits again", || async {
        (client.waiters("k").await.unwrap().len() == 1).then_some(())
    })
    .await;
    let keep = PutRequest {
        party: Some(Name::parse("p").unwrap()),
        ..PutRequest::new(content(json!("at last")))
    };
    client.put_value("k", &keep).await.unwrap();
    assert_eq!(wait.await.unwrap().unwrap().value.unwrap().get(), "\"at last\"");
}
