//! An override and what it does to the objects: every rule of the contract, and the agents' two old bugs.

use panamax_kubernetes_adapter::artifacts::{Artifacts, DeploymentName, Kind};
use panamax_kubernetes_adapter::diagnostic::Code;
use panamax_kubernetes_adapter::template::raw;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, translate};
use serde_json::Value;

const TEMPLATE: &str = "\
name: Shop
images:
- name: WP
  source: shop/web:1
  command: run
  environment:
  - {variable: A, value: one}
  - {variable: B, value: two}
  - {variable: C, value: three}
  ports: [{host_port: 8000, container_port: 80}]
  links: [{service: DB, alias: DB_1}]
- name: DB
  source: shop/db:1
  expose: [3306]
";

/// Code and path of each finding, and the objects if there are any.
fn overridden(template: &str, changes: &str) -> (Vec<(Code, String)>, Option<Artifacts>) {
    let changes = raw::read(changes).template.expect("an override");
    let validated = from_text(template, Some(changes), &Limits::default()).0;
    let mut told: Vec<_> =
        validated.diagnostics.iter().map(|found| (found.code, found.field.clone())).collect();
    let Some(template) = validated.template else { return (told, None) };
    let translation = translate(&template, &Options::new(DeploymentName::new("shop").unwrap()));
    told.extend(translation.diagnostics.iter().map(|found| (found.code, found.field.clone())));
    (told, translation.artifacts)
}

/// The objects of the template under an override that nothing is said against.
fn objects(changes: &str) -> Artifacts {
    let (told, artifacts) = overridden(TEMPLATE, changes);
    let expected = [Code::NameChanged, Code::LinkVariablesPartial];
    let said = told.iter().filter(|(code, _)| !expected.contains(code)).collect::<Vec<_>>();
    assert!(said.is_empty(), "{said:?}");
    artifacts.expect("objects")
}

/// The container of a component.
fn container<'a>(artifacts: &'a Artifacts, component: &str) -> &'a Value {
    let workload = artifacts
        .objects()
        .iter()
        .find(|object| object.component.as_str() == component && object.reference.kind > Kind::Service);
    let spec = &workload.expect("a workload").manifest["spec"];
    spec.pointer("/containers/0")
        .or_else(|| spec.pointer("/template/spec/containers/0"))
        .expect("a container")
}

