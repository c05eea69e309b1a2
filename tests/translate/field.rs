//! Inputs as the field brings them: what a loss is told as, where, and with which advice; templates of our own.

use panamax_kubernetes_adapter::artifacts::{Artifact, Artifacts, DeploymentName, Kind};
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic, Severity};
use panamax_kubernetes_adapter::facts::Configs;
use panamax_kubernetes_adapter::operations::{Operations, Source, TemplateCall, Validated};
use panamax_kubernetes_adapter::template::validate::Limits;
use panamax_kubernetes_adapter::translate::{
    Exposure, HostPorts, LinkEnvironment, Profile, Rules, VolumeMapping,
};
use serde_json::{Value, json};

fn call(text: &str, rules: Rules) -> TemplateCall {
    let name = DeploymentName::new("field").ok();
    TemplateCall {
        source: Source::Text(text.to_owned()),
        overrides: None,
        name,
        rules,
        image_configs: Configs::default(),
        strict: false,
        limits: Limits::default(),
    }
}

fn validated(text: &str, profile: Profile) -> Validated {
    Operations::validate_template(&call(text, Rules::of(profile)))
}

/// The objects, and all that is told.
fn translated(text: &str, rules: Rules) -> (Artifacts, Vec<Diagnostic>) {
    let translated = Operations::translate_template(&call(text, rules), None);
    let translated = translated.unwrap_or_else(|error| panic!("{}", error.message()));
    (translated.artifacts, translated.diagnostics)
}

/// The faults for which a template is refused: code, path, and the violation's whole description.
fn refused(text: &str) -> Vec<(&'static str, String, String)> {
    let error = Operations::translate_template(&call(text, Rules::default()), None).expect_err("a refusal");
    let validated = validated(text, Profile::Classic);
    let errors: Vec<_> =
        validated.diagnostics.iter().filter(|one| one.is_error()).map(|one| one.code.as_str()).collect();
    let faults: Vec<_> =
        error.faults().iter().map(|one| (one.reason, one.field.clone(), one.explained())).collect();
    assert_eq!(faults.iter().map(|one| one.0).collect::<Vec<_>>(), errors, "the calls differ");
    faults
}

/// Code and path of what is told of at least this severity.
fn told(found: &[Diagnostic], least: Severity) -> Vec<(Code, &str)> {
    let found = found.iter().filter(|one| one.severity() >= least);
    found.map(|one| (one.code, one.field.as_str())).collect()
}

fn hint(found: &[Diagnostic], code: Code) -> &str {
    found.iter().find(|one| one.code == code).map_or("", Diagnostic::hint)
}

/// The pod that an object runs.
fn pod<'a>(artifacts: &'a Artifacts, component: &str) -> &'a Value {
    let mut objects = artifacts.objects().iter().filter(|one| one.component.as_str() == component);
    let of = |kind: Kind, manifest: &'a Value| match kind {
        Kind::Pod => Some(&manifest["spec"]),
        Kind::ReplicationController | Kind::Deployment => Some(&manifest["spec"]["template"]["spec"]),
        Kind::Service | Kind::Secret | Kind::PersistentVolumeClaim => None,
    };
    objects
        .find_map(|one| of(one.reference.kind, &one.manifest))
        .unwrap_or_else(|| panic!("{component} runs"))
}

fn container<'a>(artifacts: &'a Artifacts, component: &str) -> &'a Value {
    &pod(artifacts, component)["containers"][0]
}

fn service<'a>(artifacts: &'a Artifacts, name: &str) -> Option<&'a Value> {
    let named = |one: &&Artifact| one.reference.kind == Kind::Service && one.reference.name.as_str() == name;
    artifacts.objects().iter().find(named).map(|one| &one.manifest)
}

fn variable<'a>(artifacts: &'a Artifacts, component: &str, name: &str) -> Option<&'a str> {
    let all = container(artifacts, component)["env"].as_array()?;
    all.iter().find(|one| one["name"] == name)?["value"].as_str()
}

