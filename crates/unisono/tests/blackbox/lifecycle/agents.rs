//! Agents that come, go, are lost, and come back.

use std::time::Duration;

use unisono_client::Client;
use unisono_model::api::{ActivityState, AgentView, OrchestrationState};

use crate::harness::{
    Server, ServerSetup, activity, apply, eventually, finished, in_state, kinds, request, wait_for_activity,
};

const ONE: &str = "{kind: ActivityDefinition, type: work}\n---\n{type: one, activities: [{id: a, type: work}]}";
/// Says when it begins, works until the file `go` is there, says when it ends.
const WORK: &str =
    r#"note begins; while [ ! -e "$SITE/go" ]; do sleep 0.05; done; note ends; printf '{"by": "%s"}' "$0""#;

async fn agent(client: &Client, name: &str, condition: impl Fn(&AgentView) -> bool) -> AgentView {
    eventually(&format!("agent {name} is as expected"), || async {
        let agents = client.agents().await.unwrap().items;
        agents
            .into_iter()
            .find(|agent| agent.name.as_str() == name && condition(agent))
    })
    .await
}

async fn executed(server: &Server, lines: usize) {
    let site = server.site();
    eventually(&format!("{lines} lines are noted"), || async {
        (site.lines("executions").len() >= lines).then_some(())
    })
    .await;
}

