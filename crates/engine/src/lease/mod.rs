//! Leases, and what they hold: locks and elections.
//!
//! A lease belongs to an *incarnation*, one start of one process, and ends when it is not renewed in time; values that are
//! attached to it vanish with it. Locks are held through leases, and so are places in their queues, so that nothing is held
//! or awaited by who is gone.
//!
//! A lock is held exclusively, or shared by readers, or as one of a number of permits. Its queue is served strictly in order:
//! a reader that comes after a waiting writer waits behind it. An election is a lock whose holder, the leader, may proclaim
//! something. Every grant is an event, and its revision is the *fencing token*: a later grant has a greater one.
//!
//! All deadlines are steady instants ([`crate::clock`]).

mod command;
mod decide;
mod event;
mod lock;
mod row;
mod state;

pub use command::{Acquire, Grant, LeaseCommand};
pub use decide::LeaseRejection;
pub(crate) use decide::{decide, due};
pub use event::{LeaseEvent, LeftBecause, Mode};
pub(crate) use lock::{BEHIND_ALL, HELD};
pub use lock::{Lock, LockAddress};
pub(crate) use state::evolve;
pub use state::{Lease, LeaseCounts, Leases, TicketEnd};
