//! Sizes of answers, and the cluster's words in them.
//!
//! What deploys can be planned and shown, lists are cut into pages by their bytes, and what the cluster says of records
//! is nobody's.

use std::collections::BTreeSet;

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::translate_template_request::TemplateSource;
use prost::Message;
use tonic::Code;

use super::plans::plan;
use super::revisions::rollback;
use crate::support::adapter::{Adapter, deploy_at_once, in_time, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, refused};
use crate::support::namespace::namespace;
use crate::support::warning::Warning;

/// What the contract allows an answer to have, in bytes: less than clients take.
const MAX_ANSWER: usize = 4 * 1024 * 1024 - 64 * 1024;
/// What it allows all objects of a deployment to have.
const MAX_OBJECTS: usize = 3_584 * 1024;

/// An application that nobody runs: four images with so many such lines in their variables, and as many that repeat
/// those of the first.
fn repeated(linkers: usize, line: &str) -> proto::Template {
    let value = line.repeat(28_000 / line.len());
    let variable = |number| proto::Environment {
        variable: format!("V{number}"),
        value: Some(value.clone()),
        required: false,
    };
    let image = |name: String| proto::Image {
        source: format!("example/{name}:1"),
        name,
        deployment: Some(proto::DeploymentSettings { count: Some(0) }),
        ..Default::default()
    };
    let bigs = (0..4).map(|number| proto::Image {
        expose: vec![1],
        environment: (0..8).map(variable).collect(),
        ..image(format!("big{number}"))
    });
    let linkers = (0..linkers).map(|number| proto::Image {
        links: vec![proto::Link { service: "big0".to_owned(), alias: "large".to_owned() }],
        ..image(format!("l{number}"))
    });
    proto::Template { name: "Large".to_owned(), images: bigs.chain(linkers).collect(), ..Default::default() }
}

/// Options with which each link repeats all variables of its target.
fn declared() -> proto::DeployOptions {
    let mut options = proto::DeployOptions::default();
    options.set_link_environment(proto::LinkEnvironment::Declared);
    options
}

/// A Deploy of that template.
fn large(namespace: &str, linkers: usize, line: &str) -> proto::DeployRequest {
    let template = repeated(linkers, line);
    proto::DeployRequest {
        template_source: Some(proto::deploy_request::TemplateSource::Template(template)),
        options: Some(declared()),
        ..deploy_at_once(namespace, "large", "")
    }
}

#[tokio::test]
async fn what_deploys_can_be_planned_and_shown_and_what_is_larger_is_refused() {
    let namespace = namespace("sizes-large").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let (mut client, mut templates) = (adapter.deployments(), adapter.templates());
    let before = everything(&namespace).await;
    let translation = |linkers, line: &str, object_manifests| proto::TranslateTemplateRequest {
        template_source: Some(TemplateSource::Template(repeated(linkers, line))),
        name: "large".to_owned(),
        options: Some(declared()),
        object_manifests,
        ..Default::default()
    };
    let mut largest = 0;
    // Lines that manifests quote or escape, and some that they do not.
    for line in ["\"'\\\n: #", "\u{feff}", "\u{ffff}a", "\u{e9}", "a\n", "x"] {
        // As many as are allowed; one more is refused, by everybody and before anything is written.
        let mut shown = String::new();
        largest = 0;
        loop {
            match templates.translate_template(translation(largest + 1, line, false)).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    assert!(answer.encoded_len() <= MAX_ANSWER, "{largest} of {line:?}");
                    shown = answer.manifest_yaml;
                    largest += 1;
                }
                Err(status) => {
                    refused::<()>(Err(status), Code::ResourceExhausted, "LIMIT_EXCEEDED");
                    break;
                }
            }
        }
        let each = shown.len() / (largest + 4);
        assert!(shown.len() + each * 5 / 4 > MAX_OBJECTS, "{largest} of {line:?} have {} bytes", shown.len());
        let planned = client.plan_deploy(in_time(plan(large(&namespace, largest, line)))).await;
        let planned = planned.expect("planned").into_inner();
        assert!(planned.encoded_len() <= MAX_ANSWER && planned.manifest_yaml == shown);
        let larger = || large(&namespace, largest + 1, line);
        refused(client.plan_deploy(plan(larger())).await, Code::ResourceExhausted, "LIMIT_EXCEEDED");
        refused(client.deploy(larger()).await, Code::ResourceExhausted, "LIMIT_EXCEEDED");
        assert_eq!(everything(&namespace).await, before);
    }
    // The largest lives: deployed, planned again with what would change in each object, changed, shown, gone.
    client.deploy(in_time(large(&namespace, largest, "x"))).await.expect("deployed");
    let changed = client.plan_deploy(in_time(plan(large(&namespace, largest, "y")))).await;
    let changed = changed.expect("planned").into_inner();
    assert!(changed.encoded_len() <= MAX_ANSWER && changed.changes.len() >= largest + 4);
    client.deploy(in_time(large(&namespace, largest, "y"))).await.expect("changed");
    let full = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "large".to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    assert!(client.get_deployment(full).await.expect("shown").into_inner().encoded_len() <= MAX_ANSWER);
    // Each manifest beside all of them is more than a client takes, and is refused by name.
    let answer = templates.translate_template(translation(largest, "x", true)).await;
    let refusal = refused(answer, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    assert!(refusal.message.contains("object_manifests"), "{refusal:#?}");
    client.teardown(in_time(teardown(&namespace, "large"))).await.expect("torn down");
}

