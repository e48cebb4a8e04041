//! Servers that are killed, and readers that sleep, while a backup is taken.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{DEFINITIONS, backup, done, http, said, start_large, verify};
use crate::harness::{Server, apply, eventually, program, request};

/// Names in a folder that begin like what a backup leaves when it does not clean up.
fn left_over(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.contains("partial") || name.contains("backup"))
        .collect()
}

async fn metric(server: &Server, line: &str) -> bool {
    let metrics = server.client().metrics().await.unwrap();
    metrics.lines().any(|found| found == line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_is_backed_up_loses_nothing_and_the_backup_fails() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_large(&client, 2).await;
    let site = std::sync::Arc::clone(server.site());
    let mut reading = backup(&server, Path::new("-"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun, and cannot end: nobody reads.
    let mut begin = [0; 8];
    reading.stdout.as_mut().unwrap().read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"UNISONOB");
    server.kill();
    let cut = reading.wait_with_output().unwrap();
    assert_eq!(cut.status.code(), Some(1), "{}", said(&cut));
    assert!(
        said(&cut).contains("the backup is cut: it ends at byte"),
        "{}",
        said(&cut)
    );
    server.restart();
    let file = site.path("one.backup");
    assert_eq!(done(&mut backup(&server, &file))["rows"]["runs"], 2);
    assert_eq!(left_over(&site.path("")), ["one.backup"]);
    done(&mut verify(&file));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_nobody_reads_stalls_nobody_and_is_given_up() {
    let server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_large(&client, 2).await;
    let url = format!("{}/api/v1/system/backup?stallSeconds=1", server.url());
    let sleeping = http().post(url).send().await.unwrap();
    let begin = Instant::now();
    for number in 0..20 {
        client.start(&request(&format!("r{number}"), "t")).await.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    eventually("the backup is given up", || async {
        metric(&server, "unisono_backups_total{outcome=\"failed\"} 1")
            .await
            .then_some(())
    })
    .await;
    let file = server.site().path("given-up");
    std::fs::write(&file, sleeping.bytes().await.unwrap()).unwrap();
    let refused = super::failed(&mut verify(&file));
    assert!(
        refused.contains("the server gave up, because nothing was read of it for 1 s"),
        "{refused}"
    );
    // The next one is not in its way.
    done(&mut backup(&server, &server.site().path("one.backup")));
    assert!(metric(&server, "unisono_backups_total{outcome=\"complete\"} 1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_leave_does_not_wait_for_a_backup() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_large(&client, 2).await;
    let url = format!("{}/api/v1/system/backup", server.url());
    let reading = http().post(url).send().await.unwrap();
    let leaving = tokio::task::spawn_blocking(move || server.terminate());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), reading.bytes().await.unwrap_or_default()).unwrap();
    assert!(leaving.await.unwrap().status.success());
    super::failed(&mut verify(file.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_interrupted_leaves_no_file() {
    let server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_large(&client, 2).await;
    let folder = server.site().path("backups");
    std::fs::create_dir(&folder).unwrap();
    for _ in 0..3 {
        let mut child = backup(&server, &folder.join("one.backup")).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let ended = crate::harness::terminate(&mut child);
        let names = left_over(&folder);
        if ended.status.success() {
            // It was faster.
            assert_eq!(names, ["one.backup"]);
            done(&mut verify(&folder.join("one.backup")));
            std::fs::remove_file(folder.join("one.backup")).unwrap();
        } else {
            assert!(names.is_empty(), "{names:?}");
        }
    }
}

#[test]
fn a_backup_of_a_server_that_is_not_there_ends_with_3() {
    let output = program()
        .args(["--server", "http://127.0.0.1:9", "backup", "--to", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}
