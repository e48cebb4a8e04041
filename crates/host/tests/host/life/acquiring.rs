//! From the launch to leadership.

use std::collections::BTreeSet;

use unisono_host::{ConfigError, Holder, HostConfig, Problem, Stage, Timing};

use crate::world::{Fate, LEASE, Manners, World, millis, seconds, slot};

#[tokio::test(start_paused = true)]
async fn a_lone_host_leads_at_once_and_runs_its_services() {
    let world = World::new();
    let (host, problem) = world.member("a").service("db", Manners::default()).leads().await;
    assert_eq!(world.elapsed(), seconds(0));
    assert!(host.believes());
    assert_eq!(world.store.holder(&slot(1)), Some(Holder::read("a")));
    world.until(seconds(1)).await;
    assert_eq!(world.log(), ["a db starts"]);
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn launch_returns_before_anything_has_happened() {
    let world = World::new();
    let (host, _) = world.member("a").fates_in_turn([Fate::HANGS]).launch();
    assert_eq!(*host.host.stage().borrow(), Stage::Created);
    assert_eq!(
        host.leading().await,
        seconds(3),
        "the call is given up, and the next one succeeds"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_launch_is_refused() {
    let world = World::new();
    let (host, _) = world.member("a").leads().await;
    assert!(host.host.launch().is_err());
    assert!(host.believes());
    host.shutdown().await;
    assert!(host.host.launch().is_err(), "also after its end");
}

#[tokio::test(start_paused = true)]
async fn as_many_hosts_lead_as_there_are_slots() {
    let world = World::new();
    let two = |config: &mut HostConfig| config.slots = 2;
    let (a, _) = world.member("a").config(two).leads().await;
    let (b, _) = world.member("b").config(two).leads().await;
    let (c, _) = world.member("c").config(two).launch();
    world.until(seconds(60)).await;
    assert_eq!(
        *c.host.stage().borrow(),
        Stage::Candidate {
            reason: "slot 1 is held by a, slot 2 is held by b".to_owned()
        }
    );
    a.shutdown().await;
    c.leading().await;
    let keys: BTreeSet<_> = [&b, &c].map(|host| host.leadership().unwrap().key().clone()).into();
    assert_eq!(keys, BTreeSet::from([slot(1), slot(2)]));
}

#[tokio::test(start_paused = true)]
async fn the_next_candidate_leads_within_50_ms_of_a_release_where_the_store_can_watch() {
    let world = World::new();
    let (a, _) = world.member("a").leads().await;
    let (b, _) = world.member("b").launch();
    world.until(millis(60_123)).await;
    a.shutdown().await;
    let released = world.elapsed();
    assert!(b.leading().await - released <= millis(50));
}

#[tokio::test(start_paused = true)]
async fn the_next_candidate_leads_within_one_retry_of_a_release_elsewhere() {
    let world = World::new();
    let (a, _) = world.member("a").leads().await;
    let (b, _) = world.member("b").without_watch().launch();
    world.until(millis(60_123)).await;
    a.shutdown().await;
    let released = world.elapsed();
    let took = b.leading().await - released;
    assert!(took > millis(50) && took <= seconds(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_candidate_leads_when_the_lease_of_a_dead_one_ends_and_with_a_newer_token() {
    let world = World::new();
    let (a, _) = world.member("a").leads().await;
    let (b, _) = world.member("b").launch();
    world.until(seconds(61)).await;
    a.process.kill();
    // The last renewal was sent at 60 s.
    assert_eq!(b.leading().await, seconds(80));
    assert!(b.leadership().unwrap().token() > a.leadership().unwrap().token());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_gives_up_after_its_window_and_says_who_leads() {
    let world = World::new();
    let (_a, _) = world.member("a").leads().await;
    let (b, problem) = world.member("b").service("db", Manners::default()).launch();
    let problem = problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(120));
    assert_eq!(
        problem.to_string(),
        "no slot of web was to be had within 120s: slot 1 is held by a"
    );
    assert!(matches!(b.shutdown().await, Some(Problem::NotElected { .. })));
    assert!(world.log().is_empty(), "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn without_a_window_each_slot_is_tried_once() {
    let world = World::new();
    let (_a, _) = world.member("a").leads().await;
    let window = |config: &mut HostConfig| config.window = Some(seconds(0));
    let (b, problem) = world.member("b").config(window).launch();
    problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(0));
    assert_eq!(b.calls("insert").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_may_wait_without_limit() {
    let world = World::new();
    let (_a, _) = world.member("a").leads().await;
    let (_b, problem) = world.member("b").config(|config| config.window = None).launch();
    world.until(seconds(3600)).await;
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_until_the_window_has_passed() {
    let world = World::new();
    let (_a, problem) = world.member("a").fates(|_| Fate::FAILS).launch();
    let problem = problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(120));
    assert!(problem.to_string().contains("the connection was reset"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_was_lost_is_found_and_kept() {
    let world = World::new();
    let (host, _) = world.member("a").fates_in_turn([Fate::DONE_UNHEARD]).leads().await;
    assert_eq!(world.elapsed(), seconds(3));
    world.until(seconds(300)).await;
    assert!(host.believes());
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_was_lost_is_given_back_when_the_candidate_is_stopped() {
    let world = World::new();
    let (host, _) = world.member("a").fates_in_turn([Fate::DONE_UNHEARD]).launch();
    world.until(seconds(1)).await;
    assert_eq!(world.store.holder(&slot(1)), Some(Holder::read("a")));
    assert!(host.shutdown().await.is_none());
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_too_late_to_lead_by_is_not_led_by() {
    let world = World::new();
    let (host, _) = world.member("a").launch();
    // Stopped between question and answer.
    host.process.stop();
    world.until(seconds(17)).await;
    assert!(!host.believes());
    host.process.go_on();
    host.leading().await;
    assert!(host.believes(), "it asked again, and leads by the new answer");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_is_refused_before_anything_starts() {
    let world = World::new();
    let refused = |change: fn(&mut HostConfig)| {
        let mut config = HostConfig::new("web", world.store.clone());
        change(&mut config);
        config.check().unwrap_err()
    };
    assert_eq!(refused(|config| config.slots = 0), ConfigError::NoSlots);
    assert_eq!(refused(|config| config.service.clear()), ConfigError::NoName);
    let timing = refused(|config| {
        config.timing = Timing {
            grace: LEASE,
            ..Timing::of_lease(LEASE)
        }
    });
    assert!(timing.to_string().contains("shorten `grace`"), "{timing}");
}