#[tokio::test]
async fn lists_are_cut_into_pages_by_their_bytes() {
    let namespace = namespace("sizes-list").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    const COUNT: usize = 20;
    let words = "a word ".repeat(240 * 1024 / 7);
    let mut names = BTreeSet::new();
    for number in 0..COUNT {
        let name = format!("web-{number:02}");
        let text = format!(
            "name: Web\ndocumentation: '{words}'\nimages:\n- {{name: {name}, source: 'example/web:1', deployment: {{count: 0}}}}\n"
        );
        client.deploy(deploy_at_once(&namespace, &name, &text)).await.expect("deployed");
        names.insert(name);
    }
    let mut request = proto::ListDeploymentsRequest {
        namespace: namespace.to_string(),
        view: proto::DeploymentView::Full.into(),
        page_size: 100,
        ..Default::default()
    };
    let (mut seen, mut pages) = (Vec::new(), Vec::new());
    loop {
        let page = client.list_deployments(request.clone()).await.expect("a page").into_inner();
        assert!(page.encoded_len() <= MAX_ANSWER, "{}", page.encoded_len());
        for one in &page.deployments {
            let template = one.template.as_ref().expect("a template");
            assert_eq!(template.documentation.len(), words.len(), "{} is whole", one.name);
        }
        pages.push(page.deployments.len());
        seen.extend(page.deployments.into_iter().map(|one| one.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    // As many as fit, and each once.
    let each = words.len() + 1024;
    assert_eq!(pages[0], (MAX_ANSWER - 8 * 1024) / each, "{pages:?}");
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (COUNT, names));
    // Without the templates they fit into one.
    request.view = proto::DeploymentView::Basic.into();
    request.page_token = String::new();
    let all = client.list_deployments(request).await.expect("a list").into_inner();
    assert_eq!((all.deployments.len(), all.next_page_token.as_str()), (COUNT, ""));
}

#[tokio::test]
async fn what_the_cluster_says_of_records_is_nobodys() {
    let namespace = namespace("sizes-words").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let warning = Warning::of_writes(&namespace).await;
    let text = |edition: u32| {
        format!(
            "name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}', expose: [80], environment: \
             [{{variable: A_PASSWORD, value: 'quiet-{edition}'}}]}}\n"
        )
    };
    let request = |edition| modern(deploy_at_once(&namespace, "web", &text(edition)));
    let planned = client.plan_deploy(plan(request(1))).await.expect("planned").into_inner().warnings;
    let first = client.deploy(request(1)).await.expect("deployed").into_inner().warnings;
    let update = client.deploy(request(2)).await.expect("deployed").into_inner().warnings;
    let back = proto::RollbackRequest { wait: 0, ..rollback(&namespace, "web", 1) };
    let back = client.rollback(back).await.expect("rolled back").into_inner().warnings;
    for (call, warnings) in [("plan", planned), ("first", first), ("update", update), ("rollback", back)] {
        let (records, members): (Vec<_>, Vec<_>) =
            warnings.iter().partition(|text| text.contains("panamax-deployment-web"));
        assert!(records.is_empty(), "{call}: {records:#?}");
        // Of what was asked for, the cluster's words are the caller's.
        assert!(members.iter().any(|text| text.contains("seen: Secret web")), "{call}: {members:#?}");
    }
    warning.remove().await;
}
