//! Backups and places that cannot be used.

use std::path::Path;

use super::{DEFINITIONS, backup, done, failed, http, restore, said, verify};
use crate::harness::{Server, apply, request};

/// Everything below a folder, by path and size.
fn tree(folder: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        found.push((entry.path(), meta.len()));
        if meta.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_with_the_byte_and_nothing_is_made_of_it() {
    let server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    let site = server.site();
    let file = site.path("good.backup");
    done(&mut backup(&server, &file));
    let bytes = std::fs::read(&file).unwrap();
    let bad = site.path("bad.backup");
    for (at, what) in [
        (bytes.len() / 2, "the backup is damaged at byte"),
        (bytes.len() - 5, "the backup is damaged at byte"),
    ] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        std::fs::write(&bad, flipped).unwrap();
        assert!(failed(&mut verify(&bad)).contains(what));
        assert!(failed(&mut restore(&bad, &site.path("new"))).contains(what));
    }
    std::fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    let cut = format!("it ends at byte {}", bytes.len() - 1);
    assert!(failed(&mut verify(&bad)).contains(&cut));
    assert!(failed(&mut restore(&bad, &site.path("new"))).contains(&cut));
    std::fs::write(&bad, "a letter to somebody").unwrap();
    assert!(failed(&mut verify(&bad)).contains("no backup"));
    assert!(!site.path("new").exists() && !site.path(".new.restoring").exists());
    let missing = verify(&site.path("missing")).output().unwrap();
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_replaces_nothing_and_a_backup_neither() {
    let server = Server::start();
    let site = server.site();
    let file = site.path("good.backup");
    done(&mut backup(&server, &file));
    let before = tree(&server.data());
    let refused = failed(&mut restore(&file, &server.data()));
    assert!(
        refused.contains("is not empty: it holds LOCK, journal, store"),
        "{refused}"
    );
    assert_eq!(tree(&server.data()), before);
    let again = backup(&server, &file).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    done(&mut verify(&file));
    std::fs::create_dir(site.path("empty")).unwrap();
    done(&mut restore(&file, &site.path("empty")));
    done(&mut restore(&file, &site.path("deep/er/new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_is_refused() {
    let server = Server::start();
    for bad in ["stallSeconds=0", "stallSeconds=3601", "stallSeconds=soon", "speed=1"] {
        let url = format!("{}/api/v1/system/backup?{bad}", server.url());
        let answer = http().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{bad}");
    }
}
