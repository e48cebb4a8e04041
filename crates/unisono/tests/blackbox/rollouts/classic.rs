//! Controllers that were written for the routes under `/v1/orchestrate`.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Server;

struct Controller {
    http: reqwest::Client,
    base: String,
}

impl Controller {
    fn of(server: &Server) -> Self {
        unisono_client::install_crypto_provider();
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/v1/orchestrate", server.url()),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn done(&self, path: &str, body: Value) {
        let answer = self.post(path, body).await;
        assert_eq!(answer, (StatusCode::OK, json!({"status": "success", "message": "ok"})));
    }
}

fn target(name: &str, group: &str, version: &str) -> Value {
    json!({"name": name, "group": group, "tags": "zone=a, canary", "version": version, "message": "up", "isError": false})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_controller_rolls_a_version_out_and_reads_what_it_is_used_to() {
    let server = Server::start();
    let controller = Controller::of(&server);
    let options =
        json!({"batchpercent": 50, "successpercent": 100, "successtimeoutsecs": 0, "durationtimeoutsecs": 60});
    controller.done("/prod/app/options", options.clone()).await;
    for version in ["v1", "v2"] {
        controller.done("/prod/app/version", json!({"version": version})).await;
        let mut runs = vec!["v1".to_owned(); 2];
        while controller.get("/prod/app/rollout").await["lastknowngoodversion"] != version {
            let reports = json!([target("a", "web", &runs[0]), target("b", "web2", &runs[1])]);
            let (status, expected) = controller.post("/prod/app", reports).await;
            assert_eq!(status, 200, "{expected}");
            for (run, expected) in runs.iter_mut().zip(expected.as_array().unwrap()) {
                assert_eq!(expected["tags"], "zone=a, canary");
                *run = expected["version"].as_str().unwrap().to_owned();
            }
        }
    }
    let info = controller.get("/prod/app/rollout").await;
    assert_eq!(
        info,
        json!({"targetversion": "v2", "rollingversion": "v2", "lastknowngoodversion": "v2", "options": options})
    );
    let names = |targets: Value| -> Vec<String> {
        let targets = targets.as_array().unwrap();
        targets
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(controller.get("/prod/app/targets").await), ["a", "b"]);
    assert_eq!(names(controller.get("/prod/app/web/status").await), ["a"]);
    assert_eq!(names(controller.get("/prod/app/nobody/status").await), [""; 0]);
    controller
        .done("/prod/app/status", json!([target("c", "", "v2")]))
        .await;
    assert_eq!(names(controller.get("/prod/app/targets").await), ["a", "b", "c"]);
    assert_eq!(controller.get("/namespaces").await, json!(["prod"]));
    assert_eq!(controller.get("/prod/entities").await, json!(["app"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_survive_the_routes_of_older_controllers() {
    let server = Server::start();
    let controller = Controller::of(&server);
    for (entity, group, path) in [
        ("a/b", "x.y", "a%2Fb"),
        ("\"q\" 'r'", "~g", "%22q%22%20'r'"),
        ("~t", "服/务", "~t"),
        ("entities", "target", "entities"),
        ("version", "monitoring", "version"),
    ] {
        let (status, expected) = controller
            .post(&format!("/prod/{path}"), json!([target(entity, group, "v1")]))
            .await;
        assert_eq!(status, 200, "{expected}");
        assert_eq!(
            (&expected[0]["name"], &expected[0]["group"]),
            (&json!(entity), &json!(group))
        );
        let segment: String = group.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let of_group = controller.get(&format!("/prod/{path}/{segment}/status")).await;
        assert_eq!(of_group[0]["name"], entity);
    }
    let listed = controller.get("/prod/entities").await;
    assert_eq!(listed, json!(["\"q\" 'r'", "a/b", "entities", "version", "~t"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_options_are_set_beside_each_other() {
    let server = Server::start();
    let controller = Controller::of(&server);
    let options = json!({"batchpercent": 20, "successpercent": 80, "successtimeoutsecs": 1, "durationtimeoutsecs": 9});
    let urls = json!({"selection": "http://s/", "approval": "http://a/", "removal": "", "monitoring": "http://m/"});
    controller.done("/prod/app/target/controller", urls).await;
    controller.done("/prod/app/options", options.clone()).await;
    controller
        .done(
            "/prod/app/monitoring/controller",
            json!({"externalmonitoring": "http://e/"}),
        )
        .await;
    assert_eq!(controller.get("/prod/app/rollout").await["options"], options);
    let policy = server.client_of("prod").entity("app").policy().await.unwrap();
    let controllers = serde_json::to_value(&policy.controllers).unwrap();
    for (name, url) in [
        ("selection", json!("http://s/")),
        ("approval", json!("http://a/")),
        ("removal", Value::Null),
        ("monitoring", json!("http://m/")),
        ("externalMonitoring", json!("http://e/")),
    ] {
        assert_eq!(controllers[name]["url"], url, "{name}");
    }
    assert_eq!(
        policy.batch,
        unisono_model::rollout::read_policy(r#"{"batch": "20%"}"#)
            .unwrap()
            .batch
    );
    let (status, answer) = controller
        .post("/prod/app/target/controller", json!({"selection": "ftp://s/"}))
        .await;
    assert_eq!((status.as_u16(), &answer["status"]), (400, &json!("error")));
    assert!(
        answer["message"].as_str().unwrap().contains("controllers.selection"),
        "{answer}"
    );
    controller.done("/prod/app/target/controller", json!({})).await;
    let policy = server.client_of("prod").entity("app").policy().await.unwrap();
    assert!(policy.controllers.selection.is_none() && policy.controllers.external_monitoring.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_known_in_any_case_and_what_was_left_out_has_its_default() {
    let server = Server::start();
    let controller = Controller::of(&server);
    let options =
        json!({"batchpercent": 20, "successpercent": 100, "successtimeoutsecs": 900, "durationtimeoutsecs": 3600});
    for written in [
        json!({"BatchPercent": 20, "SuccessPercent": 100, "SuccessTimeoutSecs": 900, "DurationTimeoutSecs": 3600}),
        json!({"batchPercent": 20, "successPercent": null, "successTimeoutSecs": 900, "durationTimeoutSecs": 3600, "x": 1}),
    ] {
        controller.done("/prod/app/options", written).await;
        assert_eq!(controller.get("/prod/app/rollout").await["options"], options);
        controller.done("/prod/app/options", json!({})).await;
        assert_eq!(controller.get("/prod/app/rollout").await["options"]["batchpercent"], 5);
    }
    controller.done("/prod/app/version", json!({"Version": "v2"})).await;
    assert_eq!(controller.get("/prod/app/rollout").await["targetversion"], "v2");
    let url = json!({"externalMonitoring": "http://e/"});
    controller.done("/prod/app/monitoring/controller", url).await;
    controller
        .done("/prod/app/target/controller", json!({"Selection": "http://s/"}))
        .await;
    let policy = server.client_of("prod").entity("app").policy().await.unwrap();
    assert!(policy.controllers.selection.is_some() && policy.controllers.external_monitoring.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_400_with_a_message() {
    let server = Server::start();
    let controller = Controller::of(&server);
    controller.done("/prod/app/version", json!({"version": "v1"})).await;
    for (method, path, body, says) in [
        (
            Method::GET,
            "/prod/nobody/rollout",
            Value::Null,
            "there is no entity \"nobody\"",
        ),
        (
            Method::GET,
            "/prod/nobody/targets",
            Value::Null,
            "there is no entity \"nobody\"",
        ),
        (
            Method::GET,
            "/prod/nobody/web/status",
            Value::Null,
            "there is no entity \"nobody\"",
        ),
        (
            Method::GET,
            "/a%20b/entities",
            Value::Null,
            "namespace \"a b\" is no name",
        ),
        (Method::POST, "/prod/app/version", json!({}), "missing field `version`"),
        (
            Method::POST,
            "/prod/app/version",
            json!({"version": ""}),
            "a version must not be empty",
        ),
        (
            Method::POST,
            "/prod/app/options",
            json!({"batchpercent": 101}),
            "batchpercent",
        ),
        (
            Method::POST,
            "/prod/app/options",
            json!({"durationtimeoutsecs": -1}),
            "durationtimeoutsecs",
        ),
        (
            Method::POST,
            "/prod/app",
            json!([{"version": "v1"}]),
            "missing field `name`",
        ),
        (Method::POST, "/prod/app", json!("x"), "report a list of targets"),
        (
            Method::POST,
            "/prod/app/options",
            json!({"successtimeoutsecs": i64::MAX}),
            "more than ten years",
        ),
        (Method::POST, "/prod/app/options", json!([]), "has to be an object"),
        (
            Method::POST,
            "/prod/app/version",
            json!({"version": 2}),
            "version: invalid type",
        ),
        (
            Method::GET,
            "/prod/app/options",
            Value::Null,
            "there is no GET /v1/orchestrate/prod/app/options",
        ),
        (
            Method::POST,
            "/prod/app/nothing",
            json!({}),
            "there is no POST /v1/orchestrate/prod/app/nothing",
        ),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let (status, answer) = controller.ask(method, path, body).await;
        assert_eq!((status.as_u16(), &answer["status"]), (400, &json!("error")), "{path}");
        assert_eq!(answer.as_object().unwrap().len(), 2);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(says), "{path}: {message}");
    }
    // What was refused has changed nothing.
    assert_eq!(controller.get("/prod/app/targets").await, json!([]));
}
