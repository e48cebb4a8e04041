//! The pipeline of services.

use unisono_host::{Problem, service};

use crate::world::{Manners, World, millis, seconds, slot};

#[tokio::test(start_paused = true)]
async fn services_start_in_order_each_when_the_one_before_has_started_and_stop_in_reverse() {
    let world = World::new();
    let slow = Manners {
        starts_in: seconds(2),
        stops_in: seconds(1),
        ..Manners::default()
    };
    let member = world.member("a").service("db", slow).service("api", slow);
    let (host, _) = member.leads().await;
    world.until(seconds(10)).await;
    assert!(host.shutdown().await.is_none());
    let log = [
        "a db starts",
        "a api starts",
        "a api stops",
        "a api stopped",
        "a db stops",
        "a db stopped",
    ];
    assert_eq!(world.log(), log);
    assert_eq!(world.when("a api starts"), seconds(2));
    assert_eq!(world.when("a db stops"), seconds(11));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_start_is_a_problem_and_those_after_it_are_never_started() {
    let world = World::new();
    let broken = Manners {
        starts_in: seconds(1),
        fails: true,
        ..Manners::default()
    };
    let member = world
        .member("a")
        .service("db", Manners::default())
        .service("api", broken);
    let (host, problem) = member.service("ui", Manners::default()).launch();
    let problem = problem.signalled().await;
    assert_eq!(problem.to_string(), "the service api failed: the port is taken");
    assert!(matches!(host.shutdown().await, Some(Problem::ServiceFailed { .. })));
    assert_eq!(
        world.log(),
        ["a db starts", "a api starts", "a db stops", "a db stopped"]
    );
    assert_eq!(world.store.holder(&slot(1)), None);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_kept_while_services_start_and_stop_however_long_they_take() {
    let world = World::new();
    let slow = Manners {
        starts_in: seconds(90),
        stops_in: seconds(90),
        ..Manners::default()
    };
    let (host, problem) = world.member("a").service("db", slow).leads().await;
    world.until(seconds(100)).await;
    assert!(host.believes());
    assert!(host.shutdown().await.is_none());
    assert!(problem.so_far().is_none());
    assert_eq!(host.calls("renew").len(), 38, "every 5 s until 190 s");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_by_itself_is_a_problem() {
    let world = World::new();
    let short = Manners {
        runs_for: Some(seconds(3)),
        ..Manners::default()
    };
    let (_host, problem) = world.member("a").service("db", short).leads().await;
    assert_eq!(problem.signalled().await.to_string(), "the service db ended by itself");
    assert_eq!(world.elapsed(), seconds(3));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_is_a_problem_and_the_others_are_stopped() {
    let world = World::new();
    let panics = service("cache", |context| async move {
        context.started();
        tokio::time::sleep(seconds(1)).await;
        panic!("no memory")
    });
    let member = world.member("a").service("db", Manners::default());
    let (host, problem) = member.config(|config| config.services.push(panics)).leads().await;
    let problem = problem.signalled().await.to_string();
    assert!(
        problem.contains("the service cache failed") && problem.contains("no memory"),
        "{problem}"
    );
    host.shutdown().await;
    assert_eq!(world.log().last().unwrap(), "a db stopped");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_stop_is_a_problem_of_the_shutdown() {
    let world = World::new();
    let clumsy = service("db", |context| async move {
        context.started();
        context.stopping().await;
        Err("the last write was lost".into())
    });
    let (host, problem) = world
        .member("a")
        .config(|config| config.services.push(clumsy))
        .leads()
        .await;
    world.until(seconds(1)).await;
    assert!(problem.so_far().is_none());
    let problem = host.shutdown().await.unwrap().to_string();
    assert_eq!(problem, "the service db failed: the last write was lost");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_says_that_it_has_started_keeps_the_next_one_waiting() {
    let world = World::new();
    let mute = service("db", |context| async move {
        context.stopping().await;
        Ok(())
    });
    let member = world.member("a").config(|config| config.services.insert(1, mute));
    let (host, _) = member.service("api", Manners::default()).leads().await;
    world.until(seconds(600)).await;
    assert!(world.log().is_empty());
    assert!(host.shutdown().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_services_start_stops_those_that_have_begun() {
    let world = World::new();
    let slow = Manners {
        starts_in: seconds(10),
        ..Manners::default()
    };
    let member = world.member("a").service("db", slow).service("api", slow);
    let (host, _) = member.leads().await;
    world.until(millis(2_500)).await;
    assert!(host.shutdown().await.is_none());
    assert_eq!(world.log(), ["a db starts", "a db stops", "a db stopped"]);
}