const LOOPBACK: &str = "
images:
- name: Panel
  source: example/panel:1
  ports:
  - {host_interface: 127.0.0.1, host_port: '9443', container_port: '443', proto: udp}
  - {host_port: '3000', container_port: '3001'}
";

#[test]
fn a_port_of_one_address_is_never_opened_wider() {
    let place = "images[0].ports[0].host_interface";
    let (artifacts, found) = translated(LOOPBACK, Rules::default());
    assert_eq!(
        container(&artifacts, "panel")["ports"],
        json!([
            {"containerPort": 443, "hostIP": "127.0.0.1", "hostPort": 9443, "protocol": "UDP"},
            {"containerPort": 3001, "hostPort": 3000, "protocol": "TCP"},
        ])
    );
    assert_eq!(told(&found, Severity::Warning), [(Code::HostInterfaceKept, place)]);
    for exposure in [Exposure::NodePort, Exposure::LoadBalancer] {
        let (artifacts, found) = translated(LOOPBACK, Rules { exposure, ..Rules::of(Profile::Modern) });
        assert_eq!(told(&found, Severity::Warning), [(Code::PortNotPublished, place)]);
        let ports = &service(&artifacts, "panel").unwrap()["spec"]["ports"];
        assert_eq!(*ports, json!([{"port": 3000, "protocol": "TCP", "targetPort": 3001}]));
        let kept = Rules { exposure, host_ports: HostPorts::Keep, ..Rules::default() };
        let ports = translated(LOOPBACK, kept).0;
        let ports = &service(&ports, "panel").unwrap()["spec"]["ports"];
        assert_eq!(*ports, json!([{"port": 3000, "protocol": "TCP", "targetPort": 3001}]));
    }
    // Within the cluster, links reach the container's port as they did; the host's port is on no Service.
    let (artifacts, _) = translated(LOOPBACK, Rules::of(Profile::Modern));
    let ports = service(&artifacts, "panel").unwrap()["spec"]["ports"].to_string();
    assert!(ports.contains("\"port\":443,") && !ports.contains("9443"), "{ports}");
}

#[test]
fn what_narrows_in_other_words_opens_nothing() {
    for key in ["host_ip", "bind", "host_interfce"] {
        let text = LOOPBACK.replace("host_interface", key);
        let (artifacts, found) = translated(&text, Rules::default());
        assert_eq!(
            container(&artifacts, "panel")["ports"][0],
            json!({"containerPort": 443, "protocol": "UDP"})
        );
        let codes: Vec<_> = told(&found, Severity::Warning).into_iter().map(|one| one.0).collect();
        assert_eq!(codes, [Code::PortNotPublished, Code::UnknownField], "{key}");
        assert!(hint(&found, Code::UnknownField).contains("`host_interface`"));
    }
    let faults = refused(&LOOPBACK.replace("127.0.0.1", "localhost"));
    assert_eq!((faults[0].0, faults[0].1.as_str()), ("HOST_INTERFACE", "images[0].ports[0].host_interface"));
    assert!(faults[0].2.contains("127.0.0.1"));
}

const READ_ONLY: &str = "
images:
- name: Docs
  source: example/docs:1
  volumes:
  - {host_path: /srv/docs, container_path: '/usr/share/docs:ro'}
  - {host_path: /srv/log, container_path: /log, readOnly: false}
  - {host_path: /srv/key, container_path: /keys, read_only: true}
- {name: Mirror, source: 'example/mirror:1', volumes_from: ['Docs:ro']}
- {name: Second, source: 'example/mirror:1', volumes_from: [{service: Mirror}]}
- {name: Third, source: 'example/mirror:1', volumes_from: [{service: Docs, readOnly: true}]}
- {name: Fourth, source: 'example/mirror:1', volumes_from: ['Docs:rw']}
";

