//! Locks, semaphores, elections: who is next, and by which token.

use unisono_engine::lease::{LeaseCommand, LeaseRejection, LeftBecause, LockAddress, Mode, TicketEnd};
use unisono_engine::value::{Fence, ValueRejection};
use unisono_engine::{Effect, Rejection, Reply};
use unisono_model::ids::Revision;
use unisono_model::leases::LockView;

use crate::acts::{acquire, grant, json, put, try_acquire, try_put};
use crate::documents::{name, payload, space};
use crate::sim::Sim;

fn lock(text: &str) -> LockAddress {
    LockAddress::lock(space(), name(text))
}

fn view(sim: &Sim, text: &str) -> LockView {
    sim.state.leases().lock_view(&lock(text), sim.state.marks()).unwrap()
}

fn leases(sim: &mut Sim, count: usize) -> Vec<Revision> {
    (0..count)
        .map(|number| grant(sim, &format!("h{number}"), 60_000))
        .collect()
}

fn release(sim: &mut Sim, text: &str, lease: Revision) {
    let lock = lock(text);
    sim.lease(LeaseCommand::Release { lock, lease }).unwrap();
}

fn ends(sim: &mut Sim) -> Vec<(u64, TicketEnd)> {
    let effects = std::mem::take(&mut sim.effects);
    let ends = effects.into_iter().filter_map(|effect| match effect {
        Effect::TicketEnded { ticket, end } => Some((ticket.0, end)),
        _ => None,
    });
    ends.collect()
}

#[test]
fn the_queue_is_served_in_order_and_every_grant_has_a_greater_token() {
    let mut sim = Sim::new();
    let leases = leases(&mut sim, 3);
    let mut tokens = Vec::new();
    let mut tickets = Vec::new();
    for lease in &leases {
        match acquire(&mut sim, lock("pump"), *lease, Mode::Exclusive) {
            Reply::Granted { token } => tokens.push(token),
            Reply::Queued { ticket } => tickets.push(ticket.0),
            other => panic!("{other:?}"),
        }
    }
    for (lease, ticket) in leases.iter().zip(&tickets) {
        release(&mut sim, "pump", *lease);
        let ends = ends(&mut sim);
        let [(ended, TicketEnd::Granted(token))] = ends[..] else {
            panic!("{ends:?}");
        };
        assert_eq!(ended, *ticket);
        assert!(token > *tokens.last().unwrap());
        tokens.push(token);
    }
}

#[test]
fn a_writer_is_not_starved_by_readers() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 4);
    for (lease, mode) in [
        (0, Mode::Shared),
        (1, Mode::Exclusive),
        (2, Mode::Shared),
        (3, Mode::Shared),
    ] {
        acquire(&mut sim, lock("doc"), it[lease], mode);
    }
    assert_eq!((view(&sim, "doc").holders.len(), view(&sim, "doc").queue.len()), (1, 3));
    release(&mut sim, "doc", it[0]);
    assert_eq!(view(&sim, "doc").holders[0].lease, it[1]);
    release(&mut sim, "doc", it[1]);
    let readers: Vec<Revision> = view(&sim, "doc").holders.iter().map(|holder| holder.lease).collect();
    assert_eq!(readers, [it[2], it[3]], "both readers together");
}

#[test]
fn asking_again_changes_nothing_and_says_the_same() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 2);
    let first = acquire(&mut sim, lock("pump"), it[0], Mode::Exclusive);
    let queued = acquire(&mut sim, lock("pump"), it[1], Mode::Exclusive);
    let before = sim.state.revision;
    assert_eq!(acquire(&mut sim, lock("pump"), it[0], Mode::Exclusive), first);
    assert_eq!(acquire(&mut sim, lock("pump"), it[1], Mode::Exclusive), queued);
    assert_eq!(sim.state.revision, before);
    let otherwise = try_acquire(&mut sim, lock("pump"), (it[0], Mode::Shared), None).unwrap_err();
    assert!(
        matches!(otherwise, Rejection::Lease(LeaseRejection::HeldOtherwise { .. })),
        "{otherwise:?}"
    );
}

#[test]
fn a_wait_ends_at_its_deadline_and_lets_those_behind_it_pass() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 3);
    acquire(&mut sim, lock("doc"), it[0], Mode::Shared);
    try_acquire(&mut sim, lock("doc"), (it[1], Mode::Exclusive), Some(1_000)).unwrap();
    let writer = sim.state.revision.0;
    acquire(&mut sim, lock("doc"), it[2], Mode::Shared);
    let reader = sim.state.revision.0;
    sim.advance(999);
    assert!(ends(&mut sim).is_empty());
    sim.advance(1);
    let ends = ends(&mut sim);
    assert_eq!(ends[0], (writer, TicketEnd::Left(LeftBecause::TimedOut)));
    assert!(matches!(ends[1], (ticket, TicketEnd::Granted(_)) if ticket == reader));
}

