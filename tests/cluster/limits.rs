//! The largest deployment there may be: 256 objects live through every operation, 257 are refused before any write.

use std::fmt::Write as _;

use panamax_kubernetes_adapter::proto;
use tonic::Code;

use super::plans::plan;
use super::revisions::rollback;
use crate::support::adapter::{Adapter, deploy_at_once, in_time, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Versions, everything, members, names, recorded, refused};
use crate::support::namespace::namespace;
use crate::support::survey::Survey;

/// An application of 100 images, each an apps Deployment with a Service, and of so many Secrets.
fn template(prefix: &str, edition: u32, secrets: usize) -> String {
    let mut template = "name: Large\nimages:\n".to_owned();
    for index in 0..100 {
        let _ = writeln!(
            template,
            "- name: {prefix}{index}\n  source: example/{prefix}:{edition}\n  expose: [80]"
        );
        let next = (index + 1) % 100;
        let _ = writeln!(template, "  links: [{{service: {prefix}{next}, alias: {prefix}{next}}}]");
        if index < secrets {
            let _ = writeln!(template, "  environment: [{{variable: PASSWORD, value: secret{index}}}]");
        }
    }
    template
}

#[tokio::test]
async fn two_hundred_and_fifty_six_objects_live_and_one_more_is_refused() {
    let namespace = namespace("limits").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |template: &str| modern(deploy_at_once(&namespace, "large", template));
    let before = everything(&namespace).await;

    let too_large = request(&template("web", 1, 57));
    let planned =
        refused(client.plan_deploy(plan(too_large.clone())).await, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    let deployed = refused(client.deploy(too_large).await, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    for refusal in [planned, deployed] {
        assert!(refusal.message.contains("257 objects; 256 are allowed"), "{refusal:?}");
    }
    assert_eq!(everything(&namespace).await, before);

    let count_of = |changes: &[proto::ObjectChange], action: proto::ObjectAction| {
        changes.iter().filter(|change| change.action() == action).count()
    };
    let first = template("web", 1, 56);
    let planned = client.plan_deploy(in_time(plan(request(&first)))).await.expect("planned").into_inner();
    assert_eq!(count_of(&planned.changes, proto::ObjectAction::Create), 256);
    let answer = client.deploy(in_time(request(&first))).await.expect("deployed").into_inner();
    assert_eq!(answer.changes.len(), 256);
    let kept = |versions: &Versions| -> Vec<String> {
        names(versions).into_iter().filter(|name| !name.starts_with("Pod/")).map(str::to_owned).collect()
    };
    let standing = kept(&members(&namespace).await);

    // Nothing of it stays in the next one: 512 objects are on record until the old ones are gone.
    let second = template("other", 2, 56);
    let answer = client.deploy(in_time(request(&second))).await.expect("deployed").into_inner();
    assert_eq!(count_of(&answer.changes, proto::ObjectAction::Create), 256);
    assert_eq!(count_of(&answer.changes, proto::ObjectAction::Delete), 256);
    let back =
        proto::RollbackRequest { wait: proto::WaitMode::None.into(), ..rollback(&namespace, "large", 1) };
    client.rollback(in_time(back)).await.expect("rolled back");
    let mut larger = scale(&namespace, "large", "web7", 2);
    larger.wait = proto::WaitMode::None.into();
    client.scale(in_time(larger)).await.expect("scaled");
    recorded(&namespace, "large", "ACTIVE").await;
    let same = client.deploy(in_time(request(&first))).await.expect("deployed").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    assert_eq!(kept(&members(&namespace).await), standing);
    let survey = Survey::of(&namespace.client, &namespace).await;
    assert_eq!(survey.unrest("large"), [""; 0], "{:#?}", survey.names());

    client.teardown(teardown(&namespace, "large")).await.expect("torn down");
    assert_eq!(names(&everything(&namespace).await), names(&before));
}