#[test]
fn what_may_only_be_read_is_mounted_so() {
    for volumes in [VolumeMapping::EmptyDir, VolumeMapping::HostPath, VolumeMapping::PersistentVolumeClaim] {
        let (artifacts, _) = translated(READ_ONLY, Rules { volumes, ..Rules::default() });
        let mounts = |component: &str| -> Vec<(String, bool)> {
            let list = container(&artifacts, component)["volumeMounts"].as_array().unwrap().iter();
            list.map(|one| (one["mountPath"].as_str().unwrap().to_owned(), one["readOnly"] == true)).collect()
        };
        let of = |log: bool| {
            [("/usr/share/docs", true), ("/log", log), ("/keys", true)]
                .map(|(path, ro)| (path.to_owned(), ro))
        };
        assert_eq!(mounts("docs"), of(false));
        for borrower in ["mirror", "second", "third"] {
            assert_eq!(mounts(borrower), of(true), "{borrower} {volumes:?}");
        }
        assert_eq!(mounts("fourth"), of(false));
    }
    let (_, found) = translated(READ_ONLY, Rules::default());
    assert!(found.iter().all(|one| !one.is_error()));
    let faults = refused(&READ_ONLY.replace("docs:ro", "docs:raw").replace("'Docs:ro'", "'Docs:raw'"));
    let places: Vec<_> = faults.iter().map(|one| (one.0, one.1.as_str())).collect();
    assert_eq!(
        places,
        [
            ("VOLUME_PATH", "images[0].volumes[0].container_path"),
            ("VOLUMES_FROM_TARGET", "images[1].volumes_from[0]"),
        ]
    );
    assert!(faults[0].2.contains(":ro"));
}

const HOSTS: &str = "
images:
- name: Shop
  source: example/shop:1
  command: serve --db=stock_db:5432 --title 'stock_db'
  environment:
  - {variable: STORE__HOST, value: stock_db}
  - {variable: REPORTS, value: 'postgres://app@stock_db:5432/x'}
  - {variable: TITLE, value: All about stock_dbs}
  - {variable: PASSWORD, value: stock_db}
  - {variable: OWN, value: 'http://Database/'}
  links: [{service: Database, alias: stock_db}]
- {name: Database, source: 'example/pg:1', expose: [5432]}
";

#[test]
fn a_lost_host_name_is_told_where_it_is_used() {
    let lost = |found: &[Diagnostic]| -> Vec<String> {
        let found = found.iter().filter(|one| one.code == Code::HostNameLost);
        found.map(|one| one.field.clone()).collect()
    };
    let (artifacts, found) = translated(HOSTS, Rules::default());
    let places = ["images[0].command", "images[0].environment[0].value", "images[0].environment[1].value"];
    assert_eq!(lost(&found), [&places[..], &["images[0].environment[4].value"]].concat());
    assert_eq!(variable(&artifacts, "shop", "STORE__HOST"), Some("stock_db"));
    assert!(service(&artifacts, "stock-db").is_some());
    assert_eq!(hint(&found, Code::HostNameLost), "write `stock-db`");
    // Where the target has a Service of its own name, that name is none of the lost ones.
    assert_eq!(lost(&translated(HOSTS, Rules::of(Profile::Modern)).1), places);
    // What nobody uses as the name of a host is not told.
    let unused = "images:\n- {name: a, source: 'a:1', links: [{service: b, alias: DB_1}]}\n- {name: b, source: 'b:1', expose: [1]}\n";
    assert!(lost(&translated(unused, Rules::default()).1).is_empty());
    let domain = unused.replace("DB_1", "store.shop");
    assert_eq!(lost(&translated(&domain, Rules::default()).1), ["images[0].links[0].alias"]);
}

