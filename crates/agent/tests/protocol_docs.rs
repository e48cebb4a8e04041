//! `docs/protocol.md` and `docs/protocol/*.schema.json` say what the types say, and the guide what the program does.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::{Schema, schema_for};
use serde_json::Value;
use unisono_model::protocol::{
    Accepted, ActivityTask, AgentMessage, Answer, Ask, AttemptResult, CancelAttempt, ContextUpdate, Credits, Goodbye,
    Heartbeat, Hello, LogLine, ProtocolError, Reconnect, Refused, ServerMessage, StopAsking, WatchChange, Welcome,
};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The fenced blocks of the page, as (what stands after the fence, text).
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    blocks
}

fn member(message: &Value) -> String {
    message.as_object().unwrap().keys().next().unwrap().clone()
}

#[test]
fn every_example_of_the_page_is_a_frame_of_its_sender_and_every_message_has_an_example() {
    let page = std::fs::read_to_string(docs().join("protocol.md")).unwrap();
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, text) in blocks(&page) {
        let value: Value = match kind.as_str() {
            "json agent" => {
                let frame: Vec<AgentMessage> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                serde_json::to_value(frame).unwrap()
            }
            "json server" => {
                let frame: Vec<ServerMessage> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                serde_json::to_value(frame).unwrap()
            }
            other if other.starts_with("json") => panic!("say who sends this: `json agent` or `json server`\n{text}"),
            _ => continue,
        };
        // Nothing in an example is ignored: what was read says the same as what is written.
        assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap(), "{text}");
        shown
            .entry(kind)
            .or_default()
            .extend(value.as_array().unwrap().iter().map(member));
    }
    for (file, _) in schemas() {
        let (sender, message) = file.trim_end_matches(".schema.json").split_once('-').unwrap();
        if message != "frame" {
            let kind = format!("json {sender}");
            assert!(
                shown[&kind].iter().any(|name| name == message),
                "no example of the {sender}'s `{message}`"
            );
        }
    }
}

fn schemas() -> Vec<(String, Schema)> {
    let agent = [
        ("frame", schema_for!(Vec<AgentMessage>)),
        ("hello", schema_for!(Hello)),
        ("credits", schema_for!(Credits)),
        ("result", schema_for!(AttemptResult)),
        ("context", schema_for!(ContextUpdate)),
        ("heartbeat", schema_for!(Heartbeat)),
        ("log", schema_for!(LogLine)),
        ("ask", schema_for!(Ask)),
        ("stop", schema_for!(StopAsking)),
        ("goodbye", schema_for!(Goodbye)),
    ];
    let server = [
        ("frame", schema_for!(Vec<ServerMessage>)),
        ("welcome", schema_for!(Welcome)),
        ("activity", schema_for!(ActivityTask)),
        ("cancel", schema_for!(CancelAttempt)),
        ("accepted", schema_for!(Accepted)),
        ("contextAccepted", schema_for!(Accepted)),
        ("refused", schema_for!(Refused)),
        ("answer", schema_for!(Answer)),
        ("change", schema_for!(WatchChange)),
        ("heartbeat", schema_for!(Heartbeat)),
        ("reconnect", schema_for!(Reconnect)),
        ("error", schema_for!(ProtocolError)),
    ];
    let name = |sender: &'static str| move |(message, schema)| (format!("{sender}-{message}.schema.json"), schema);
    agent
        .into_iter()
        .map(name("agent"))
        .chain(server.into_iter().map(name("server")))
        .collect()
}

#[test]
fn there_is_a_schema_for_every_message() {
    for sender in ["agent", "server"] {
        let all = schemas();
        let (_, frame) = all
            .iter()
            .find(|(file, _)| *file == format!("{sender}-frame.schema.json"))
            .unwrap();
        let frame = serde_json::to_value(frame).unwrap();
        let message = &frame["$defs"][if sender == "agent" {
            "AgentMessage"
        } else {
            "ServerMessage"
        }]["oneOf"];
        for variant in message.as_array().unwrap() {
            let name = member(&variant["properties"]);
            let file = format!("{sender}-{name}.schema.json");
            assert!(all.iter().any(|(known, _)| *known == file), "{file} is missing");
        }
    }
}

/// `UPDATE_SCHEMAS=1 cargo test -p unisono-agent --test protocol_docs` writes them.
#[test]
fn the_schemas_in_the_docs_are_those_of_the_types() {
    let directory = docs().join("protocol");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut expected = Vec::new();
    for (file, schema) in schemas() {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = directory.join(&file);
        if update {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "docs/protocol/{file} is not what the types say; write it anew with UPDATE_SCHEMAS=1"
        );
        expected.push(file);
    }
    for entry in std::fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(expected.contains(&name), "docs/protocol/{name} belongs to no message");
    }
}

#[test]
fn the_guide_shows_the_example_agent_and_configurations_that_are_understood() {
    let guide = std::fs::read_to_string(docs().join("guides/agents.md")).unwrap();
    let blocks = blocks(&guide);
    let example = include_str!("../examples/hello.rs");
    let (_, rust) = blocks.iter().find(|(kind, _)| kind == "rust").unwrap();
    assert!(
        example.ends_with(rust),
        "the first Rust block of the guide is not crates/agent/examples/hello.rs"
    );
    let yaml: Vec<&String> = blocks
        .iter()
        .filter(|(kind, _)| kind == "yaml")
        .map(|(_, text)| text)
        .collect();
    assert!(yaml.len() >= 4);
    for text in yaml {
        let whole = if text.starts_with("exec:") || text.starts_with("http:") {
            format!(
                "activities:\n  - type: t\n    {}",
                text.trim_end().replace('\n', "\n    ")
            )
        } else {
            text.clone()
        };
        let config = unisono_agent::AgentConfig::parse(&whole, Path::new("agents.md"));
        assert!(config.is_ok_and(|config| !config.activities.is_empty()), "{whole}");
    }
}
