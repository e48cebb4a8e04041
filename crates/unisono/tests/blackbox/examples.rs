//! What the demo leaves behind is what its tenant needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Site, program};

/// The files under a folder that have this name.
fn found(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            files.extend(found(&path, name));
        } else if path.file_name().is_some_and(|it| it == name) {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_demo_leaves_a_did_document_that_names_its_domain() {
    let site = Site::new();
    let ran = program()
        .arg("demo")
        .env("TMPDIR", site.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{said}{complained}");
    let documents = found(&site.path(""), "did.json");
    let [document] = &documents[..] else {
        panic!("one did.json: {documents:?}\n{said}")
    };
    let did: Value = serde_json::from_str(&std::fs::read_to_string(document).unwrap()).unwrap();
    // did:web: the document of a domain lies under its .well-known, and is about exactly that domain.
    let id = did["id"].as_str().unwrap();
    assert_eq!(id, "did:web:acme.example.com");
    assert!(
        document.ends_with("web/acme.example.com/.well-known/did.json"),
        "{}",
        document.display()
    );
    assert!(
        did["@context"]
            .as_array()
            .unwrap()
            .contains(&"https://www.w3.org/ns/did/v1".into()),
        "{did}"
    );
    for entry in ["verificationMethod", "service"]
        .into_iter()
        .filter_map(|key| did[key].as_array())
        .flatten()
    {
        assert!(entry["id"].as_str().unwrap().starts_with(&format!("{id}#")), "{entry}");
    }
}