#[test]
fn no_name_of_a_link_leads_home() {
    let text = |alias: &str| {
        format!(
            "images:\n- {{name: db, source: 'a:1', links: [{{service: b, alias: {alias}}}]}}\n- {{name: b, source: 'b:1', expose: [1]}}\n"
        )
    };
    // The hosts file of a pod has the pod's own name.
    let (artifacts, _) = translated(&text("db-pod"), Rules::default());
    assert_eq!(pod(&artifacts, "db")["hostname"], "db");
    assert_eq!(pod(&artifacts, "b").get("hostname"), None);
    assert_eq!(pod(&translated(&text("other"), Rules::default()).0, "db").get("hostname"), None);
    for profile in [Profile::Classic, Profile::Modern] {
        let (artifacts, found) = translated(&text("localhost"), Rules::of(profile));
        assert!(service(&artifacts, "localhost").is_none() && service(&artifacts, "db-localhost").is_some());
        assert_eq!(variable(&artifacts, "db", "LOCALHOST_PORT_1_TCP_ADDR"), Some("db-localhost"));
        assert_eq!(told(&found, Severity::Warning), [(Code::HostNameLost, "images[0].links[0].alias")]);
    }
}

#[test]
fn a_target_has_a_service_of_its_own_whatever_its_ports_come_from() {
    for source in ["mysql:5", "example/unknown:1"] {
        let text = format!(
            "images:\n- {{name: a, source: 'a:1', links: [{{service: Store, alias: S}}]}}\n- {{name: Store, source: '{source}'}}\n"
        );
        let (artifacts, _) = translated(&text, Rules::of(Profile::Modern));
        let (own, alias) = (service(&artifacts, "store").unwrap(), service(&artifacts, "s").unwrap());
        assert_eq!(own["spec"], alias["spec"], "{source}");
        assert!(service(&translated(&text, Rules::default()).0, "store").is_none());
    }
}

/// A template in whose seventh line stands this value.
fn signs(value: &str) -> String {
    format!(
        "name: S\nimages:\n- name: a\n  source: b:1\n  environment:\n  - variable: PASSWORD\n    value: {value}\n"
    )
}

#[test]
fn a_value_that_begins_with_a_sign_is_told_to_be_quoted() {
    let quoted = [
        "*",
        "*.canary.example",
        "&canary",
        "!canary",
        "@canary",
        "%canary",
        "`canary`",
        "{{ canary }}",
        "canary: x",
    ];
    for value in quoted.iter().chain(&["[*canary", "\"can\\cary\"", "'canary", "{canary", "!canary x"]) {
        let faults = refused(&signs(value));
        let (_, field, first) = &faults[0];
        assert!(
            ["template_yaml", "images[0].environment[0].value"].contains(&field.as_str()),
            "{value}: {field}"
        );
        let opens = ["[*canary", "'canary", "{canary"].contains(value);
        assert!(opens || first.starts_with("line 7,"), "{value}: {first}");
        for (_, field, text) in &faults {
            assert!(
                !text.contains("canary") && !text.contains("cary") && !field.contains("canary"),
                "{value}: {text}"
            );
        }
        assert!(!quoted.contains(value) || first.contains("put the value in quotes"), "{value}: {first}");
    }
}

#[test]
fn what_was_refused_is_told_at_its_first_character() {
    let place = |text: &str| {
        let validated = validated(text, Profile::Classic);
        validated.diagnostics[0].position.map(|at| (at.line, at.column))
    };
    for (text, line, column) in [
        ("name: a\nx: &x\n# note\n\n- 1\nimages: []\n", 2, 4),
        ("name: a\nimages:\n- name: a\n  source: !t # note\n   b:1\n", 4, 11),
        ("name: !!str &x a\n", 1, 13),
        ("name: a\nimages:\n- name: b\n\tsource: c:1\n", 4, 1),
        ("name: a\nimages:\n- name: b\n  ports:\n  - host_port: 1\n  \tcontainer_port: 1\n", 6, 3),
    ] {
        assert_eq!(place(text), Some((line, column)), "{text:?}");
    }
    let shared = "name: D\nx-common: &common\n- {variable: TZ, value: UTC}\nimages:\n- name: a\n  source: 'a:1'\n  environment: *common\n\
        - name: b\n  <<: {source: 'b:1'}\n  environment: *common\n";
    let faults = refused(shared);
    let found: Vec<_> = faults.iter().map(|one| (one.0, one.2.split(',').next().unwrap())).collect();
    assert_eq!(
        found,
        [
            ("ALIAS_FORBIDDEN", "line 2"),
            ("ALIAS_FORBIDDEN", "line 7"),
            ("MERGE_KEY", "line 9"),
            ("ALIAS_FORBIDDEN", "line 10"),
        ]
    );
    assert!(faults[0].2.contains("x-…"));
}

