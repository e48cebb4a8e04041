//! Models of what Unisono keeps.

mod fenced;
mod lock;
mod queue;
mod register;

pub use fenced::{Fenced, FencedInput, FencedOutput};
pub use lock::{FairLock, FairLockInput, FairLockOutput, FairLockState, Lock, LockInput, LockOutput, LockState};
pub use queue::{Queue, QueueInput, QueueOutput};
pub use register::{Register, RegisterInput, RegisterOutput, RegisterState};
