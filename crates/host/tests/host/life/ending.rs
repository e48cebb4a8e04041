//! Shutting down.

use std::sync::{Arc, Mutex};

use unisono_host::{Holder, Host, HostConfig, Leadership, NotLaunched, Stage, service};

use crate::world::{Fate, Manners, World, millis, seconds, slot};

#[tokio::test(start_paused = true)]
async fn a_host_that_was_not_launched_is_not_shut_down_and_can_still_be_launched() {
    let world = World::new();
    let host = world.member("a").host();
    assert_eq!(host.host.shutdown().await.unwrap_err(), NotLaunched);
    host.host.launch().unwrap();
    host.leading().await;
    assert!(host.shutdown().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn to_shut_down_twice_is_harmless_and_says_the_same() {
    let world = World::new();
    let slow = Manners {
        stops_in: seconds(1),
        ..Manners::default()
    };
    let short = Manners {
        runs_for: Some(seconds(2)),
        ..Manners::default()
    };
    let member = world.member("a").service("db", slow).service("api", short);
    let (host, problem) = member.leads().await;
    problem.signalled().await;
    let (one, other) = tokio::join!(host.shutdown(), host.shutdown());
    let third = host.shutdown().await;
    for said in [one, other, third] {
        assert_eq!(said.unwrap().to_string(), "the service api ended by itself");
    }
    assert_eq!(host.calls("release").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn services_stop_before_the_monitor_and_the_monitor_before_the_release() {
    let world = World::new();
    let slow = Manners {
        stops_in: seconds(12),
        ..Manners::default()
    };
    let (host, _) = world.member("a").service("db", slow).service("api", slow).leads().await;
    world.until(seconds(11)).await;
    let mut stage = host.host.stage();
    let (problem, ()) = tokio::join!(host.shutdown(), async {
        stage.wait_for(|stage| *stage == Stage::Stopping).await.unwrap();
        assert!(host.believes(), "services stop as a leader's");
    });
    assert!(problem.is_none());
    assert_eq!(
        world.log()[2..],
        ["a api stops", "a api stopped", "a db stops", "a db stopped"]
    );
    assert_eq!(world.when("a db stopped"), seconds(35));
    assert_eq!(
        host.calls("renew"),
        [5, 10, 15, 20, 25, 30, 35].map(seconds),
        "while services stop, and no longer"
    );
    assert_eq!(host.calls("release"), [seconds(35)]);
    assert_eq!(*host.host.stage().borrow(), Stage::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn leadership_ends_here_before_the_release_is_asked_for() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(None::<Leadership>));
    let (keep, look) = (Arc::clone(&seen), seen);
    let keeper = service("keeper", |context: unisono_host::ServiceContext| async move {
        *keep.lock().unwrap() = Some(context.leadership().clone());
        context.started();
        context.stopping().await;
        Ok(())
    });
    let led_at_release = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&led_at_release);
    let fates = move |operation| {
        if operation == "release" {
            *tell.lock().unwrap() = Some(look.lock().unwrap().as_ref().unwrap().is_current());
        }
        Fate::FINE
    };
    let member = world
        .member("a")
        .fates(fates)
        .config(|config| config.services.push(keeper));
    let (host, _) = member.leads().await;
    world.until(seconds(1)).await;
    host.shutdown().await;
    assert_eq!(*led_at_release.lock().unwrap(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_retries_does_not_wait_for_them_and_releases_the_lease() {
    let world = World::new();
    let fates = |operation| {
        if operation == "renew" { Fate::HANGS } else { Fate::FINE }
    };
    let (host, problem) = world.member("a").fates(fates).leads().await;
    world.until(millis(8_500)).await;
    assert!(host.shutdown().await.is_none());
    assert_eq!(world.elapsed(), millis(8_500));
    assert_eq!(world.store.holder(&slot(1)), None);
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_arrives_after_the_release_does_not_bring_the_lease_back() {
    let world = World::new();
    let late = Fate {
        there: seconds(3),
        ..Fate::FINE
    };
    let fates = move |operation| if operation == "renew" { late } else { Fate::FINE };
    let (host, _) = world.member("a").fates(fates).leads().await;
    world.until(millis(6_000)).await;
    host.shutdown().await;
    world.until(seconds(15)).await;
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_tried_again() {
    let world = World::new();
    let mut releases = 0;
    let fates = move |operation| {
        releases += u32::from(operation == "release");
        if operation == "release" && releases == 1 {
            Fate::FAILS
        } else {
            Fate::FINE
        }
    };
    let (host, _) = world.member("a").fates(fates).leads().await;
    assert!(host.shutdown().await.is_none());
    assert_eq!(host.calls("release"), [0, 1].map(seconds));
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_hangs_does_not_keep_the_host_from_its_end_and_the_lease_ends_by_itself() {
    let world = World::new();
    let fates = |operation| {
        if operation == "release" {
            Fate::HANGS
        } else {
            Fate::FINE
        }
    };
    let (a, _) = world.member("a").fates(fates).leads().await;
    let (b, _) = world.member("b").launch();
    assert!(a.shutdown().await.is_none());
    assert_eq!(
        world.elapsed(),
        seconds(3 * 2 + 2),
        "three tries of 2 s, with 1 s between them"
    );
    assert!(!a.believes());
    assert_eq!(b.leading().await, seconds(20));
    world.until(seconds(60)).await;
    assert!(!a.process.is_dead(), "nothing of it runs, so there is nothing to kill");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_is_shut_down_at_once_and_without_a_problem() {
    let world = World::new();
    let (_a, _) = world.member("a").leads().await;
    let (b, problem) = world.member("b").service("db", Manners::default()).launch();
    world.until(millis(30_300)).await;
    assert!(b.shutdown().await.is_none());
    assert_eq!(world.elapsed(), millis(30_300));
    assert!(problem.so_far().is_none());
    assert_eq!(world.store.holder(&slot(1)), Some(Holder::read("a")));
    assert!(world.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_granted_during_the_shutdown_is_given_back_unused() {
    let world = World::new();
    let slow = Fate {
        back: Some(millis(1_500)),
        ..Fate::FINE
    };
    let (host, _) = world
        .member("a")
        .service("db", Manners::default())
        .fates_in_turn([slow])
        .launch();
    world.until(seconds(1)).await;
    assert!(host.shutdown().await.is_none());
    assert!(world.log().is_empty(), "no service was started");
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_dropped_shuts_itself_down() {
    let world = World::new();
    let (host, _) = world.member("a").service("db", Manners::default()).leads().await;
    world.until(seconds(1)).await;
    drop(host);
    world.until(seconds(2)).await;
    assert_eq!(world.log().last().unwrap(), "a db stopped");
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_dropped_unlaunched_leaves_nothing_behind() {
    let world = World::new();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    drop(Host::new(HostConfig::new("web", world.store.clone())).unwrap());
    world.until(seconds(1)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
}