#[test]
fn a_value_that_a_comment_cuts_is_told() {
    let text = "images:\n- name: v\n  source: example/v:1\n  command: paint #fff\n  environment:\n  - variable: A\n    value: #ff8800\n\
        \x20 - variable: B\n    value: p@ss #word\n  - variable: C\n    value: seven # of nine\n  - {variable: D, value: x#y}\n\
        \x20 - variable: E\n    value: 'x #y'\n  - variable: F_TOKEN\n    value: |\n      t\n";
    let (artifacts, found) = translated(text, Rules::default());
    assert_eq!(variable(&artifacts, "v", "B"), Some("p@ss"));
    assert_eq!(
        told(&found, Severity::Warning),
        [
            (Code::ValueCut, "images[0].command"),
            (Code::ValueCut, "images[0].environment[0].value"),
            (Code::ValueCut, "images[0].environment[1].value"),
        ]
    );
    assert!(told(&found, Severity::Info).contains(&(Code::SecretLineEnd, "images[0].environment[5].value")));
}

#[test]
fn the_old_way_to_write_a_source_is_read() {
    let text = r#"{"images": [{"name": "DB", "repository": "example/db", "tag": "5.5", "expose": [3306], "ports": [{"container_port": 3306}]},
        {"name": "WP", "repository": "example/wp", "tag": "latest", "links": [{"service": "DB", "alias": "DB"}]}]}"#;
    let (artifacts, found) = translated(text, Rules::default());
    assert_eq!(container(&artifacts, "db")["image"], "example/db:5.5");
    assert_eq!(container(&artifacts, "wp")["image"], "example/wp:latest");
    assert_eq!(told(&found, Severity::Warning), [(Code::TagMissing, "images[1].source")]);
    let ports = &service(&artifacts, "db").unwrap()["spec"]["ports"];
    assert_eq!(ports.as_array().unwrap().len(), 1);
    let both = "images:\n- {name: a, source: 'b:1', repository: c, tag: '2'}\n";
    assert_eq!(
        told(&translated(both, Rules::default()).1, Severity::Warning),
        [(Code::UnknownField, "images[0].repository")]
    );
}

#[test]
fn a_fault_names_the_key_that_was_meant() {
    for (image, key) in [
        ("image: example/a:1", "`image`"),
        ("sorce: example/a:1", "did you mean `source`"),
        ("example/a:1: x", "line 3, column 3"),
    ] {
        let faults = refused(&format!("images:\n- name: a\n  {image}\n"));
        assert_eq!((faults.len(), faults[0].0), (1, "SOURCE_MISSING"));
        assert!(faults[0].2.contains(key) && faults[0].2.contains("line 3"), "{}", faults[0].2);
    }
    let faults = refused("images:\n- {name: a, source: 'b:1', ports: [{port: 80}]}\n");
    assert!(faults[0].2.contains("`port`") && faults[0].2.contains("container_port"), "{}", faults[0].2);
    let faults = refused("services:\n- {name: a, image: b}\n");
    assert!(faults[0].2.contains("`images`"), "{}", faults[0].2);
}

