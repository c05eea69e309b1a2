//! The façade for the old agents: every row of their contract, by the bytes that they send, against the built binary.

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::{Value, json};

use crate::support::adapter::{Binary, connect, deploy_at_once, teardown};
use crate::support::agent::{Agent, Answer, recorded};
use crate::support::metrics::measured;

/// The binary with a sandbox and the façade.
pub async fn start(flags: &[&str]) -> Binary {
    let flags: Vec<String> = ["--sandbox", "--rest-listen", "127.0.0.1:0"]
        .iter()
        .chain(flags)
        .map(|flag| (*flag).to_owned())
        .collect();
    let start = move || Binary::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

pub async fn agent(binary: &Binary) -> Agent {
    Agent::to(binary.rest.expect("it serves the old agents")).await
}

/// One service of a name.
fn one(name: &str) -> String {
    json!([{ "name": name, "source": "shop/one:1" }]).to_string()
}

#[tokio::test]
async fn both_agents_live_their_whole_lives() {
    for kind in ["go", "ruby"] {
        let binary = start(&["--log", "trace"]).await;
        let mut agent = agent(&binary).await;
        let body = recorded(kind);
        // Create, and again after a lost answer.
        let created = agent.post(&body).await;
        assert_eq!(created.header("content-type").as_deref(), Some("application/json"));
        let ids = created.ids();
        assert_eq!(ids.len(), 2);
        for (id, component) in ids.iter().zip(["front", "store"]) {
            let begin = format!("{component}.agent-front-");
            assert!(id.starts_with(&begin), "{id}");
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
            );
        }
        assert_eq!(agent.post(&body).await.ids(), ids);
        // Status.
        agent.until(&ids[0], "running 2/2").await;
        agent.until(&ids[1], "running 1/1").await;
        assert_eq!(agent.post(&body).await.ids(), ids, "nothing has changed");
        // The same services in another order are the same.
        let mut services: Vec<Value> = serde_json::from_str(&body).expect("a list");
        services.reverse();
        let reversed = agent.post(&serde_json::to_string(&services).expect("a list")).await.ids();
        assert_eq!(reversed, ids.iter().rev().cloned().collect::<Vec<_>>());
        // Conflict: another count is another content.
        let other = body.replace("\"count\":2", "\"count\":3");
        assert_ne!(other, body);
        assert_eq!(agent.post(&other).await.refusal(), (409, "DEPLOYMENT_EXISTS".to_owned()));
        assert_eq!(agent.state(&ids[0]).await, "running 2/2");
        // Redeploy: all ids are deleted, in their order, and the same bytes are posted.
        assert_eq!(agent.delete(&ids[0]).await, 204);
        let second = agent.delete(&ids[1]).await;
        assert!([204, 404].contains(&second), "{second}");
        let again = agent.post(&body).await.ids();
        assert_eq!(again.len(), 2);
        assert!(again.iter().all(|id| !ids.contains(id)), "{again:?} {ids:?}");
        // A record that was left behind leads to nothing, and deletes nothing.
        assert_eq!(agent.get(&ids[0]).await.status, 404);
        assert_eq!(agent.delete(&ids[0]).await, 404);
        agent.until(&again[0], "running 2/2").await;
        // Delete.
        for id in &again {
            let status = agent.delete(id).await;
            assert!([204, 404].contains(&status), "{status}");
        }
        agent.until_gone(&again[0]).await;
        assert_eq!(agent.delete(&again[1]).await, 404);
        assert_eq!(agent.call("GET", "/v1/services", None).await.json(), json!([]));
        let log = binary.whole_log();
        assert!(!log.contains("canary"), "a value is in the log");
    }
}

