//! The benches, at sizes that tell nothing: that they run, print one JSON object of figures, and leave nothing behind.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Site, program};

/// Runs a bench, and gives its figures.
fn bench(arguments: &[&str]) -> Value {
    let site = Site::new();
    let data = site.path("bench");
    std::fs::create_dir_all(&data).unwrap();
    let ran = program()
        .arg("bench")
        .args(arguments)
        .args(["--output", "json", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let (figures, log) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{arguments:?}: {log}");
    assert_eq!(left_in(&data), 0, "{arguments:?} left something behind");
    assert_eq!(figures.lines().count(), 1, "{figures}");
    serde_json::from_str(&figures).unwrap()
}

fn left_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn number(figures: &Value, pointer: &str) -> f64 {
    let found = figures.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {figures}"))
}

#[test]
fn large_orchestrations_of_every_shape_are_measured() {
    for shape in ["wide", "deep", "random"] {
        let figures = bench(&["large", "--shape", shape, "--activities", "200", "--small", "20"]);
        assert_eq!(number(&figures, "/activities"), 200.0);
        for figure in [
            "/ratio",
            "/large/microsPerActivity",
            "/crash/restartMs",
            "/reads/getBytes",
        ] {
            assert!(number(&figures, figure) > 0.0, "{shape} {figure} of {figures}");
        }
        // Started, completed, and dispatched and completed each of 200.
        assert_eq!(number(&figures, "/reads/historyEntries"), 402.0, "{shape}");
    }
}

#[test]
fn large_orchestrations_are_measured_within_one_process() {
    let figures = bench(&["large", "--activities", "50", "--small", "10", "--agents", "inprocess"]);
    assert!(number(&figures, "/ratio") > 0.0);
    assert!(figures["crash"].is_null(), "{figures}");
}

#[test]
fn open_orchestrations_are_measured_through_a_restart() {
    let figures = bench(&["open", "--orchestrations", "100", "--checkpoint-bytes", "200000"]);
    assert!(number(&figures, "/restart/seconds") > 0.0);
    assert!(number(&figures, "/restart/journalTailBytes") >= 180_000.0);
    assert!(number(&figures, "/serverRssMiB") > 1.0);
}

#[test]
fn an_idle_server_writes_nothing() {
    let few = ["--orchestrations", "50", "--agents", "5", "--seconds", "1"];
    let figures = bench(&[&["idle", "--checkpoint-bytes", "1"], &few[..]].concat());
    assert_eq!(number(&figures, "/writtenBytes"), 0.0);
    assert_eq!(number(&figures, "/dataBytesChanged"), 0.0);
}

#[test]
fn rollouts_are_measured() {
    let figures = bench(&["rollout", "--targets", "2000"]);
    assert_eq!(number(&figures, "/targets"), 2_000.0);
    for figure in [
        "/reportDecideUs/p50",
        "/reportDecideUs/p99",
        "/millionReportsSeconds",
        "/fullEvaluationMs",
        "/durableReportsPerSecond",
        "/restartSeconds",
    ] {
        assert!(number(&figures, figure) > 0.0, "{figure} of {figures}");
    }
    number(&figures, "/bytesPerTarget");
}

#[test]
fn values_are_measured() {
    let few = ["--concurrency", "4", "--seconds", "1", "--deliveries", "20"];
    let figures = bench(&[&["values", "--waiters", "50", "--keys", "1000"], &few[..]].concat());
    assert_eq!(number(&figures, "/waiters"), 50.0);
    assert_eq!(number(&figures, "/keys"), 1_000.0);
    for figure in [
        "/puts/perSecond",
        "/compareAndSwaps/perSecond",
        "/compareAndSwaps/latencyMs/p99",
        "/watchDeliveryUs/p50",
        "/futureDeliveryUs/p99",
        "/fanOutMs/max",
        "/fanOutAgentsMs/max",
        "/serverRssMiB",
        "/restartSeconds",
        "/disk/syncsPerSecond",
        "/targets/fanOutMs",
    ] {
        assert!(number(&figures, figure) > 0.0, "{figure} of {figures}");
    }
}