#[test]
fn keys_of_compose_get_a_word_of_their_own() {
    for (key, word) in [
        ("entrypoint: run", "command"),
        ("env_file: a", "environment"),
        ("depends_on: [b]", "links"),
        ("restart: always", "starts"),
        ("healthcheck: {test: x}", "probes"),
    ] {
        let (_, found) =
            translated(&format!("images:\n- name: a\n  source: b:1\n  {key}\n"), Rules::default());
        assert!(hint(&found, Code::UnknownField).contains(word), "{key}: {found:?}");
    }
}

#[test]
fn a_command_may_be_a_list() {
    let of = |command: &str| {
        translated(&format!("images:\n- name: a\n  source: b:1\n  command: {command}\n"), Rules::default())
    };
    let (artifacts, found) = of("[sh, -c, \"run 'a b' \\\"$X\\\"\", '']");
    assert_eq!(container(&artifacts, "a")["args"], json!(["sh", "-c", "run 'a b' \"$X\"", ""]));
    assert_eq!(found, []);
    assert_eq!(
        told(&of("'[\"sh\",\"-c\",\"x\"]'").1, Severity::Warning),
        [(Code::CommandList, "images[0].command")]
    );
    assert_eq!(told(&of("/bin/true").1, Severity::Warning), [(Code::CommandEnds, "images[0].command")]);
    for command in ["echo Data-only container", "'sh -c \"exit 0\"'", "[sh, -c, 'true']", "chown -R 1 /data"]
    {
        assert_eq!(told(&of(command).1, Severity::Warning), [(Code::CommandEnds, "images[0].command")]);
    }
    for command in ["run true", "tail -f /dev/null", "[sh, -c, 'true; exec run']"] {
        assert_eq!(of(command).1, [], "{command}");
    }
}

#[test]
fn what_nobody_sees_is_refused_where_it_stands() {
    for (line, field) in [
        ("  sou\u{200b}rce: b:1", "images[0].source"),
        ("  source: b:1\n  ports\u{a0}: []", "images[0].ports"),
        ("  source: b:1\u{a0}", "images[0].source"),
        ("  source: b:1\n  command: run\u{a0}--fast", "images[0].command"),
        (
            "  source: b:1\n  volumes: [{container_path: \"/data\u{a0}\"}]",
            "images[0].volumes[0].container_path",
        ),
        ("  source: b:1\n  environment: [{variable: A, val\u{200b}ue: x}]", "images[0].environment[0].value"),
    ] {
        let faults = refused(&format!("images:\n- name: a\n{line}\n"));
        let found: Vec<_> = faults.iter().map(|one| (one.0, one.1.as_str())).collect();
        assert!(found.contains(&("INVISIBLE_CHARACTER", field)), "{line:?}: {faults:?}");
    }
    // What YAML cannot hold as it is arrives escaped.
    let (artifacts, _) = translated(&signs("\"\\uFFFE\\uFFFF\""), Rules::default());
    assert_eq!(variable(&artifacts, "a", "PASSWORD"), Some("\u{fffe}\u{ffff}"));
}

#[test]
fn ranges_names_and_lookalikes_have_their_advice() {
    let faults = refused(
        "images:\n- name: a\n  source: b:1\n  expose: ['8001-8003']\n  ports: [{host_port: '9000-9002', container_port: '9000-9002'}]\n",
    );
    let mut places: Vec<_> = faults.iter().map(|one| one.1.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        ["images[0].expose[0]", "images[0].ports[0].container_port", "images[0].ports[0].host_port"]
    );
    assert!(
        faults.iter().all(|one| one.0 == "PORT_NOT_DECIMAL" && one.2.contains("list each port")),
        "{faults:?}"
    );
    let faults = refused("images:\n- {name: 数据库, source: 'b:1'}\n");
    assert!(faults[0].2.contains("a to z"), "{faults:?}");
    let faults =
        refused("images:\n- {name: DB, source: 'b:1'}\n- {name: a, source: 'b:1', links: [{service: DВ}]}\n");
    assert!(faults[0].2.contains("looks like `DB`"), "{faults:?}");
    let faults = refused("images:\n- {name: DB_1, source: 'b:1'}\n- {name: db-1, source: 'b:1'}\n");
    assert!(faults[0].2.contains("capitals and signs"), "{faults:?}");
}

