//! Renewals that fail, and what comes of it.

use std::time::Duration;

use unisono_host::{Holder, LeaseStore as _, Loss, Problem};

use crate::world::{Fate, LEASE, Manners, Member, Process, World, millis, seconds, slot};

/// Fates of a host whose store fails like this from the second call on.
fn after_the_grant(fate: Fate) -> impl FnMut(&'static str) -> Fate {
    move |operation| if operation == "insert" { Fate::FINE } else { fate }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_every_quarter_for_as_long_as_it_is_wanted() {
    let world = World::new();
    let (host, problem) = world.member("a").leads().await;
    world.until(millis(600_500)).await;
    assert!(host.believes());
    assert!(problem.so_far().is_none());
    let quarters: Vec<_> = (1..=120).map(|nth| seconds(5 * nth)).collect();
    assert_eq!(host.calls("renew"), quarters);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_recovers_on_the_fourth_try_costs_nothing() {
    let world = World::new();
    let fates = [Fate::FINE, Fate::FAILS, Fate::FAILS, Fate::FAILS];
    let (host, problem) = world.member("a").fates_in_turn(fates).leads().await;
    world.until(seconds(60)).await;
    assert_eq!(host.calls("renew")[..5], [5, 6, 7, 8, 13].map(seconds));
    assert!(host.believes());
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_failing_ends_leadership_at_the_deadline() {
    let world = World::new();
    let member = world.member("a").service("db", Manners::default());
    let (host, problem) = member.fates(after_the_grant(Fate::FAILS)).leads().await;
    world.until(millis(13_999)).await;
    assert!(host.believes());
    let problem = problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(14));
    assert!(!host.believes());
    assert_eq!(
        problem.to_string(),
        "leadership of slot 1 of web is lost: the lease could not be renewed in time: the lease store cannot be used: \
         the connection was reset"
    );
    assert_eq!(world.when("a db stopped"), seconds(14), "its services need not be told");
    world.until(seconds(60)).await;
    assert!(!host.process.is_dead(), "what has stopped is not killed");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_leadership_at_the_deadline() {
    let world = World::new();
    let (host, problem) = world.member("a").fates(after_the_grant(Fate::HANGS)).leads().await;
    let problem = problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(14));
    assert!(problem.to_string().contains("did not answer"), "{problem}");
    assert_eq!(
        host.calls("renew"),
        [5, 7, 9, 11, 13].map(seconds),
        "each call is given up after 2 s"
    );
}

#[tokio::test(start_paused = true)]
async fn renewals_that_are_done_but_unheard_do_not_prolong_leadership() {
    let world = World::new();
    let (_host, problem) = world
        .member("a")
        .fates(after_the_grant(Fate::DONE_UNHEARD))
        .leads()
        .await;
    problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(14));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_before_the_renewal_was_sent() {
    let world = World::new();
    let slow = Fate {
        back: Some(millis(1_900)),
        ..Fate::FINE
    };
    let fates = [Fate::FINE, slow]
        .into_iter()
        .chain(std::iter::repeat_n(Fate::FAILS, 100));
    let (_host, problem) = world.member("a").fates_in_turn(fates).leads().await;
    problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(5 + 14));
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_leadership_at_once_where_the_store_can_watch() {
    let world = World::new();
    assert_eq!(robbed_at_12_s(&world, world.member("a")).await, seconds(12));
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_leadership_at_the_next_renewal_elsewhere() {
    let world = World::new();
    let noticed = robbed_at_12_s(&world, world.member("a").without_watch()).await;
    assert_eq!(noticed, seconds(15));
}

/// Its lease is stolen after 12 seconds. When it has noticed.
async fn robbed_at_12_s(world: &World, member: Member) -> Duration {
    let (host, problem) = member.service("db", Manners::default()).leads().await;
    world.until(seconds(12)).await;
    world.store.revoke(&slot(1));
    world
        .store
        .insert_if_absent(&slot(1), &Holder::read("thief"), LEASE)
        .await
        .unwrap();
    let problem = problem.signalled().await;
    let noticed = world.elapsed();
    assert!(
        matches!(problem, Problem::LeadershipLost { loss: Loss::Taken, .. }),
        "{problem}"
    );
    assert!(!host.believes());
    host.shutdown().await;
    assert_eq!(
        world.store.holder(&slot(1)),
        Some(Holder::read("thief")),
        "what is another's is not released"
    );
    noticed
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_stop_die_a_grace_after_a_theft() {
    let world = World::new();
    let stubborn = Manners {
        stops_in: seconds(3600),
        ..Manners::default()
    };
    let (host, problem) = world.member("a").without_watch().service("db", stubborn).leads().await;
    world.store.revoke(&slot(1));
    problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(5));
    let deadline = *host.leadership().unwrap().deadline().borrow();
    assert_eq!(
        deadline.since_start(),
        seconds(10),
        "what runs outside the process is told as well"
    );
    world.until(seconds(30)).await;
    assert_eq!(world.when("a killed"), seconds(10));
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_stop_are_dead_before_the_lease_ends() {
    let world = World::new();
    let stubborn = Manners {
        stops_in: seconds(3600),
        ..Manners::default()
    };
    let (a, _) = world
        .member("a")
        .service("db", stubborn)
        .fates(after_the_grant(Fate::HANGS))
        .leads()
        .await;
    let (b, _) = world.member("b").launch();
    assert_eq!(b.leading().await, seconds(20));
    assert!(a.process.is_dead());
    assert_eq!(world.when("a killed"), seconds(19));
}

#[tokio::test(start_paused = true)]
async fn services_that_stop_within_the_grace_are_spared() {
    let world = World::new();
    let slow = Manners {
        stops_in: millis(4_900),
        ..Manners::default()
    };
    let (host, problem) = world
        .member("a")
        .service("db", slow)
        .fates(after_the_grant(Fate::HANGS))
        .leads()
        .await;
    problem.signalled().await;
    host.shutdown().await;
    assert_eq!(world.when("a db stopped"), millis(18_900));
    world.until(seconds(60)).await;
    assert!(!host.process.is_dead());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_past_its_lease_leads_no_longer_and_dies_when_it_goes_on() {
    let world = World::new();
    let (a, _) = world.member("a").service("db", Manners::default()).leads().await;
    let (b, _) = world.member("b").launch();
    world.until(seconds(7)).await;
    a.process.stop();
    world.until(seconds(19)).await;
    assert!(!a.believes(), "by the clock alone, while nothing of it runs");
    assert_eq!(b.leading().await, seconds(25));
    world.until(seconds(100)).await;
    a.process.go_on();
    world.until(millis(100_001)).await;
    assert_eq!(world.when("a killed"), seconds(100));
    assert!(b.believes());
    assert!(
        b.leadership().unwrap().token() > a.leadership().unwrap().token(),
        "what it still writes is refused"
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_for_less_than_that_goes_on_leading() {
    let world = World::new();
    let (a, problem) = world.member("a").leads().await;
    world.until(seconds(7)).await;
    a.process.stop();
    world.until(seconds(18)).await;
    a.process.go_on();
    world.until(seconds(60)).await;
    assert!(a.believes());
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_slept_past_its_leadership_does_not_take_it_up_again() {
    let world = World::new();
    let (a, problem) = world.member("a").leads().await;
    world.until(seconds(7)).await;
    a.process.stop();
    // Leadership ends at 19 s; the process is killed at 24 s, and the lease ends at 25 s.
    world.until(seconds(20)).await;
    a.process.go_on();
    let problem = problem.signalled().await;
    assert!(problem.to_string().contains("was stopped or too busy"), "{problem}");
    assert!(!a.believes());
    assert!(a.shutdown().await.is_some());
    assert_eq!(world.store.holder(&slot(1)), None, "it can still be released");
    world.until(seconds(60)).await;
    assert!(!a.process.is_dead());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_heard_after_the_end_of_leadership_does_not_bring_it_back() {
    let world = World::new();
    let slow = Fate {
        back: Some(millis(100)),
        ..Fate::FINE
    };
    let (a, problem) = world.member("a").fates(move |_| slow).leads().await;
    // In the middle of the renewal of the fifth second.
    world.until(millis(5_050)).await;
    a.process.stop();
    world.until(seconds(16)).await;
    a.process.go_on();
    problem.signalled().await;
    assert_eq!(world.elapsed(), seconds(16));
    assert!(!a.believes());
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_by_a_fortieth_do_not_let_two_lead() {
    for (speed, of_the_other) in [(975_000, 1_000_000), (1_025_000, 975_000)] {
        let world = World::new();
        let stubborn = Manners {
            stops_in: seconds(3600),
            ..Manners::default()
        };
        let member = world.member("a").at_speed(speed).service("db", stubborn);
        let (a, _) = member.fates(after_the_grant(Fate::HANGS)).leads().await;
        let (b, _) = world.member("b").at_speed(of_the_other).launch();
        b.leading().await;
        assert!(a.process.is_dead(), "at the speed {speed}");
        assert!(!a.believes());
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_problem_wins() {
    let world = World::new();
    let short = Manners {
        runs_for: Some(seconds(2)),
        ..Manners::default()
    };
    let (host, problem) = world
        .member("a")
        .service("db", short)
        .fates(after_the_grant(Fate::HANGS))
        .leads()
        .await;
    world.until(seconds(16)).await;
    let first = "the service db ended by itself";
    assert_eq!(problem.signalled().await.to_string(), first);
    assert_eq!(host.shutdown().await.unwrap().to_string(), first);
}

#[tokio::test(start_paused = true)]
async fn a_host_can_be_made_again_after_a_failure() {
    let world = World::new();
    let broken = Manners {
        fails: true,
        ..Manners::default()
    };
    let (first, problem) = world.member("a").service("db", broken).launch();
    problem.signalled().await;
    first.shutdown().await;
    let (second, problem) = world.member("a again").service("db", Manners::default()).leads().await;
    assert!(second.leadership().unwrap().token() > first.leadership().unwrap().token());
    world.until(seconds(60)).await;
    assert!(problem.so_far().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_does_nothing_more() {
    let process = Process::new();
    process.kill();
    process.go_on();
    assert!(!process.is_running());
}
