//! Rows of section N: names that are too long, too odd, taken or reserved.

use panamax_kubernetes_adapter::artifacts::Artifacts;
use panamax_kubernetes_adapter::diagnostic::Code;

use super::{Outcome, Row, containers, fine, refused, row, told};

/// A template whose one image has this name.
fn named(name: &str) -> String {
    format!("images:\n- name: \"{name}\"\n  source: b:1\n")
}

/// An image of this name, and another that is linked to it.
fn linked(name: &str) -> String {
    format!(
        "{}  expose: [80]\n- name: web\n  source: c:1\n  links: [{{service: \"{name}\", alias: \"{name}\"}}]\n",
        named(name)
    )
}

/// The one container's name, which is the component's.
fn component(artifacts: &Artifacts) -> &str {
    containers(artifacts)[0]["name"].as_str().expect("a name")
}

/// Every name of a port, which Kubernetes bounds.
fn short_port_names(artifacts: &Artifacts) {
    let ports = artifacts.objects().iter().flat_map(|object| object.manifest["spec"]["ports"].as_array());
    let names: Vec<&str> = ports.flatten().filter_map(|port| port["name"].as_str()).collect();
    assert_eq!(names, ["tcp-65534", "udp-65535"]);
}

pub(super) fn rows() -> Vec<Row> {
    use Code::{
        NameChanged, NameCollision, NameMissing, NameReserved, NameShortened, ServiceNameDigit,
        ServiceVariables,
    };
    let name = "images[0].name";
    let mut rows = vec![
        told("N1", named(&"a".repeat(64)), NameShortened, name)
            .check(|artifacts| assert_eq!(component(artifacts), "a".repeat(54) + "-ffe054fe")),
        refused("N2", named(""), NameMissing, name).at(2, 9),
        refused("N2", named("___"), NameMissing, name).at(2, 9),
        told("N3", named("-a"), NameChanged, name).check(|artifacts| assert_eq!(component(artifacts), "a")),
        told("N3", named("a-"), NameChanged, name).check(|artifacts| assert_eq!(component(artifacts), "a")),
        told("N3", named("A.B"), NameChanged, name).check(|artifacts| assert_eq!(component(artifacts), "a-b")),
        told("N3", named("Ünï"), NameChanged, name).check(|artifacts| assert_eq!(component(artifacts), "n")),
        fine("N3", named("1db")).check(|artifacts| assert_eq!(component(artifacts), "1db")),
        // Servers from 1.37 take a Service of that name, older ones refuse it.
        row(
            "N3",
            linked("1db"),
            Outcome::Told(vec![
                (ServiceVariables, name.to_owned()),
                (ServiceNameDigit, "images[1].links[0].alias".to_owned()),
            ]),
        ),
        refused("N4", named("A_b") + "- {name: a-b, source: 'c:1'}\n", NameCollision, "images[1].name"),
        refused("N10", named("kubernetes"), NameReserved, name),
        refused("N10", named("db") + "- {name: web, source: 'c:1', links: [{service: db, alias: kubernetes}]}\n", NameReserved, "images[1].links[0].alias"),
        told("N14", named("a") + "  deployment: {count: 2}\n  ports: [{container_port: 65535, proto: udp}, {container_port: 65534}]\n", ServiceVariables, name).check(short_port_names),
    ];
    for (odd, plain) in [("../../kube-system", "kube-system"), ("a/b", "a-b"), ("%2e%2e", "2e-2e")] {
        rows.push(told("N6", named(odd), NameChanged, name).check(match plain {
            "kube-system" => |artifacts| assert_eq!(component(artifacts), "kube-system"),
            "a-b" => |artifacts| assert_eq!(component(artifacts), "a-b"),
            _ => |artifacts| assert_eq!(component(artifacts), "2e-2e"),
        }));
    }
    // Whatever a link does, a name that was cut stays the same name.
    let long = "a".repeat(64);
    let told = [(NameShortened, name), (ServiceVariables, name), (NameShortened, "images[1].links[0].alias")];
    let cut = told.map(|(code, path)| (code, path.to_owned()));
    rows.push(row("N1", linked(&long), Outcome::Told(cut.into())));
    rows
}

#[test]
fn a_collision_names_both_images() {
    let text = named("A_b") + "- {name: a-b, source: 'c:1'}\n";
    let error = panamax_kubernetes_adapter::operations::Operations::translate_template(
        &refused("N4", text, Code::NameCollision, "images[1].name").call(),
        None,
    );
    let message = error.expect_err("a refusal").message().to_owned();
    assert!(message.contains("`a-b`") && message.contains("`A_b`"), "{message}");
}
