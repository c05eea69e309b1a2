//! Answers the questions that clients ask before they start: version, health, groups and kinds.
use super::kinds::KINDS;
use serde_json::{Value, json};

/// The version that the sandbox behaves like.
const MINOR: &str = "37";

/// The document behind a path, if it is one of these.
pub fn document(segments: &[&str]) -> Option<Value> {
    match segments {
        ["version"] => Some(json!({
            "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+sandbox"), "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        })),
        ["readyz" | "livez" | "healthz"] => Some(json!("ok")),
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let version = json!({ "groupVersion": "apps/v1", "version": "v1" });
            let apps = json!({ "name": "apps", "versions": [version], "preferredVersion": version });
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [apps] }))
        }
        ["api", "v1"] => Some(resources("", "v1")),
        ["apis", "apps", "v1"] => Some(resources("apps", "apps/v1")),
        _ => None,
    }
}

fn resources(group: &str, version: &str) -> Value {
    let kinds: Vec<_> =
        KINDS.iter().filter(|kind| kind.group == group).map(|kind| kind.discovery()).collect();
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds })
}