#[test]
fn the_kubelets_variables_are_told_where_a_pod_has_no_link() {
    let text = "images:\n- {name: Pact_Broker, source: 'a:1', deployment: {count: 2}, ports: [{container_port: 9292}]}\n\
        - {name: b, source: 'b:1', links: [{service: Pact_Broker}]}\n";
    let found = translated(text, Rules::default()).1;
    let word = found.iter().find(|one| one.code == Code::ServiceVariables).expect("a word");
    assert!(word.field == "images[0].name" && word.message.contains("`PACT_BROKER_PORT`"), "{word:?}");
    let modern = translated(text, Rules::of(Profile::Modern));
    assert!(modern.1.iter().all(|one| one.code != Code::ServiceVariables));
    assert_eq!(pod(&modern.0, "pact-broker")["enableServiceLinks"], false);
}

#[test]
fn a_link_whose_variables_are_too_many_is_refused_whole() {
    let ports: String = (1..=64).map(|port| format!("{port}, ")).collect();
    let links: String = (0..40).map(|link| format!("{{service: hub, alias: a{link}}}, ")).collect();
    let text = format!(
        "images:\n- {{name: hub, source: 'b:1', expose: [{ports}]}}\n- {{name: a, source: 'b:1', links: [{links}]}}\n"
    );
    let rules = Rules { link_environment: LinkEnvironment::Declared, ..Rules::default() };
    let error = Operations::translate_template(&call(&text, rules), None).expect_err("a refusal");
    let faults: Vec<_> = error.faults().iter().map(|one| (one.reason, one.field.as_str())).collect();
    let limits = faults.iter().filter(|(reason, _)| *reason == "LIMIT").map(|(_, field)| *field);
    let mut refused: Vec<&str> = limits.collect();
    refused.sort_unstable();
    refused.dedup();
    // Two links have 524 variables; a third would be beyond the share, and so is each after it.
    assert_eq!((refused.len(), refused.contains(&"images[1].links[2]")), (38, true));
}

