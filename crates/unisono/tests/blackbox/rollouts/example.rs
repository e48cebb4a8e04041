//! The example of a fleet, as anybody would run it.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_completes_a_good_version_and_goes_back_from_a_bad_one() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/rollout/run.sh");
    let ran = Command::new(example)
        .env("UNISONO", env!("CARGO_BIN_EXE_unisono"))
        .env("TARGETS", "4")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{shown}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(shown.contains("4 targets have proved themselves, 0 failed"), "{shown}");
    assert!(shown.contains("1 targets went back to v2, 0 did not"), "{shown}");
}
