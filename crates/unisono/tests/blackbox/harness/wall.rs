//! A wall clock that can be set, for the processes of one test.

use std::path::PathBuf;
use std::process::Command;

use super::Site;

/// Stands between the program and the system's wall clock; what it adds stands in a file. Other clocks are as they are.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    const char *path = getenv("WALL_CLOCK");
    FILE *file = clock == CLOCK_REALTIME && path ? fopen(path, "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) == 1) time->tv_sec += seconds;
        fclose(file);
    }
    return result;
}
"#;

/// A wall clock that can be set.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    shim: PathBuf,
    added: PathBuf,
}

impl WallClock {
    /// One that shows the system's time until it is set.
    pub(crate) fn of(site: &Site) -> Self {
        let (source, shim) = (site.path("clock.c"), site.path("clock.so"));
        std::fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .arg(&shim)
            .arg(&source)
            .arg("-ldl");
        assert!(compiler.status().unwrap().success(), "the clock is compiled");
        let clock = Self {
            shim,
            added: site.path("clock"),
        };
        clock.set(0);
        clock
    }

    /// Sets it forward, or back, by so many seconds from the system's time.
    pub(crate) fn set(&self, seconds: i64) {
        let next = self.added.with_extension("next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        std::fs::rename(next, &self.added).unwrap();
    }

    /// The program goes by this clock.
    pub(super) fn rule(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &self.shim).env("WALL_CLOCK", &self.added);
    }
}