#[test]
fn a_semaphore_is_not_a_lock_and_all_agree_on_its_permits() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 4);
    let permit = |of| Mode::Permit { of };
    acquire(&mut sim, lock("slots"), it[0], permit(2));
    acquire(&mut sim, lock("slots"), it[1], permit(2));
    for (lease, mode) in [(2, permit(3)), (2, Mode::Exclusive)] {
        let refused = try_acquire(&mut sim, lock("slots"), (it[lease], mode), Some(1)).unwrap_err();
        assert!(refused.to_string().contains("in use as a semaphore of 2"), "{refused}");
    }
    let refused = try_acquire(&mut sim, lock("slots"), (it[2], permit(2)), None).unwrap_err();
    assert_eq!(refused.to_string(), "lock \"slots\" is held by ada (h0), ada (h1)");
    acquire(&mut sim, lock("slots"), it[3], permit(2));
    release(&mut sim, "slots", it[0]);
    assert_eq!(view(&sim, "slots").holders.len(), 2);
}

#[test]
fn a_stolen_lock_goes_to_who_is_next_and_the_theft_is_kept() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 2);
    acquire(&mut sim, lock("pump"), it[0], Mode::Exclusive);
    let token = sim.state.revision;
    acquire(&mut sim, lock("pump"), it[1], Mode::Exclusive);
    let steal = |token| LeaseCommand::Steal {
        lock: lock("pump"),
        token,
        actor: "eve".to_owned(),
        reason: "it hangs".to_owned(),
    };
    let stale = sim.lease(steal(Some(Revision(1)))).unwrap_err();
    assert!(matches!(stale, Rejection::Lease(LeaseRejection::NothingToSteal { .. })));
    sim.lease(steal(Some(token))).unwrap();
    let stolen = view(&sim, "pump");
    assert_eq!(stolen.holders[0].lease, it[1]);
    let audit = &stolen.audit[0];
    assert_eq!(
        (audit.actor.as_str(), audit.holder.as_str(), audit.token),
        ("eve", "h0", token)
    );
    release(&mut sim, "pump", it[1]);
    assert_eq!(
        view(&sim, "pump").audit.len(),
        1,
        "it is kept when nobody holds the lock"
    );
    let lease = it[0];
    let gone = sim
        .lease(LeaseCommand::Release {
            lock: lock("pump"),
            lease,
        })
        .unwrap_err();
    assert!(matches!(gone, Rejection::Lease(LeaseRejection::NotHeld { .. })));
}

#[test]
fn a_write_under_a_lock_that_is_lost_is_refused_before_anybody_else_has_written() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 1);
    acquire(&mut sim, lock("pump"), it[0], Mode::Exclusive);
    let fence = Fence {
        token: sim.state.revision,
        lock: Some(name("pump")),
    };
    put(&mut sim, "a", json("1"), |put| put.fence = Some(fence.clone()));
    release(&mut sim, "pump", it[0]);
    let refused = try_put(&mut sim, "a", json("2"), |put| put.fence = Some(fence)).unwrap_err();
    assert!(
        matches!(refused, Rejection::Value(ValueRejection::LockLost { .. })),
        "{refused:?}"
    );
}

#[test]
fn an_election_shows_its_leader_and_what_that_proclaims() {
    let mut sim = Sim::new();
    let it = leases(&mut sim, 2);
    let election = LockAddress::election(space(), name("db"));
    acquire(&mut sim, election.clone(), it[0], Mode::Exclusive);
    acquire(&mut sim, election.clone(), it[1], Mode::Exclusive);
    let shown = |sim: &Sim| sim.state.leases().election_view(&election, sim.state.marks()).unwrap();
    assert_eq!(shown(&sim).value.unwrap().get(), "\"hello\"");
    let proclaim = |lease| LeaseCommand::Proclaim {
        election: election.clone(),
        lease,
        value: payload("2"),
    };
    assert!(sim.lease(proclaim(it[1])).is_err(), "only the leader proclaims");
    sim.lease(proclaim(it[0])).unwrap();
    assert_eq!(shown(&sim).value.unwrap().get(), "2");
    let (lock, lease) = (election.clone(), it[0]);
    sim.lease(LeaseCommand::Release { lock, lease }).unwrap();
    let now = shown(&sim);
    assert_eq!(now.leader.unwrap().lease, it[1]);
    assert_eq!(
        now.value.unwrap().get(),
        "\"hello\"",
        "the new leader says what it brought"
    );
    assert!(
        sim.state
            .leases()
            .lock_view(&lock_named_like(&election), sim.state.marks())
            .is_none()
    );
}

fn lock_named_like(election: &LockAddress) -> LockAddress {
    LockAddress::lock(election.namespace.clone(), election.name.clone())
}
