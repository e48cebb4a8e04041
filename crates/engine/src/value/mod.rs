//! Values: what a key of a namespace holds, and futures: values that somebody awaits.
//!
//! A value is JSON or bytes. It is written, compared and deleted by transactions: all conditions hold and every operation
//! happens, or nothing does; a plain put is a transaction of one operation. A value may expire, or vanish with a lease. Its
//! time to live is kept as a steady deadline ([`crate::clock`]), and its end is an event.
//!
//! A future is a key that a party, its *producer*, has promised to give a value. It is kept once in each epoch, or broken,
//! or expires. Who awaits a key is known only while they are connected: no event tells of it, and a restart forgets it, as
//! it ends every connection ([`Awaits`]).
//!
//! A key that was written under a fencing token remembers the newest one, also when it has no value any more (a
//! *tombstone*), so that a write under an older one is refused.

mod awaits;
mod command;
mod data;
mod decide;
mod event;
mod future;
mod promise;
mod row;
mod state;
mod stored;

pub use awaits::{Await, AwaitId, Awaited, Awaits};
pub use command::{Condition, Declare, Expect, Fence, Operation, Put, ValueCommand, Write};
pub use data::Data;
pub use decide::{Failed, Outcome, ValueRejection, Written};
pub(crate) use decide::{decide, ended_with_lease, expire};
pub use event::{Because, ValueEvent};
pub use future::Future;
pub(crate) use promise::{broken_by_lease, broken_by_run};
pub(crate) use state::evolve;
pub use state::{ValueCounts, Values};
pub use stored::{Shown, Value};