/// Names and values of a component's variables, in their order.
fn environment(artifacts: &Artifacts, component: &str) -> Vec<(String, String)> {
    let variables = container(artifacts, component)["env"].as_array().cloned().unwrap_or_default();
    let text = |variable: &Value, key: &str| variable[key].as_str().expect("a text").to_owned();
    variables.iter().map(|one| (text(one, "name"), text(one, "value"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The Go agent appended the override's variables once for each variable of the template.
#[test]
fn a_variable_of_the_override_is_not_repeated_for_each_of_the_template() {
    let artifacts =
        objects("images:\n- name: WP\n  environment: [{variable: NEW, value: x}, {variable: B, value: y}]\n");
    let wanted = pairs(&[("A", "one"), ("B", "y"), ("C", "three"), ("NEW", "x")]);
    assert_eq!(environment(&artifacts, "wp"), wanted);
}

/// The Go agent lost the override's variables where the template had none.
#[test]
fn a_variable_of_the_override_is_not_lost_where_the_template_has_none() {
    let artifacts = objects("images:\n- name: DB\n  environment: [{variable: NEW, value: x}]\n");
    assert_eq!(environment(&artifacts, "db"), pairs(&[("NEW", "x")]));
    let artifacts = objects("images:\n- name: WP\n  deployment: {count: 0}\n");
    assert_eq!(environment(&artifacts, "wp").len(), 3, "nor the template's where the override has none");
}

#[test]
fn a_variable_that_the_override_repeats_or_the_template_repeats_stands_once_with_the_last_value() {
    let (told, artifacts) = overridden(
        TEMPLATE,
        "images:\n- name: WP\n  environment: [{variable: NEW, value: x}, {variable: NEW, value: y}, {variable: A, value: z}]\n",
    );
    let wanted = pairs(&[("A", "z"), ("B", "two"), ("C", "three"), ("NEW", "y")]);
    assert_eq!(environment(&artifacts.unwrap(), "wp"), wanted);
    let field = "override.images[0].environment[0].variable".to_owned();
    assert!(told.contains(&(Code::VariableRepeated, field)), "{told:?}");
    let twice = TEMPLATE.replace("  - {variable: C, value: three}\n", "  - {variable: A, value: again}\n");
    let (told, artifacts) =
        overridden(&twice, "images:\n- name: WP\n  environment: [{variable: A, value: mine}]\n");
    assert_eq!(environment(&artifacts.unwrap(), "wp"), pairs(&[("A", "mine"), ("B", "two")]));
    assert!(told.iter().all(|(code, _)| *code == Code::NameChanged), "{told:?}");
}

#[test]
fn a_value_can_be_emptied() {
    let artifacts = objects("images:\n- name: WP\n  environment: [{variable: A, value: ''}]\n");
    assert_eq!(environment(&artifacts, "wp")[0], ("A".to_owned(), String::new()));
}

#[test]
fn count_and_command_replace() {
    let artifacts = objects(
        "images:\n- name: WP\n  command: other 'two words'\n  deployment: {count: 3}\n"
            .replace("3", "0")
            .as_str(),
    );
    let controller =
        artifacts.objects().iter().find(|object| object.reference.kind == Kind::ReplicationController);
    assert_eq!(controller.expect("a controller").manifest["spec"]["replicas"], 0);
    assert_eq!(container(&artifacts, "wp")["args"], serde_json::json!(["other", "two words"]));
}

#[test]
fn ports_are_matched_by_container_port_and_links_are_added() {
    let artifacts = objects(
        "images:\n- name: WP\n  ports: [{host_port: 9000, container_port: 80}, {container_port: 443}]\n  links: [{service: DB, alias: other}]\n",
    );
    let ports = serde_json::json!([
        {"containerPort": 80, "hostPort": 9000, "protocol": "TCP"},
        {"containerPort": 443, "protocol": "TCP"},
    ]);
    assert_eq!(container(&artifacts, "wp")["ports"], ports);
    let services = artifacts.objects().iter().filter(|object| object.reference.kind == Kind::Service);
    assert_eq!(
        services.map(|service| service.reference.name.as_str()).collect::<Vec<_>>(),
        ["db-1", "other"]
    );
}

#[test]
fn volumes_are_matched_by_the_path_they_lead_to() {
    let template = TEMPLATE.replace(
        "  expose: [3306]\n",
        "  expose: [3306]\n  volumes: [{host_path: /old, container_path: /data/}]\n",
    );
    let (told, artifacts) =
        overridden(&template, "images:\n- name: DB\n  volumes: [{host_path: /new, container_path: /data}]\n");
    assert!(artifacts.is_some());
    assert!(told.contains(&(Code::VolumeOmitted, "override.images[0].volumes[0]".to_owned())), "{told:?}");
    assert!(!told.iter().any(|(code, _)| *code == Code::VolumeRepeated), "{told:?}");
}

#[test]
fn an_image_that_the_template_lacks_is_refused_with_a_suggestion() {
    let changes = raw::read("images:\n- name: WPP\n").template;
    let validated = from_text(TEMPLATE, changes, &Limits::default()).0;
    assert!(validated.template.is_none());
    let found = &validated.diagnostics[0];
    assert_eq!((found.code, found.field.as_str()), (Code::OverrideImageMissing, "override.images[0].name"));
    assert!(found.message.ends_with("did you mean `WP`?"), "{}", found.message);
}

#[test]
fn what_an_override_cannot_change_is_told_and_stays() {
    let (told, artifacts) = overridden(TEMPLATE, "name: Other\nimages:\n- name: WP\n  source: other/web:2\n");
    let ignored = ["override.name", "override.images[0].source"]
        .map(|path| (Code::OverrideFieldIgnored, path.to_owned()));
    assert_eq!(told[..2], ignored);
    assert_eq!(container(&artifacts.unwrap(), "wp")["image"], "shop/web:1");
}

#[test]
fn a_fault_of_the_override_has_the_overrides_path_and_no_line_of_the_template() {
    let changes =
        raw::read("images:\n- name: DB\n  environment: [{variable: 'A=B', value: canary}]\n").template;
    let validated = from_text(TEMPLATE, changes, &Limits::default()).0;
    let found = &validated.diagnostics[0];
    assert_eq!(
        (found.code, found.field.as_str()),
        (Code::VariableName, "override.images[0].environment[0].variable")
    );
    assert_eq!(found.position, None);
    assert!(!format!("{:?}", validated.diagnostics).contains("canary"));
}

/// A template in which every list has an entry with something that is no value.
const DEMANDING: &str = "\
name: Shop
images:
- name: WP
  source: shop/web:1
  environment: [{variable: A, value: one, required: true}]
  ports: [{host_interface: 127.0.0.1, host_port: 8000, container_port: 80}]
  volumes: [{container_path: /data, read_only: true}]
  volumes_from: [{service: DB, read_only: true}]
- name: DB
  source: shop/db:1
  volumes: [{container_path: /db}]
";

/// What clears a value, moves a port or a volume, and says nothing of what its author demands.
const VALUES: &str = "\
images:
- name: WP
  environment: [{variable: A}]
  ports: [{container_port: 80}]
  volumes: [{host_path: /srv, container_path: /data}]
  volumes_from: [DB]
";

#[test]
fn an_override_keeps_what_it_does_not_say_and_findings_lead_to_where_that_stands() {
    let changes = || raw::read(VALUES).template;
    let validated = from_text(DEMANDING, changes(), &Limits::default()).0;
    let image = &validated.template.expect("a template").images[0];
    assert!(image.environment[0].required && image.environment[0].value.is_empty());
    assert!(!image.ports[0].is_open() && image.ports[0].host.is_none(), "another port would be another's");
    assert!(image.volumes[0].read_only && image.volumes_from[0].read_only);
    let (told, _) = overridden(DEMANDING, VALUES);
    let place = |code: Code| {
        told.iter().find(|(found, _)| *found == code).map(|(_, place)| place.as_str()).unwrap_or_default()
    };
    assert_eq!(place(Code::VariableRequired), "override.images[0].environment[0].value");
    assert_eq!(place(Code::PortNotPublished), "images[0].ports[0].host_interface");

    // What is kept and cannot be read is a fault of the template, at its own place.
    let faults = [
        ("required: true", "required: perhaps", "images[0].environment[0].required"),
        ("127.0.0.1", "localhost", "images[0].ports[0].host_interface"),
        ("/data, read_only: true", "/data, read_only: perhaps", "images[0].volumes[0].read_only"),
    ];
    for (from, to, place) in faults {
        assert_ne!(DEMANDING.replace(from, to), DEMANDING);
        let validated = from_text(&DEMANDING.replace(from, to), changes(), &Limits::default()).0;
        let found = validated.diagnostics.iter().find(|found| found.is_error()).expect("a fault");
        assert_eq!((found.field.as_str(), found.position.is_some()), (place, true), "{to}");
    }
}

#[test]
fn an_override_can_say_otherwise() {
    let changes = VALUES
        .replace("{variable: A}", "{variable: A, required: false}")
        .replace("{container_port: 80}", "{host_interface: 0.0.0.0, container_port: 80}")
        .replace("container_path: /data", "container_path: /data, read_only: false")
        .replace("[DB]", "[{service: DB, read_only: false}]");
    let validated = from_text(DEMANDING, raw::read(&changes).template, &Limits::default()).0;
    let image = &validated.template.expect("a template").images[0];
    assert!(!image.environment[0].required && image.ports[0].is_open());
    assert!(!image.volumes[0].read_only && !image.volumes_from[0].read_only);
}

/// What an override says twice is judged as what a template says twice, and nothing of it is lost without a word.
#[test]
fn what_is_said_twice_is_judged_in_an_override_as_in_a_template() {
    let lists = [
        ("environment", "[{variable: X, value: 1}, {variable: X, value: 2}]", Code::VariableRepeated),
        ("volumes", "[{container_path: /b}, {container_path: /b/}]", Code::VolumeRepeated),
        ("ports", "[{container_port: 90}, {container_port: 90}]", Code::PortRepeated),
        ("expose", "[90, 90]", Code::PortRepeated),
        ("links", "[{service: DB, alias: X}, {service: DB, alias: X}]", Code::LinkRepeated),
        ("volumes_from", "[{service: DB}, {service: DB}]", Code::LinkRepeated),
    ];
    let template = |rest: &str| {
        format!(
            "name: t\nimages:\n- {{name: A, source: 'a:1'{rest}}}\n- {{name: DB, source: 'b:1', volumes: [{{container_path: /d}}]}}\n"
        )
    };
    for (key, twice, code) in lists {
        let own = format!(", {key}: {twice}");
        let own = overridden(&template(&own), "images: []\n").0;
        let over = overridden(&template(""), &format!("images:\n- {{name: A, {key}: {twice}}}\n")).0;
        let [own, over] = [own, over].map(|told| {
            let found: Vec<String> =
                told.into_iter().filter(|(found, _)| *found == code).map(|(_, field)| field).collect();
            found.join(" ")
        });
        assert!(!own.is_empty() && format!("override.{own}") == over, "{key}: {own} and {over}");
    }
    let twice = "images:\n- {name: DB, deployment: {count: 2}}\n- {name: DB, deployment: {count: 3}}\n";
    let (told, artifacts) = overridden(&template(""), twice);
    assert!(
        artifacts.is_none() && told.contains(&(Code::NameCollision, "override.images[1].name".into())),
        "{told:?}"
    );
}

/// Two host ports of one container port are two entries, in an override as in a template.
#[test]
fn an_override_publishes_a_port_as_often_as_it_says() {
    let template = "name: t\nimages:\n- name: a\n  source: a:1\n  ports: [{host_port: 1, container_port: 80}, {host_port: 2, \
                    container_port: 80}, {host_port: 3, container_port: 81}]\n";
    let manifests = |artifacts: Option<Artifacts>| {
        let objects = artifacts.expect("objects").objects().to_vec();
        objects.into_iter().map(|object| object.manifest).collect::<Vec<_>>()
    };
    let is_as = |changes: &str, ports: &str| {
        let (told, artifacts) = overridden(template, &format!("images: [{{name: a, ports: {changes}}}]\n"));
        let text = format!("name: t\nimages: [{{name: a, source: 'a:1', ports: {ports}}}]\n");
        assert_eq!(manifests(artifacts), manifests(overridden(&text, "images: []\n").1), "{changes}");
        let told = told.into_iter().filter(|(code, _)| *code == Code::OverrideReplacesSeveral);
        told.map(|(_, field)| field).collect::<Vec<_>>()
    };
    let port = |host: u16, container: u16| format!("{{host_port: {host}, container_port: {container}}}");
    let all = |ports: &[(u16, u16)]| {
        format!(
            "[{}]",
            ports.iter().map(|(host, container)| port(*host, *container)).collect::<Vec<_>>().join(", ")
        )
    };
    let added = is_as(&all(&[(9, 90), (10, 90)]), &all(&[(1, 80), (2, 80), (3, 81), (9, 90), (10, 90)]));
    assert!(added.is_empty(), "{added:?}");
    for (changes, ports) in
        [(&[(9, 80)][..], &[(9, 80), (3, 81)][..]), (&[(9, 80), (1, 80)], &[(9, 80), (1, 80), (3, 81)])]
    {
        assert_eq!(is_as(&all(changes), &all(ports)), ["override.images[0].ports[0]"]);
    }
}
