//! Values and futures: what is asked of them over HTTP, and by agents.

pub(super) mod asked;
mod awaits;
mod futures;
mod operations;
mod routes;
mod same;
mod schemas;
mod watch;

pub(crate) use awaits::await_value;
pub(super) use futures::*;
pub(crate) use operations::{delete_value, get_value, list_values, put_value, transact};
pub(super) use routes::*;
pub(crate) use schemas::Schemas;
pub(crate) use watch::{Next, ValueWatch};