#[tokio::test]
async fn what_the_agents_repeat_and_cannot_read_is_taken() {
    let binary = start(&[]).await;
    let mut agent = agent(&binary).await;
    // A B C arrives as A B C B C C: 20 variables are 210.
    let variable = |index: usize| json!({ "variable": format!("V{index:02}"), "value": format!("{index}") });
    let repeated: Vec<Value> = (0..20).flat_map(|first| (first..20).map(variable)).collect();
    assert_eq!(repeated.len(), 210);
    let body = json!([{ "environment": repeated, "expose": [0], "name": "MANY", "source": "shop/many:1" }]);
    let ids = agent.post(&body.to_string()).await.ids();
    let deployment = ids[0].split('.').nth(1).expect("a name");
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let request = proto::GetDeploymentRequest {
        namespace: String::new(),
        name: deployment.to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    let found = client.get_deployment(request).await.expect("it is there").into_inner().deployment;
    let image = found.and_then(|found| found.template).expect("a template").images.remove(0);
    let names: Vec<String> = image.environment.into_iter().map(|variable| variable.variable).collect();
    assert_eq!(names, (0..20).map(|index| format!("V{index:02}")).collect::<Vec<_>>());
    assert_eq!(image.expose, Vec::<i32>::new());
}

#[tokio::test]
async fn refusals_have_a_status_a_reason_and_every_fault_on_one_line() {
    let binary = start(&["--log", "trace"]).await;
    let mut agent = agent(&binary).await;
    let wrong = r#"[{"name":"A","source":"not a source","ports":[{"containerPort":0}],"links":[{"name":"B","alias":"b"}],"environment":[{"variable":"A B","value":"canary"}]}]"#;
    let refused = agent.post(wrong).await;
    assert_eq!(refused.refusal(), (400, "TEMPLATE_INVALID".to_owned()));
    let message = refused.json()["message"].as_str().expect("a message").to_owned();
    for part in [
        "images[0].source: ",
        "images[0].ports[0].containerPort: ",
        "images[0].links[0].name: ",
        "images[0].environment[0].variable: ",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let long = "x".repeat(200);
    for (body, status, reason, part) in [
        ("", 400, "FIELD_INVALID", "body: is no JSON"),
        ("[{\"name\": \"canary\"", 400, "FIELD_INVALID", "is no JSON: line 1, column "),
        ("{\"name\": \"canary\"}", 400, "FIELD_INVALID", "a JSON list of services"),
        ("name: canary\nimages: []", 400, "FIELD_INVALID", "body: is no JSON"),
        ("[]", 400, "TEMPLATE_INVALID", "image"),
        ("[7]", 400, "TEMPLATE_INVALID", "images[0]"),
        (
            &format!("[{{\"name\": \"{long}\", \"source\": \"no source\"}}]"),
            400,
            "TEMPLATE_INVALID",
            "images[0].source",
        ),
    ] {
        let answer = agent.post(body).await;
        assert_eq!(answer.refusal(), (status, reason.to_owned()), "{body}");
        assert!(answer.body.contains(part), "{part}: {answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    for (namespace, status, reason) in [
        ("/namespaces/absent", 422, "NAMESPACE_NOT_FOUND"),
        ("/namespaces/kube-system", 422, "NAMESPACE_RESERVED"),
        ("/namespaces/No_Name", 400, "FIELD_INVALID"),
    ] {
        let path = format!("{namespace}/v1/services");
        let answer = agent.call("POST", &path, Some(&one("a"))).await;
        assert_eq!(answer.refusal(), (status, reason.to_owned()), "{namespace}");
        assert!(!answer.body.contains("options."), "an agent has no options: {answer:?}");
    }
    // An image of the same name in another deployment has the objects already.
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let template = "images: [{name: taken, source: 'shop/one:1'}]";
    client.deploy(deploy_at_once("", "somebodys", template)).await.expect("deployed");
    assert_eq!(agent.post(&one("taken")).await.refusal(), (409, "OBJECT_NOT_OWNED".to_owned()));
    assert_eq!(agent.call("GET", "/v1/services", None).await.json(), json!([]), "nothing is left of any");
    let log = binary.whole_log();
    assert!(log.contains("images[0].environment[0].variable"), "the place of a fault is in the log");
    assert!(!log.contains("canary"), "a value is in the log");
}

#[tokio::test]
async fn every_route_answers_and_nothing_else_does() {
    let binary = start(&[]).await;
    let mut agent = agent(&binary).await;
    // Healthy once the binary has reached its cluster, which may be after it listens.
    let begun = std::time::Instant::now();
    let said = loop {
        let metadata = agent.call("GET", "/v1/metadata", None).await;
        assert_eq!(metadata.status, 200);
        let said = metadata.json();
        if said["isHealthy"] == json!(true) {
            break said;
        }
        assert!(begun.elapsed().as_secs() < 20, "{said}");
    };
    assert_eq!(said["type"], json!("Kubernetes"));
    assert!(said["version"].as_str().is_some_and(|version| !version.is_empty()), "{said}");
    let health = agent.call("GET", "/healthcheck", None).await;
    assert_eq!((health.status, health.body.as_str()), (200, "true"));
    let ids = agent.post(&one("a")).await.ids();
    agent.until(&ids[0], "running 1/1").await;
    let service = |id: &str| format!("/v1/services/{id}");
    let id = service(&ids[0]);
    let refusal = |answer: Answer| answer.refusal();
    assert_eq!(refusal(agent.call("PUT", &id, Some("{}")).await), (501, "NOT_IMPLEMENTED".to_owned()));
    // Recorded as it was seen last.
    let begun = std::time::Instant::now();
    let known = json!([{ "id": ids[0], "actualState": "running 1/1" }]);
    while agent.call("GET", "/v1/services", None).await.json() != known {
        assert!(begun.elapsed().as_secs() < 20, "{known}");
    }
    assert_eq!(agent.call("HEAD", &id, None).await.status, 200);
    // A slash at the end of the agent's setting, and a namespace in it.
    assert_eq!(agent.call("GET", &format!("/{id}"), None).await.status, 200);
    assert_eq!(agent.call("GET", &format!("/namespaces/default/{id}"), None).await.status, 200);
    assert_eq!(agent.call("GET", "/namespaces/default/v1/metadata", None).await.status, 200);
    assert_eq!(agent.call("GET", &format!("/namespaces/other{id}"), None).await.status, 404);
    for (method, path, allowed) in [
        ("PATCH", id.as_str(), "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v1/services", "GET, HEAD, POST"),
        ("POST", "/v1/metadata", "GET, HEAD"),
    ] {
        let answer = agent.call(method, path, Some("")).await;
        assert_eq!(answer.header("allow"), Some(allowed.to_ascii_lowercase()), "{answer:?}");
        assert_eq!(answer.refusal(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    }
    for path in ["/", "/v1", "/v2/services", "/v1/services/a/b", "/namespaces/default", "/deployments"] {
        assert_eq!(
            refusal(agent.call("GET", path, None).await),
            (404, "ROUTE_NOT_FOUND".to_owned()),
            "{path}"
        );
    }
    for absent in [
        "a",
        "a.agent-a-ca978112.00000000",
        "b.agent-a-ca978112.00000000",
        &ids[0].replacen("a.", "b.", 1),
        &ids[0].replace(".agent-", ".somebodys-"),
    ] {
        let answer = agent.get(absent).await;
        assert_eq!(answer.refusal(), (404, "SERVICE_NOT_FOUND".to_owned()), "{absent}");
        assert_eq!(agent.delete(absent).await, 404, "{absent}");
    }
    assert_eq!(agent.state(&ids[0]).await, "running 1/1", "none of these has touched it");
}

#[tokio::test]
async fn what_no_agent_has_deployed_is_neither_shown_nor_deleted() {
    let binary = start(&[]).await;
    let mut agent = agent(&binary).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let template = "images: [{name: qq, source: 'shop/qq:1'}]";
    // A name that begins like an agent's, and one that is an agent's for another service.
    for name in ["agent-smith", "agent-a-ca978112"] {
        client.deploy(deploy_at_once("", name, template)).await.expect("deployed");
        let request = proto::GetDeploymentRequest { name: name.to_owned(), ..Default::default() };
        let found = client.get_deployment(request.clone()).await.expect("it is there").into_inner();
        let uid = found.deployment.expect("a deployment").uid;
        let id = format!("qq.{name}.{}", &uid[..8]);
        assert_eq!(agent.get(&id).await.refusal(), (404, "SERVICE_NOT_FOUND".to_owned()), "{id}");
        assert_eq!(agent.delete(&id).await, 404, "{id}");
        assert_eq!(agent.call("GET", "/v1/services", None).await.json(), json!([]));
        client.get_deployment(request).await.expect("it is still there");
        client.teardown(teardown("", name)).await.expect("torn down");
    }
    // An agent's own is, whoever looks.
    let ids = agent.post(&one("a")).await.ids();
    assert!(ids[0].starts_with("a.agent-a-ca978112."), "{ids:?}");
    let listed = agent.call("GET", "/v1/services", None).await.json();
    assert_eq!(listed[0]["id"], json!(ids[0]));
    assert_eq!(agent.delete(&ids[0]).await, 204);
}

#[tokio::test]
async fn what_is_refused_over_grpc_is_refused_here_with_the_same_faults() {
    let binary = start(&[]).await;
    let mut agent = agent(&binary).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let many = |key: &str, count: usize, entry: fn(usize) -> Value| {
        let entries: Vec<Value> = (0..count).map(entry).collect();
        json!([{ "name": "a", "source": "b:1", key: entries }]).to_string()
    };
    for body in [
        json!([{ "name": "a", "source": "b:1" }, { "name": "A", "source": "b:1" }]).to_string(),
        json!([{ "source": "b:1" }]).to_string(),
        json!([{ "name": "a" }]).to_string(),
        json!([{ "name": "a", "source": "b:1", "deployment": { "count": 101 } }]).to_string(),
        json!([{ "name": "a", "source": "b:1", "deployment": { "count": "x" } }]).to_string(),
        json!([{ "name": "a", "source": "b:1", "expose": ["80/tcp", 65536] }]).to_string(),
        many("ports", 65, |index| json!({ "containerPort": 1_000 + index })),
        many("links", 2, |index| json!({ "name": format!("absent{index}"), "alias": "x" })),
        many("volumes", 33, |index| json!({ "containerPath": format!("/{index}") })),
        json!(
            (0..101).map(|index| json!({ "name": format!("i{index}"), "source": "b:1" })).collect::<Vec<_>>()
        )
        .to_string(),
        json!([{ "name": "a", "source": "b:1", "environment": [{ "variable": "A", "value": "\u{1b}" }] }])
            .to_string(),
    ] {
        let refused = client.deploy(deploy_at_once("", "named", &body)).await;
        let refused = refused.err().unwrap_or_else(|| panic!("it is deployed: {body}"));
        let told = tonic_types::StatusExt::get_error_details(&refused);
        let violations = told.bad_request().expect("violations").field_violations.clone();
        let answer = agent.post(&body).await;
        let (status, reason) = answer.refusal();
        assert_eq!(
            (status, reason.as_str()),
            (400, told.error_info().expect("a reason").reason.as_str()),
            "{body}"
        );
        // What has no room there has room here.
        let whole = |text: &str| !text.ends_with("...") && !text.starts_with("and ");
        for violation in violations.iter().filter(|violation| whole(&violation.description)) {
            let first = violation.description.split("; hint: ").next().unwrap_or_default();
            let fault = format!("{}: {first}", violation.field.replace("].service", "].name"));
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert!(message.contains(&fault), "{fault}\n{message}");
        }
    }
}

#[tokio::test]
async fn calls_are_measured_under_names_of_their_own() {
    let binary = start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let mut agent = agent(&binary).await;
    let ids = agent.post(&one("a")).await.ids();
    agent.get(&ids[0]).await;
    agent.get("nothing").await;
    agent.delete(&ids[0]).await;
    agent.call("GET", "/somewhere", None).await;
    for (method, code) in [
        ("Rest/Create", "201"),
        ("Rest/Get", "200"),
        ("Rest/Get", "404"),
        ("Rest/Delete", "204"),
        ("Rest/unknown", "404"),
    ] {
        let series = format!("panamax_rpcs_total{{method=\"{method}\",code=\"{code}\"}}");
        assert_eq!(measured(&binary, &series).await, 1.0, "{series}");
    }
    assert_eq!(measured(&binary, "panamax_rpcs_in_flight{method=\"Rest/Create\"}").await, 0.0);
    assert_eq!(measured(&binary, "panamax_connections").await, 1.0, "one connection for all");
}

#[tokio::test]
async fn two_that_post_at_once_are_answered_alike() {
    let binary = start(&[]).await;
    let body = recorded("go");
    let posts = (0..8).map(|_| async { agent(&binary).await.post(&body).await.ids() });
    let mut answers = futures::future::join_all(posts).await;
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // Of two that differ, one is there and the other is told so.
    let (first, second) = (one("b"), one("b").replace(":1", ":2"));
    let posts = [&first, &second].map(|body| async { agent(&binary).await.post(body).await.status });
    let mut statuses = futures::future::join_all(posts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}
