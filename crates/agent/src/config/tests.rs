#![allow(clippy::unwrap_used)]
use super::*;

fn parse(text: &str) -> Result<AgentConfig, ConfigError> {
    AgentConfig::parse(text, Path::new("/etc/unisono/agent.yaml"))
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const FULL: &str = r#"
name: tenant-agent
server: http://127.0.0.1:7717
namespace: default
concurrency: 16
labels: {zone: a, rack: 7}
drainTimeout: 1m
callbacks: {listen: "127.0.0.1:7720", publicUrl: "https://agent.example.com"}
secrets: {directory: secrets}
activities:
  - type: did.web.example.com
    exec: {command: [./did.sh, -v], directory: ., environment: {OUT: /tmp/x}, timeout: 30s}
  - type: notify.example.com
    http:
      method: POST
      url: "https://example.com/tenants/{input.tenant}"
      headers: {X-Key: "{input.key}"}
      body: {name: "{input.name}"}
      timeout: 10s
      complete: [200-299]
      wait: [202]
      retry: [408, 429, 500-599]
"#;

#[test]
fn a_whole_configuration_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.name.as_deref(), Some("tenant-agent"));
    assert_eq!(config.labels.unwrap()["rack"], "7");
    assert_eq!(config.drain_timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.secrets_directory, Some(PathBuf::from("/etc/unisono/secrets")));
    assert_eq!(config.callbacks_listen.unwrap().port(), 7720);
    let ProcessorConfig::Exec(exec) = &config.activities[0].processor else {
        panic!("exec expected")
    };
    assert_eq!(exec.program(), Path::new("/etc/unisono/./did.sh"));
    assert_eq!(exec.timeout, Some(Duration::from_secs(30)));
    assert!(matches!(config.activities[1].processor, ProcessorConfig::Http(_)));
}

#[test]
fn the_environment_is_stronger_than_the_file_and_the_file_stronger_than_the_program() {
    let program = AgentConfig {
        name: Some("program".into()),
        server: Some("program".into()),
        namespace: Some("program".into()),
        concurrency: Some(1),
        ..AgentConfig::default()
    };
    let mut config = program.overridden_by(parse("server: file\nnamespace: file\n").unwrap());
    let variables = [
        ("TEST_NAMESPACE", "environment"),
        ("TEST_LABELS", "zone=b, x=1"),
        ("OTHER_NAME", "no"),
        ("TEST_NAME", ""),
    ];
    config
        .apply_environment("TEST", variables.map(|(key, value)| (key.into(), value.into())))
        .unwrap();
    assert_eq!(config.name.as_deref(), Some("program"));
    assert_eq!(config.server.as_deref(), Some("file"));
    assert_eq!(config.namespace.as_deref(), Some("environment"));
    assert_eq!(config.concurrency, Some(1));
    assert_eq!(config.labels.unwrap()["zone"], "b");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_eq!(
        error("nmae: x\n"),
        "/etc/unisono/agent.yaml:1: nmae: no key is called `nmae` here; did you mean `name`?"
    );
    let text = "activities:\n  - type: a\n    exec: {command: [x], time-out: 3s}\n";
    assert_eq!(
        error(text),
        "/etc/unisono/agent.yaml:3: activities[0].exec.time-out: no key is called `time-out` here; did you mean `timeout`?"
    );
    assert!(
        error("zebra: 1\n").contains("the keys here are name, server, namespace"),
        "{}",
        error("zebra: 1\n")
    );
}

#[test]
fn an_environment_variable_that_is_misspelt_or_wrong_is_refused_by_its_name() {
    let apply = |key: &str, value: &str| {
        let mut config = AgentConfig::default();
        config
            .apply_environment("TEST", [(key.to_owned(), value.to_owned())])
            .map_err(|error| error.to_string())
    };
    let misspelt = apply("TEST_CONCURENCY", "1").unwrap_err();
    assert_eq!(
        misspelt,
        "the environment variable TEST_CONCURENCY: no setting is called that; did you mean TEST_CONCURRENCY?"
    );
    let wrong = apply("TEST_CONCURRENCY", "many").unwrap_err();
    assert!(
        wrong.starts_with("the environment variable TEST_CONCURRENCY: \"many\" is no whole number"),
        "{wrong}"
    );
    apply("TEST_SERVICE_HOST", "10.0.0.1").unwrap();
}

#[test]
fn every_mistake_names_file_line_key_reason_and_fix() {
    for (text, expected) in [
        (
            "concurrency: many\n",
            "agent.yaml:1: concurrency: a whole number that is not negative is expected; write",
        ),
        (
            "\ndrainTimeout: 30\n",
            "agent.yaml:2: drainTimeout: \"30\" is not a time; write a time such as 500ms",
        ),
        (
            "labels: [a]\n",
            "agent.yaml:1: labels: an object is expected, and this is a list",
        ),
        (
            "activities: [{type: a}]\n",
            "activities[0]: nothing says how this activity is run; add `exec: {…}`",
        ),
        (
            "activities: [{exec: {command: [x]}}]\n",
            "activities[0]: `type` is missing; add",
        ),
        (
            "activities: [{type: \"a b\", exec: {command: [x]}}]\n",
            "activities[0].type: a name must not contain ' '",
        ),
        (
            "activities: [{type: a, exec: {command: []}}]\n",
            "activities[0].exec.command: there is no command",
        ),
        (
            "activities: [{type: a, exec: {command: [x]}, http: {}}]\n",
            "both `exec` and `http` stand here",
        ),
        ("name: [\n", "agent.yaml:"),
    ] {
        assert!(
            error(text).contains(expected),
            "{}\nshould contain\n{expected}",
            error(text)
        );
    }
    let missing = AgentConfig::load(Path::new("/nowhere.yaml")).unwrap_err().to_string();
    assert!(
        missing.starts_with("/nowhere.yaml: the file cannot be read: No such file"),
        "{missing}"
    );
}
