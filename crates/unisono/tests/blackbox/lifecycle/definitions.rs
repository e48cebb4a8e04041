//! Definitions and their versions, and starts that can be repeated.

use serde_json::json;
use unisono_client::DefinitionFamily::{Activity, Orchestration};
use unisono_client::PageRequest;
use unisono_model::api::{DefinitionChange, OrchestrationState, StartRequest};

use crate::harness::{Server, ServerSetup, activity, apply, finished, in_state, request, request_with};
use unisono_model::api::ActivityState;

const TYPES: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: slow}\n---\n";
const SLOW: &str = r#"while [ ! -e "$SITE/go" ]; do sleep 0.05; done"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_the_version_that_it_started_with() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").exec("slow", SLOW).start();
    let client = server.client();
    let first =
        format!("{TYPES}{{type: t, activities: [{{id: a, type: slow}}, {{id: old, type: echo, dependsOn: a}}]}}");
    let second = "{type: t, activities: [{id: a, type: echo}, {id: new, type: echo, dependsOn: a}]}";
    let changes = apply(&client, &first).await.applied;
    assert!(
        changes
            .iter()
            .all(|it| it.change == DefinitionChange::Created && it.version == 1)
    );
    let again = apply(&client, &first).await.applied;
    assert!(
        again
            .iter()
            .all(|it| it.change == DefinitionChange::Unchanged && it.version == 1)
    );
    client.start(&request("before", "t")).await.unwrap();
    in_state(&client, "before", "a", ActivityState::Running).await;
    let changed = &apply(&client, second).await.applied[0];
    assert_eq!((changed.version, changed.change), (2, DefinitionChange::Updated));
    let after = client.start(&request("after", "t")).await.unwrap();
    let pinned = client
        .start(&StartRequest {
            version: Some(1),
            ..request("pinned", "t")
        })
        .await
        .unwrap();
    assert_eq!((after.version, pinned.version), (2, 1));
    // Also when the definitions come back from the disk.
    server.kill();
    server.restart();
    std::fs::write(server.site().path("go"), "").unwrap();
    for (id, version, last) in [("before", 1, "old"), ("after", 2, "new"), ("pinned", 1, "old")] {
        let view = finished(&client, id).await;
        assert_eq!(
            (view.summary.state, view.summary.version),
            (OrchestrationState::Completed, version),
            "{id}"
        );
        assert_eq!(activity(&view, last).state, ActivityState::Completed, "{id}");
    }
    let newest = client.definition(Orchestration, "t", None).await.unwrap();
    let oldest = client.definition(Orchestration, "t", Some(1)).await.unwrap();
    assert_eq!((newest.version, oldest.version), (2, 1));
    assert!(oldest.definition.get().contains("old") && newest.definition.get().contains("new"));
    let missing = client
        .start(&StartRequest {
            version: Some(3),
            ..request("x", "t")
        })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Some("version-not-found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_definition_refuses_new_starts_and_lets_runs_go_on() {
    let server = Server::start();
    let _agent = server.agent("worker").exec("slow", SLOW).start();
    let client = server.client();
    apply(
        &client,
        &format!("{TYPES}{{type: t, activities: [{{id: a, type: slow}}]}}"),
    )
    .await;
    client.start(&request("before", "t")).await.unwrap();
    apply(&client, "{type: t, active: false, activities: [{id: a, type: slow}]}").await;
    for start in [
        request("after", "t"),
        StartRequest {
            version: Some(1),
            ..request("pinned", "t")
        },
    ] {
        assert_eq!(
            client.start(&start).await.unwrap_err().code(),
            Some("definition-inactive")
        );
    }
    assert!(
        !client.start(&request("before", "t")).await.unwrap().created,
        "what exists may be asked for again"
    );
    std::fs::write(server.site().path("go"), "").unwrap();
    assert_eq!(
        finished(&client, "before").await.summary.state,
        OrchestrationState::Completed
    );
    apply(&client, "{type: t, active: true, activities: [{id: a, type: slow}]}").await;
    client.start(&request("after", "t")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_cannot_be_deleted_and_its_users_are_named() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").exec("slow", SLOW).start();
    let client = server.client();
    apply(
        &client,
        &format!(
            "{TYPES}{{type: one, activities: [{{id: a, type: slow}}, {{id: b, type: echo, dependsOn: a}}]}}\n---\n
{{type: two, activities: [{{id: a, type: echo}}]}}"
        ),
    )
    .await;
    client.start(&request("r", "one")).await.unwrap();
    let refused = client.delete_definition(Activity, "echo").await.unwrap_err();
    assert_eq!(refused.code(), Some("definition-in-use"));
    assert!(
        refused
            .to_string()
            .starts_with(r#"activity definition "echo" is used by "one", "two""#),
        "{refused}"
    );
    for r#type in ["one", "two"] {
        client.delete_definition(Orchestration, r#type).await.unwrap();
    }
    client.delete_definition(Activity, "echo").await.unwrap();
    server.kill();
    server.restart();
    for (family, gone) in [(Activity, "echo"), (Orchestration, "one")] {
        assert_eq!(
            client.definition(family, gone, None).await.unwrap_err().code(),
            Some("definition-not-found")
        );
        assert_eq!(
            client.delete_definition(family, gone).await.unwrap_err().code(),
            Some("definition-not-found")
        );
    }
    assert_eq!(
        client.start(&request("x", "one")).await.unwrap_err().code(),
        Some("definition-not-found")
    );
    let left = client
        .definitions(Activity, &PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(left.iter().map(|it| it.r#type.as_str()).collect::<Vec<_>>(), ["slow"]);
    // A run that began before goes on to its end.
    std::fs::write(server.site().path("go"), "").unwrap();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
    // A type that comes back is a new version, not the old one.
    assert_eq!(
        apply(&client, "{kind: ActivityDefinition, type: echo}").await.applied[0].version,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_the_callers_id_can_be_repeated_and_never_means_something_else() {
    // Checkpoints at every moment, so that what has ended is known from everywhere it can be known from.
    let mut server = ServerSetup::default().checkpoint_bytes(1).start();
    let mut agent = server.agent("worker").echo("echo").exec("slow", SLOW).start();
    let client = server.client();
    apply(
        &client,
        &format!("{TYPES}{{type: t, activities: [{{id: a, type: slow, inputs: [n]}}]}}"),
    )
    .await;
    let mut start = request_with("r", "t", &json!({"n": 1, "more": {"x": [1], "y": null}}));
    start.correlation_id = Some("order 7".to_owned());
    start.labels.insert("team".to_owned(), "payments".to_owned());
    let same = {
        let input = r#"{"more": {"y": null, "x": [1]},   "n": 1}"#.to_owned();
        StartRequest {
            input: Some(serde_json::value::RawValue::from_string(input).unwrap()),
            ..start.clone()
        }
    };
    let mut others = vec![
        StartRequest {
            input: request_with("", "", &json!({"n": 2})).input,
            ..start.clone()
        },
        StartRequest {
            correlation_id: Some("order 8".to_owned()),
            ..start.clone()
        },
        StartRequest {
            version: Some(1),
            ..start.clone()
        },
    ];
    others.push(StartRequest {
        labels: [("team".to_owned(), "search".to_owned())].into(),
        ..start.clone()
    });
    assert!(client.start(&start).await.unwrap().created);
    let repeated = async |moment: &str| {
        for same in [&start, &same] {
            let answer = client.start(same).await.unwrap();
            assert_eq!(
                (answer.id.as_str(), answer.version, answer.created),
                ("r", 1, false),
                "{moment}"
            );
        }
        for other in &others {
            let code = client.start(other).await.unwrap_err().code().map(str::to_owned);
            assert_eq!(code.as_deref(), Some("id-taken"), "{moment}");
        }
    };
    repeated("while it is open").await;
    server.kill();
    server.restart();
    repeated("while it is open, after a crash").await;
    std::fs::write(server.site().path("go"), "").unwrap();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
    repeated("after its end").await;
    server.kill();
    server.restart();
    repeated("after its end and a crash").await;
    assert!(agent.terminate().status.success());
    assert!(server.terminate().status.success());
    server.restart();
    repeated("after its end and a restart in order").await;
    assert!(
        client.start(&request("new", "t")).await.unwrap().created,
        "others can be started then"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_know_nothing_of_each_other() {
    let server = Server::start();
    let (one, two) = (server.client_of("one"), server.client_of("two"));
    let _agent = server.agent("worker").namespace("one").echo("echo").start();
    let definition = format!("{TYPES}{{type: t, activities: [{{id: a, type: echo}}]}}");
    apply(&one, &definition).await;
    assert_eq!(
        two.start(&request("r", "t")).await.unwrap_err().code(),
        Some("definition-not-found")
    );
    apply(&two, &definition).await;
    assert!(one.start(&request("r", "t")).await.unwrap().created);
    assert!(two.start(&request("r", "t")).await.unwrap().created);
    assert_eq!(finished(&one, "r").await.summary.state, OrchestrationState::Completed);
    assert_eq!(
        two.orchestration("r").await.unwrap().summary.state,
        OrchestrationState::Initialized
    );
    assert!(two.agents().await.unwrap().items.is_empty());
    one.delete_definition(Orchestration, "t").await.unwrap();
    two.definition(Orchestration, "t", None).await.unwrap();
}
