//! Finding orchestrations.

use std::collections::BTreeSet;

use unisono_client::{Client, GroupBy, OrchestrationFilter, PageRequest};
use unisono_model::api::{CancelRequest, OrchestrationCount, OrchestrationState, StartRequest, WaitReason};
use unisono_model::ids::Timestamp;

use crate::harness::{Server, apply, finished, request};

fn all() -> OrchestrationFilter {
    OrchestrationFilter::default()
}

/// Every id that the filter finds, in order, by pages of this size.
async fn listed(client: &Client, filter: &OrchestrationFilter, limit: u32) -> Vec<String> {
    let (mut ids, mut page_token) = (Vec::new(), None);
    loop {
        let page = client
            .orchestrations(
                filter,
                &PageRequest {
                    limit: Some(limit),
                    page_token,
                },
            )
            .await
            .unwrap();
        assert!(page.items.len() <= limit as usize);
        ids.extend(page.items.into_iter().map(|summary| summary.id.to_string()));
        page_token = page.next_page_token;
        if page_token.is_none() {
            return ids;
        }
    }
}

async fn found(client: &Client, filter: OrchestrationFilter) -> Vec<String> {
    let mut ids = listed(client, &filter, 100).await;
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn orchestrations_are_found_by_what_is_known_of_them() {
    let mut server = Server::start();
    let client = server.client();
    let _agent = server.agent("worker").echo("echo").exec("fail", "exit 1").start();
    let types = ["echo", "fail", "nobody"].map(|name| format!("{{kind: ActivityDefinition, type: {name}}}\n---\n"));
    let definitions = [("good", "echo"), ("bad", "fail"), ("stuck", "nobody")]
        .map(|(name, of)| format!("{{type: {name}, activities: [{{id: a, type: {of}}}]}}"));
    apply(&client, &format!("{}{}", types.concat(), definitions.join("\n---\n"))).await;
    let mut middle = Timestamp(0);
    for number in 0..12 {
        let r#type = ["good", "bad", "stuck"][number % 3];
        let mut start: StartRequest = request(&format!("r{number:02}"), r#type);
        start.correlation_id = Some(format!("order {}", number % 2));
        start.labels.insert(
            "team".to_owned(),
            if number < 6 { "payments" } else { "a=b, c" }.to_owned(),
        );
        start.labels.insert("number".to_owned(), number.to_string());
        client.start(&start).await.unwrap();
        if number == 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if number == 6 {
            middle = client.orchestration("r06").await.unwrap().summary.created_at;
        }
    }
    for number in (0..12).filter(|number| number % 3 != 2) {
        finished(&client, &format!("r{number:02}")).await;
    }
    client.cancel("r02", &CancelRequest::default()).await.unwrap();

    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        let newest_first: Vec<String> = (0..12).rev().map(|number| format!("r{number:02}")).collect();
        for limit in [1, 5, 12, 1000] {
            assert_eq!(listed(&client, &all(), limit).await, newest_first, "pages of {limit}");
        }
        let state = |state| OrchestrationFilter {
            states: vec![state],
            ..all()
        };
        assert_eq!(
            found(&client, state(OrchestrationState::Completed)).await,
            ["r00", "r03", "r06", "r09"]
        );
        assert_eq!(
            found(&client, state(OrchestrationState::Errored)).await,
            ["r01", "r04", "r07", "r10"]
        );
        assert_eq!(
            found(&client, state(OrchestrationState::Initialized)).await,
            ["r05", "r08", "r11"]
        );
        assert_eq!(found(&client, state(OrchestrationState::Cancelled)).await, ["r02"]);
        assert!(found(&client, state(OrchestrationState::Running)).await.is_empty());
        let of_type = OrchestrationFilter {
            r#type: Some("bad".to_owned()),
            version: Some(1),
            ..all()
        };
        assert_eq!(listed(&client, &of_type, 3).await, ["r10", "r07", "r04", "r01"]);
        assert!(
            found(
                &client,
                OrchestrationFilter {
                    version: Some(2),
                    ..of_type
                }
            )
            .await
            .is_empty()
        );
        let correlation_id = Some("order 1".to_owned());
        let odd = found(
            &client,
            OrchestrationFilter {
                correlation_id,
                ..all()
            },
        )
        .await;
        assert_eq!(odd, ["r01", "r03", "r05", "r07", "r09", "r11"]);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let with = |labels| OrchestrationFilter { labels, ..all() };
        assert_eq!(found(&client, with(vec![label("team", "a=b, c")])).await.len(), 6);
        assert_eq!(
            found(&client, with(vec![label("team", "a=b, c"), label("number", "7")])).await,
            ["r07"]
        );
        assert!(
            found(&client, with(vec![label("team", "payments"), label("number", "7")]))
                .await
                .is_empty()
        );
        let after = found(
            &client,
            OrchestrationFilter {
                created_after: Some(middle),
                ..all()
            },
        )
        .await;
        let before = found(
            &client,
            OrchestrationFilter {
                created_before: Some(middle),
                ..all()
            },
        )
        .await;
        assert_eq!(after, newest_first[..6].iter().rev().cloned().collect::<Vec<_>>());
        assert_eq!(before, newest_first[6..].iter().rev().cloned().collect::<Vec<_>>());
        let ended = |after, before| OrchestrationFilter {
            ended_after: after,
            ended_before: before,
            ..all()
        };
        let cancelled = client.orchestration("r02").await.unwrap().summary.ended_at;
        let last = found(&client, ended(cancelled, None)).await;
        assert!(
            last.contains(&"r02".to_owned()) && !last.contains(&"r05".to_owned()),
            "{last:?}"
        );
        let others = found(&client, ended(None, cancelled)).await;
        assert_eq!(last.len() + others.len(), 9, "three have not ended");
        let stuck = OrchestrationFilter {
            waiting_for: vec![WaitReason::ExternalCall, WaitReason::NoAgent],
            ..all()
        };
        assert_eq!(listed(&client, &stuck, 2).await, ["r11", "r08", "r05"]);
        let full = OrchestrationFilter {
            waiting_for: vec![WaitReason::AgentsFull],
            ..all()
        };
        assert!(found(&client, full).await.is_empty());
        check_counts(&client, &stuck).await;
        let both = OrchestrationFilter {
            states: vec![OrchestrationState::Errored],
            labels: vec![label("team", "payments")],
            created_before: Some(middle),
            ..all()
        };
        assert_eq!(found(&client, both).await, ["r01", "r04"]);
    }
}

/// Of twelve orchestrations of three types, four each.
async fn check_counts(client: &Client, stuck: &OrchestrationFilter) {
    let of = |filter: OrchestrationFilter| async move { client.count(&filter, &[]).await.unwrap() };
    let twelve = OrchestrationCount {
        count: 12,
        exact: true,
        groups: Vec::new(),
    };
    assert_eq!(of(all()).await, twelve);
    let labelled = OrchestrationFilter {
        labels: vec![("team".to_owned(), "payments".to_owned())],
        ..all()
    };
    assert_eq!(of(labelled.clone()).await.count, 6);
    assert_eq!(of(stuck.clone()).await.count, 3);
    let groups = |filter: OrchestrationFilter, by: &'static [GroupBy]| async move {
        let groups = client.count(&filter, by).await.unwrap().groups.into_iter();
        let shown = groups.map(|group| {
            let state = group.state.map_or("", OrchestrationState::as_str);
            format!(
                "{} {} {}",
                group.r#type.as_deref().unwrap_or_default(),
                state,
                group.count
            )
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(groups(all(), &[GroupBy::Type]).await, ["bad  4", "good  4", "stuck  4"]);
    let by_both: &[GroupBy] = &[GroupBy::State, GroupBy::Type];
    assert_eq!(
        groups(labelled, by_both).await,
        [
            "bad errored 2",
            "good completed 2",
            "stuck initialized 1",
            "stuck cancelled 1"
        ]
    );
    assert_eq!(groups(stuck.clone(), by_both).await, ["stuck initialized 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_shows_every_run_once_while_others_are_started() {
    let server = Server::start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: x}\n---\n{type: t, activities: [{id: a, type: x}]}",
    )
    .await;
    for number in 0..30 {
        client.start(&request(&format!("old-{number}"), "t")).await.unwrap();
    }
    let (mut seen, mut page_token, mut number) = (BTreeSet::new(), None, 0);
    loop {
        let page = client
            .orchestrations(
                &all(),
                &PageRequest {
                    limit: Some(7),
                    page_token,
                },
            )
            .await
            .unwrap();
        for summary in page.items {
            assert!(seen.insert(summary.id.to_string()), "{} is listed twice", summary.id);
        }
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
        client.start(&request(&format!("new-{number}"), "t")).await.unwrap();
        number += 1;
    }
    let old: BTreeSet<String> = (0..30).map(|number| format!("old-{number}")).collect();
    assert!(number > 2 && old.is_subset(&seen), "{seen:?}");
}