fn go(server: &Server) {
    std::fs::write(server.site().path("go"), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_an_agent_says_what_it_waits_for() {
    let server = Server::start();
    let client = server.client();
    apply(&client, ONE).await;
    client.start(&request("r", "one")).await.unwrap();
    let view = client.orchestration("r").await.unwrap();
    let reason = "no connected agent runs activity type work; start one that does";
    assert_eq!(view.summary.state, OrchestrationState::Initialized);
    assert_eq!(activity(&view, "a").state, ActivityState::Ready);
    assert_eq!(activity(&view, "a").reason, reason);
    assert_eq!(view.reason, format!("ready: a (a: {reason})"));
    // An agent of another type, and one of another namespace, change nothing.
    let _other = server.agent("other").echo("another").start();
    let _elsewhere = server.agent("elsewhere").namespace("elsewhere").echo("work").start();
    agent(&client, "other", |agent| agent.connected).await;
    agent(&server.client_of("elsewhere"), "elsewhere", |agent| agent.connected).await;
    assert_eq!(activity(&client.orchestration("r").await.unwrap(), "a").reason, reason);
    let _agent = server.agent("worker").echo("work").start();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_listed_with_what_they_run_and_hold() {
    let server = Server::start();
    let client = server.client();
    apply(&client, ONE).await;
    let mut worker = server.agent("worker").concurrency(3).exec("work", WORK).start();
    let idle = agent(&client, "worker", |agent| agent.connected).await;
    assert_eq!(
        (idle.concurrency, idle.running, idle.reason.as_str()),
        (3, 0, "connected")
    );
    assert_eq!(
        idle.activity_types.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["work"]
    );
    for number in 0..5 {
        client.start(&request(&format!("r{number}"), "one")).await.unwrap();
    }
    agent(&client, "worker", |agent| agent.running == 3).await;
    executed(&server, 3).await;
    let waits = eventually("two runs wait for room", || async {
        let mut waits = Vec::new();
        for number in 0..5 {
            let view = client.orchestration(&format!("r{number}")).await.unwrap();
            let a = activity(&view, "a").clone();
            waits.extend((a.state == ActivityState::Ready).then_some(a.reason));
        }
        (waits.len() == 2).then_some(waits)
    })
    .await;
    let full = "waits for an agent with room: 1 connected for activity type work, holding 3 of 3 attempts";
    assert_eq!(waits, [full, full]);
    worker.kill();
    let gone = agent(&client, "worker", |agent| !agent.connected).await;
    assert!(gone.reason.starts_with("gone (the connection "), "{}", gone.reason);
    assert!(
        gone.reason.contains("its 3 attempts go to others at "),
        "{}",
        gone.reason
    );
    eventually("the agent is forgotten", || async {
        client.agents().await.unwrap().items.is_empty().then_some(())
    })
    .await;
    go(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_agents_attempt_goes_to_another_after_the_grace_time() {
    let server = Server::start();
    let client = server.client();
    apply(&client, ONE).await;
    let mut first = server.agent("first").exec("work", WORK).start();
    client.start(&request("r", "one")).await.unwrap();
    executed(&server, 1).await;
    first.kill();
    let lost = wait_for_activity(&client, "r", "a", |activity| {
        activity.reason.contains("the agent is gone")
    })
    .await;
    assert_eq!(
        lost.state,
        ActivityState::Running,
        "within the grace time it may still come back"
    );
    let returned = in_state(&client, "r", "a", ActivityState::Ready).await;
    assert!(
        returned
            .reason
            .starts_with("its last attempt was lost; no connected agent"),
        "{}",
        returned.reason
    );
    go(&server);
    let _second = server.agent("second").exec("work", WORK).start();
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(
        (activity(&view, "a").attempts, activity(&view, "a").agent.as_deref()),
        (2, Some("second"))
    );
    let happened = [
        "orchestrationStarted",
        "activityDispatched a",
        "activityReturned a",
        "activityDispatched a",
        "activityCompleted a",
        "orchestrationCompleted",
    ];
    assert_eq!(kinds(&client, "r").await, happened);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_in_time_goes_on_and_executes_nothing_twice() {
    let server = ServerSetup::default().heartbeat("300ms").grace("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    let worker = server.agent("worker").exec("work", WORK).start();
    client.start(&request("r", "one")).await.unwrap();
    executed(&server, 1).await;
    worker.pause();
    let gone = agent(&client, "worker", |agent| !agent.connected).await;
    assert!(
        gone.reason.starts_with("gone (nothing was heard of it for "),
        "{}",
        gone.reason
    );
    // The script ends while its agent cannot say so.
    go(&server);
    executed(&server, 2).await;
    worker.resume();
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(activity(&view, "a").attempts, 1);
    assert_eq!(server.site().lines("executions"), ["r a 1 begins", "r a 1 ends"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_comes_too_late_is_refused_and_changes_nothing() {
    let server = ServerSetup::default().heartbeat("300ms").grace("500ms").start();
    let client = server.client();
    apply(&client, ONE).await;
    let first = server.agent("first").exec("work", WORK).start();
    client.start(&request("r", "one")).await.unwrap();
    executed(&server, 1).await;
    first.pause();
    let _second = server
        .agent("second")
        .exec("work", "note begins; printf '{\"by\": \"second\"}'")
        .start();
    let view = finished(&client, "r").await;
    assert_eq!(activity(&view, "a").agent.as_deref(), Some("second"));
    go(&server);
    executed(&server, 3).await;
    first.resume();
    agent(&client, "first", |agent| agent.connected && agent.running == 0).await;
    let after = client.orchestration("r").await.unwrap();
    assert_eq!(
        serde_json::to_value(&after).unwrap(),
        serde_json::to_value(&view).unwrap()
    );
    assert_eq!(
        activity(&after, "a").output.as_ref().unwrap().get(),
        r#"{"by": "second"}"#
    );
    assert_eq!(
        kinds(&client, "r")
            .await
            .iter()
            .filter(|kind| *kind == "activityCompleted a")
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_outlives_the_server_that_asked_for_it() {
    let mut server = ServerSetup::default().grace("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    let _worker = server.agent("worker").exec("work", WORK).start();
    client.start(&request("during", "one")).await.unwrap();
    client.start(&request("after", "one")).await.unwrap();
    executed(&server, 2).await;
    server.kill();
    // They end while there is no server to tell.
    go(&server);
    executed(&server, 4).await;
    server.restart();
    for id in ["during", "after"] {
        let view = finished(&client, id).await;
        assert_eq!(view.summary.state, OrchestrationState::Completed);
        assert_eq!(activity(&view, "a").attempts, 1);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.site().lines("executions").len(), 4, "each began and ended once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_agent_finishes_what_it_runs_and_takes_nothing_more() {
    let server = Server::start();
    let client = server.client();
    apply(&client, ONE).await;
    let mut worker = server.agent("worker").concurrency(1).exec("work", WORK).start();
    client.start(&request("held", "one")).await.unwrap();
    executed(&server, 1).await;
    client.start(&request("next", "one")).await.unwrap();
    worker.ask_to_leave();
    agent(&client, "worker", |agent| {
        agent.reason == "connected, draining: takes no new attempts"
    })
    .await;
    go(&server);
    let view = finished(&client, "held").await;
    assert_eq!(
        (view.summary.state, activity(&view, "a").attempts),
        (OrchestrationState::Completed, 1)
    );
    assert!(worker.left().success(), "it leaves with exit code 0");
    // It said goodbye: nobody waits for it to come back.
    eventually("it is gone", || async {
        client.agents().await.unwrap().items.is_empty().then_some(())
    })
    .await;
    assert_eq!(activity(&client.orchestration("next").await.unwrap(), "a").attempts, 0);
    let _other = server.agent("other").exec("work", WORK).start();
    assert_eq!(
        finished(&client, "next").await.summary.state,
        OrchestrationState::Completed
    );
}
