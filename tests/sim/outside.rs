//! Somebody beside the adapter: writes to members of the deployment under a name of its own, between any two calls.

use std::sync::Arc;

use axum::Router;
use http::{Method, Request};
use kube::client::Body;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::judge;

/// Who writes.
const MANAGER: &str = "somebody";
/// What is written: no template asks for this port.
const PORT: u16 = 9_999;
/// The image that is written: no template asks for it.
const IMAGE: &str = "example/theirs:9";
/// How many pods somebody wants.
const PODS: i64 = 3;
/// Where the Service and the controller of the templates of many are.
const SERVICE: &str = "/api/v1/namespaces/sim/services";
const CONTROLLER: &str = "/api/v1/namespaces/sim/replicationcontrollers/web-replication-controller";

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Changes where the Service of the database leads to.
    Edit,
    /// Changes the image in the template of the web servers' controller.
    Image,
    /// Changes which pods that Service leads to, which is ours to say in any case.
    Select,
    /// Deletes that Service.
    Delete,
    /// Deletes the controller of the web servers, and with it its pods.
    Kill,
    /// Sets the count of the web servers.
    Scale,
    /// Creates an object of its own in the place of that Service.
    Replace,
    /// The same, as a copy with all labels.
    Copy,
}

impl Deed {
    pub const ALL: [Self; 8] = [
        Self::Edit,
        Self::Image,
        Self::Select,
        Self::Delete,
        Self::Kill,
        Self::Scale,
        Self::Replace,
        Self::Copy,
    ];

    /// Whether something stands afterwards that is nobody's but its creator's.
    pub fn creates(self) -> bool {
        matches!(self, Self::Replace | Self::Copy)
    }
}

/// Who does it; its calls meet no faults.
#[derive(Clone)]
pub struct Outsider {
    api: Router,
    sandbox: Arc<Sandbox>,
}

impl Outsider {
    pub fn new(api: Router, sandbox: Arc<Sandbox>) -> Self {
        Self { api, sandbox }
    }

    /// Does it, and says whether there was anything to do it to.
    pub async fn does(&self, deed: Deed) -> bool {
        let service = self.service();
        let at = format!("{SERVICE}/{}", service.as_ref().map_or("db", name));
        match deed {
            Deed::Edit => {
                let Some(mut service) = service else { return false };
                service["spec"]["ports"][0]["targetPort"] = json!(PORT);
                self.write(Method::PUT, &at, &service).await
            }
            Deed::Image => {
                let Some(mut controller) = self.controller() else { return false };
                controller["spec"]["template"]["spec"]["containers"][0]["image"] = json!(IMAGE);
                self.write(Method::PUT, CONTROLLER, &controller).await
            }
            Deed::Select => {
                let Some(mut service) = service else { return false };
                service["spec"]["selector"] = json!({ "name": "theirs" });
                self.write(Method::PUT, &at, &service).await
            }
            Deed::Delete => service.is_some() && self.write(Method::DELETE, &at, &Value::Null).await,
            Deed::Kill => {
                let how = json!({ "propagationPolicy": "Background" });
                self.controller().is_some() && self.write(Method::DELETE, CONTROLLER, &how).await
            }
            Deed::Scale => {
                let Some(mut controller) = self.controller() else { return false };
                controller["spec"]["replicas"] = json!(PODS);
                self.write(Method::PUT, CONTROLLER, &controller).await
            }
            Deed::Replace | Deed::Copy => {
                let Some(service) = service else { return false };
                let mut theirs = json!({
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": { "name": name(&service), "annotations": { judge::THEIRS: "yes" } },
                    "spec": { "ports": [{ "port": 80 }], "selector": { "app": "theirs" } },
                });
                if deed == Deed::Copy {
                    theirs["metadata"]["labels"] = service["metadata"]["labels"].clone();
                }
                self.write(Method::DELETE, &at, &Value::Null).await
                    && self.write(Method::POST, SERVICE, &theirs).await
            }
        }
    }

    /// Deletes what it has created; says whether it was still there.
    pub async fn takes_away(&self) -> bool {
        let image = self.sandbox.image();
        let theirs = judge::theirs(&image).map(|service| format!("{SERVICE}/{}", name(service)));
        let Some(at) = theirs else { return false };
        self.write(Method::DELETE, &at, &Value::Null).await
    }

    /// Whether a field of an object that is not its own still has what it wrote there.
    pub fn is_in_force(&self) -> bool {
        let image = self.sandbox.image();
        let ports = judge::kind_of(&image, "Service").map(|one| &one["spec"]["ports"][0]["targetPort"]);
        let images = judge::kind_of(&image, "ReplicationController")
            .map(|one| &one["spec"]["template"]["spec"]["containers"][0]["image"]);
        ports.chain(images).any(|value| *value == json!(PORT) || *value == json!(IMAGE))
    }

    /// The Service of the database, if it is the deployment's.
    fn service(&self) -> Option<Value> {
        let image = self.sandbox.image();
        let of_database = |service: &&Value| service["metadata"]["labels"]["app.kubernetes.io/name"] == "db";
        judge::kind_of(&image, "Service").filter(of_database).find(|one| !judge::is_theirs(one)).cloned()
    }

    fn controller(&self) -> Option<Value> {
        let image = self.sandbox.image();
        judge::kind_of(&image, "ReplicationController").next().cloned()
    }

    async fn write(&self, method: Method, at: &str, body: &Value) -> bool {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(format!("{at}?fieldManager={MANAGER}"));
        let request: Request<Body> = request.body(body.into()).expect("a request");
        let answer = self.api.clone().oneshot(request).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
