//! What servers and agents say about themselves: metrics, dashboards, traces, logs.

mod dashboards;
mod logs;
mod metrics;
mod openmetrics;
mod otlp;
mod overhead;
mod traces;

use std::path::{Path, PathBuf};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
