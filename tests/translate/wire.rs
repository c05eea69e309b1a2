//! What the Panamax agents sent to their adapters, as text: the same result as the same template in YAML.

use std::fs;
use std::path::Path;

use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic};
use panamax_kubernetes_adapter::template::Parts;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, manifest_yaml, translate};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translate/wire").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Code and path of every finding.
fn codes(diagnostics: &[Diagnostic]) -> Vec<(Code, String)> {
    diagnostics.iter().map(|found| (found.code, found.field.clone())).collect()
}

/// The template, the objects by every profile, and everything that was told on the way.
fn result(text: &str) -> (Parts, Vec<String>, Vec<(Code, String)>) {
    let validated = from_text(text, None, &Limits::default()).0;
    let mut told = codes(&validated.diagnostics);
    let template = validated.template.unwrap_or_else(|| panic!("{told:?}"));
    let mut manifests = Vec::new();
    for profile in [Profile::Classic, Profile::Modern] {
        let options = Options::with(DeploymentName::new("wire").unwrap(), Rules::of(profile));
        let translation = translate(&template, &options);
        told.extend(codes(&translation.diagnostics));
        manifests.extend(translation.artifacts.iter().map(manifest_yaml));
    }
    assert_eq!(manifests.len(), 2, "{told:?}");
    (template.into(), manifests, told)
}

/// The JSON of a shape means what its YAML means.
fn check(shape: &str) {
    let (wire, yaml) = (result(&read(&format!("{shape}.json"))), result(&read(&format!("{shape}.pmx"))));
    assert_eq!(wire, yaml);
}

#[test]
fn the_ruby_agent_sent_empty_lists_nulls_and_categories() {
    check("ruby_agent");
}

#[test]
fn the_early_ruby_agent_sent_numbers_as_texts_and_links_as_the_template_has_them() {
    check("ruby_agent_early");
}

#[test]
fn the_go_agent_left_out_what_is_empty_and_wrote_0_for_no_host_port() {
    check("go_agent");
}

#[test]
fn the_go_adapters_knew_volumes_from_by_name() {
    check("go_adapters");
}

#[test]
fn both_spellings_side_by_side_are_one() {
    check("both_spellings");
}

#[test]
fn the_template_itself_may_be_json() {
    check("whole_template");
}

#[test]
fn every_shape_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translate/wire");
    let tests = fs::read_to_string(folder.with_extension("rs")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let shape = file.strip_suffix(".json").or_else(|| file.strip_suffix(".pmx"));
        assert!(shape.is_some_and(|shape| tests.contains(&format!("check(\"{shape}\")"))), "{file}");
    }
}

#[test]
fn a_host_port_of_0_is_none_only_as_the_agents_wrote_it() {
    let wire = r#"[{"name": "a", "source": "b:1", "ports": [{"hostPort": 0, "containerPort": 0}]}]"#;
    let found = codes(&from_text(wire, None, &Limits::default()).0.diagnostics);
    assert_eq!(found, [(Code::PortRange, "images[0].ports[0].container_port".to_owned())]);
    let template = "images:\n- name: a\n  source: b:1\n  ports: [{hostPort: 0, containerPort: 80}]\n";
    let found = codes(&from_text(template, None, &Limits::default()).0.diagnostics);
    assert_eq!(found, [(Code::PortRange, "images[0].ports[0].host_port".to_owned())]);
}

#[test]
fn spellings_that_differ_are_refused() {
    for (pair, path) in [
        (
            r#""ports": [{"hostPort": 80, "host_port": "81", "containerPort": 80}]"#,
            "images[0].ports[0].host_port",
        ),
        (r#""links": [{"name": "a", "service": "b"}]"#, "images[0].links[0].service"),
        (r#""volumesFrom": [], "volumes_from": ["a"]"#, "images[0].volumes_from"),
    ] {
        let text = format!(r#"[{{"name": "a", "source": "b:1", {pair}}}]"#);
        let found = codes(&from_text(&text, None, &Limits::default()).0.diagnostics);
        assert!(found.contains(&(Code::DuplicateKey, path.to_owned())), "{found:?}");
    }
}