#[test]
fn the_agents_copies_of_a_variable_are_one() {
    // As the agent repeats them: three become six.
    let wire = |values: [&str; 6]| {
        let names = ["A", "B", "C", "B", "C", "C"];
        let list: Vec<_> = names
            .iter()
            .zip(values)
            .map(|(name, value)| format!(r#"{{"variable": "{name}", "value": "{value}"}}"#))
            .collect();
        format!(
            r#"[{{"name": "a", "source": "b:1", "expose": [80, 0], "environment": [{}]}}]"#,
            list.join(", ")
        )
    };
    let (artifacts, found) = translated(&wire(["1", "2", "3", "2", "3", "3"]), Rules::default());
    let names: Vec<_> = container(&artifacts, "a")["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["value"].clone())
        .collect();
    assert_eq!(names, [json!("1"), json!("2"), json!("3")]);
    assert_eq!(told(&found, Severity::Warning), [(Code::PortUnread, "images[0].expose[1]")]);
    let (artifacts, found) = translated(&wire(["1", "2", "3", "4", "3", "3"]), Rules::default());
    assert_eq!(variable(&artifacts, "a", "B"), Some("4"));
    assert!(
        told(&found, Severity::Warning)
            .contains(&(Code::VariableRepeated, "images[0].environment[1].variable"))
    );
    // The limit is on what is left: 30 variables come as 465.
    let mut many = Vec::new();
    for first in 0..30 {
        many.extend((first..30).map(|name| format!(r#"{{"variable": "V{name}", "value": "x"}}"#)));
    }
    let text = format!(r#"[{{"name": "a", "source": "b:1", "environment": [{}]}}]"#, many.join(", "));
    let (artifacts, found) = translated(&text, Rules::default());
    assert_eq!((container(&artifacts, "a")["env"].as_array().unwrap().len(), found), (30, vec![]));
}

#[test]
fn ports_that_follow_each_other_have_dockers_variables_of_a_range() {
    let text = "images:\n- {name: App, source: 'a:1', links: [{service: Media, alias: rtp}]}\n\
        - {name: Media, source: 'b:1', expose: [7002, 7000, 7001, 7010, 7011, 7000/udp]}\n";
    let (artifacts, _) = translated(text, Rules::of(Profile::Modern));
    for (name, value) in [
        ("RTP_PORT", "tcp://rtp:7000"),
        ("RTP_PORT_7001_TCP", "tcp://rtp:7001"),
        ("RTP_PORT_7000_UDP_PROTO", "udp"),
        ("RTP_PORT_7000_TCP_START", "tcp://rtp:7000"),
        ("RTP_PORT_7000_TCP_PORT_START", "7000"),
        ("RTP_PORT_7000_TCP_END", "tcp://rtp:7002"),
        ("RTP_PORT_7000_TCP_PORT_END", "7002"),
    ] {
        assert_eq!(variable(&artifacts, "app", name), Some(value), "{name}");
    }
    let all = container(&artifacts, "app")["env"].to_string();
    assert_eq!((all.matches("_START").count(), all.matches("_END").count()), (2, 2));
}

/// What is advised can be done, and mends what is told.
#[test]
fn advice_fits_the_case_at_hand() {
    let image = |rest: &str| format!("name: x\nimages:\n- name: a\n  source: b:1\n{rest}");
    let found = |text: &str| validated(text, Profile::Classic).diagnostics;
    let one = |text: &str, code: Code| {
        let found = found(text);
        let found = found.iter().find(|one| one.code == code).unwrap_or_else(|| panic!("{text}: {found:?}"));
        format!("{}; {}", found.message, found.hint())
    };
    // No image can be built with a terminal.
    for key in ["tty", "stdin_open"] {
        let told = one(&image(&format!("  {key}: true\n")), Code::UnknownField);
        assert!(told.contains("leave it out"), "{told}");
    }
    for (text, is_told) in [
        ("{\"name\": \"x\",\n// c\n\"images\": []}", true),
        ("{\"name\": \"x\", // c\n\"images\": [{\"name\": \"a\"}]}", true),
        ("{\"name\": \"x\" \"images\": [{\"source\": \"http://a\"}]}", false),
    ] {
        let found = found(text);
        let advised = found.iter().any(|one| one.hint().contains("take the comment out"));
        assert_eq!(advised, is_told, "{text}: {found:?}");
    }
    // A key that is there already was not meant by another.
    let meant = |text: &str| found(text).iter().any(|one| one.message.contains("did you mean `name`"));
    assert!(meant("name2: x\nimages:\n- {name: a, source: 'b:1'}\n"));
    assert!(!meant("name: x\nname2: x\nnamespace: y\nimages:\n- {name: a, source: 'b:1'}\n"));
    // Where there is no name, none is quoted.
    let told = one(&image("  volumes_from: ['']\n"), Code::VolumesFromTarget);
    assert!(told.contains("names no image") && !told.contains("``"), "{told}");
    let told = one(&image("  environment: [{value: x}]\n"), Code::VariableName);
    assert!(told.contains("has no name") && told.contains("under `variable`"), "{told}");
    // Once, although both its name and its Service are judged.
    let reserved = "name: x\nimages:\n- {name: kubernetes, source: 'b:1', ports: [{container_port: 80}], deployment: {count: 2}}\n";
    assert_eq!(found(reserved).iter().filter(|one| one.code == Code::NameReserved).count(), 1);
}
