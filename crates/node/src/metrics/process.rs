//! What the operating system knows of this process, under the names that every Prometheus client uses.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::registry::{Registry, Unit};

use super::{counter, float, gauge};

/// When the process started, as near as it is known to itself.
pub(super) fn now_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Adds what can be found out; what cannot (there is no `/proc`) is left out.
pub(super) fn fill(registry: &mut Registry, started_seconds: f64) {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds since the start")]
    let spent = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    let cpu = counter(spent);
    registry.register_with_unit("process_cpu", "CPU time spent, user and system", Unit::Seconds, cpu);
    registry.register_with_unit(
        "process_start_time",
        "When the server started, since the Unix epoch",
        Unit::Seconds,
        float(started_seconds),
    );
    if let Some(bytes) = resident_bytes() {
        registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, gauge(bytes));
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = open.count().saturating_sub(1) as u64;
        registry.register("process_open_fds", "Open file descriptors", gauge(open));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(most) = limit.current {
        registry.register("process_max_fds", "File descriptors that may be open", gauge(most));
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
