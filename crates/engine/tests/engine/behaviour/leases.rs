//! Leases: renewal, end, and what goes with them.

use unisono_engine::lease::{LeaseCommand, LockAddress, Mode};
use unisono_engine::{Reply, State};
use unisono_model::ids::Revision;

use crate::acts::{acquire, grant, json, put, try_put};
use crate::documents::{name, space};
use crate::sim::Sim;
use crate::storage::replay;

fn renew(sim: &mut Sim, lease: Revision) -> bool {
    let namespace = space();
    sim.lease(LeaseCommand::Renew { namespace, lease }).is_ok()
}

#[test]
fn a_lease_lives_as_long_as_it_is_renewed() {
    let mut sim = Sim::new();
    let lease = grant(&mut sim, "h", 1_000);
    for _ in 0..5 {
        sim.advance(999);
        assert!(renew(&mut sim, lease));
    }
    sim.advance(999);
    assert!(sim.state.lease_view(lease).is_some());
    sim.advance(1);
    assert!(sim.state.lease_view(lease).is_none());
    assert!(!renew(&mut sim, lease), "what has ended is not revived");
}

#[test]
fn everything_that_a_lease_has_goes_with_it() {
    let mut sim = Sim::new();
    let (lease, next) = (grant(&mut sim, "h", 1_000), grant(&mut sim, "next", 60_000));
    put(&mut sim, "a", json("1"), |put| put.lease = Some(lease));
    put(&mut sim, "b", json("1"), |put| put.lease = Some(lease));
    put(&mut sim, "b", json("2"), |_| {});
    let pump = LockAddress::lock(space(), name("pump"));
    acquire(&mut sim, pump.clone(), lease, Mode::Exclusive);
    acquire(&mut sim, pump.clone(), next, Mode::Exclusive);
    sim.advance(1_000);
    let values: Vec<&str> = sim
        .state
        .values()
        .range(&space(), "", None)
        .map(|it| it.key())
        .collect();
    assert_eq!(values, ["b"], "the second write of b took it from the lease");
    let lock = sim.state.leases().lock_view(&pump, sim.state.marks()).unwrap();
    assert_eq!(lock.holders[0].lease, next, "whoever waits is next, at once");
    assert!(try_put(&mut sim, "c", json("1"), |put| put.lease = Some(lease)).is_err());
}

#[test]
fn a_restart_neither_shortens_a_lease_nor_revives_one() {
    let mut sim = Sim::new();
    let (gone, lives) = (grant(&mut sim, "gone", 1_000), grant(&mut sim, "lives", 5_000));
    sim.advance(1_000);
    let until = sim.state.lease_view(lives).unwrap().expires_at;
    let mut state = State::new(sim.settings);
    replay(&mut state, &sim.journal, Revision(0));
    assert!(state.lease_view(gone).is_none());
    assert_eq!(state.lease_view(lives).unwrap().expires_at, until);
}

#[test]
fn what_a_lease_holds_is_told_when_it_is_renewed() {
    let mut sim = Sim::new();
    let lease = grant(&mut sim, "h", 1_000);
    acquire(
        &mut sim,
        LockAddress::lock(space(), name("pump")),
        lease,
        Mode::Exclusive,
    );
    let token = sim.state.revision;
    sim.advance(100);
    let namespace = space();
    let Ok(Reply::Lease(view)) = sim.lease(LeaseCommand::Renew { namespace, lease }) else {
        panic!("renewed");
    };
    assert_eq!((view.holds[0].name.as_str(), view.holds[0].token), ("pump", token));
    assert_eq!(view.expires_at, sim.now.plus_millis(1_000));
}
