//! Names that would mean something elsewhere.

use unisono_client::{Basis, PageRequest, TargetQuery};
use unisono_model::rollout::{Report, RolloutState, TargetId, VerbName, VerbRequest, Version, read_policy};

use super::QUICK;
use crate::harness::{Server, eventually};

const NAMES: [&str; 12] = [
    "..",
    ".",
    "a.b.c",
    "a/b",
    "/",
    "\"quoted\" 'name'",
    "~tilde",
    "%2F",
    "a?b#c&d=e",
    "höst-42",
    "服务器",
    "a b\u{a0}c",
];

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_kind_survive_every_route() {
    let server = Server::start();
    let client = server.client();
    for name in NAMES {
        let entity = client.entity(name);
        let target = TargetId::parse(name, name).unwrap();
        let version = Version::parse(name).unwrap();
        let report = Report {
            name: name.into(),
            group: name.into(),
            version: Some(name.into()),
            ..Report::default()
        };
        let told = entity.report(std::slice::from_ref(&report)).await.unwrap().remove(0);
        assert_eq!(
            (&*told.name, &*told.group, told.version),
            (name, name, Some(version.clone()))
        );
        assert_eq!(entity.get().await.unwrap().summary.name.as_str(), name);
        let policy = read_policy(QUICK).unwrap();
        entity.set_policy(&policy, Some(name), &Basis::default()).await.unwrap();
        let set = VerbRequest {
            version: Some(version.clone()),
            reason: Some(name.to_owned()),
            ..VerbRequest::default()
        };
        entity.set_version(&set, &Basis::default()).await.unwrap();
        entity.report_one(&report).await.unwrap();
        let view = eventually("it succeeds", || async {
            let view = entity.rollout().await.unwrap();
            (view.summary.state == RolloutState::Succeeded).then_some(view)
        })
        .await;
        assert_eq!((view.summary.version, view.entity.as_str()), (version.clone(), name));
        assert_eq!(entity.target(&target).await.unwrap().version, Some(version.clone()));
        assert!(entity.why_target(&target).await.unwrap().summary.contains(name));
        let which = TargetQuery {
            group: Some(name.to_owned()),
            version: Some(name.to_owned()),
            ..TargetQuery::default()
        };
        assert_eq!(
            entity
                .targets(&which, &PageRequest::default())
                .await
                .unwrap()
                .items
                .len(),
            1,
            "{name}"
        );
        assert_eq!(
            entity.versions(None, &PageRequest::default()).await.unwrap().items[0].version,
            version
        );
        assert_eq!(entity.rollouts(&PageRequest::default()).await.unwrap().items.len(), 1);
        let last = entity.history(0, None, &PageRequest::default()).await.unwrap().items;
        assert!(last.iter().any(|it| it.reason.as_deref() == Some(name)), "{name}");
        let forget = VerbRequest {
            targets: vec![target.clone()],
            ..VerbRequest::default()
        };
        entity.act(VerbName::Forget, &forget, &Basis::default()).await.unwrap();
        assert_eq!(
            entity.target(&target).await.unwrap_err().code(),
            Some("target-not-found")
        );
    }
    let mut listed = Vec::new();
    let mut page = PageRequest {
        limit: Some(5),
        page_token: None,
    };
    loop {
        let found = client.entities(&page).await.unwrap();
        listed.extend(found.items.into_iter().map(|it| it.name.to_string()));
        page.page_token = found.next_page_token;
        if page.page_token.is_none() {
            break;
        }
    }
    let mut names = NAMES.map(str::to_owned);
    names.sort_unstable();
    assert_eq!(listed, names);
}
