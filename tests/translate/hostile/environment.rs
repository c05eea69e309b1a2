//! Rows of section E: environment, links, volumes, sources, commands, counts and limits.

use panamax_kubernetes_adapter::artifacts::{Artifacts, Kind};
use panamax_kubernetes_adapter::diagnostic::Code;
use serde_json::{Value, json};

use super::{How, Outcome, Row, containers, fine, image, refused, row, told, variable, with_database};

fn variables(entries: &str) -> String {
    image(&format!("  environment:\n{entries}"))
}

fn environment() -> Vec<Row> {
    use Code::{
        ControlCharacter, LimitExceeded, TooLarge, VariableKey, VariableName, VariableNameRelaxed,
        VariableRepeated,
    };
    let name = "images[0].environment[0].variable";
    let named = |name: &str| variables(&format!("  - {{variable: {name}, value: canary}}\n"));
    let many: String = (0..129).map(|index| format!("  - {{variable: V{index}}}\n")).collect();
    let long: String =
        (0..9).map(|index| format!("  - {{variable: V{index}, value: {}}}\n", "x".repeat(29_300))).collect();
    let port = "  environment: [{variable: DB_1_PORT, value: mine}]\n  links: [{service: db, alias: DB_1}]\n";
    let alias = || vec![(Code::NameChanged, "images[0].links[0].alias".to_owned())];
    let kept = vec![(Code::VariableKept, "images[0].links[0]".to_owned())];
    let mut rows = vec![
        refused("E1", named("''"), VariableName, name).at(6, 16),
        refused("E1", named("A=B"), VariableName, name),
        refused("E1", named("A B"), VariableName, name),
        refused("E1", named("Ä"), VariableName, name),
        refused("E1", named("\"A\\0\""), ControlCharacter, name),
        refused("E1", named("\"A\\n\""), ControlCharacter, name),
        refused(
            "E1",
            variables("  - {variable: A, value: abc,canary}\n"),
            VariableKey,
            "images[0].environment[0]",
        )
        .at(6, 30),
        refused(
            "E1",
            variables("  - {variable: A, value:canary}\n"),
            VariableKey,
            "images[0].environment[0]",
        ),
        told("E2", named("'A:canary'"), VariableNameRelaxed, name),
        told("E2", named("1A"), VariableNameRelaxed, name),
        told("E2", named("a:b"), VariableNameRelaxed, name),
        // The design's answer: the last counts, and the other is told.
        told(
            "E3",
            variables("  - {variable: A, value: one}\n  - {variable: A, value: two}\n"),
            VariableRepeated,
            name,
        )
        .check(|artifacts| assert_eq!(variable(artifacts, "A"), "two")),
        // The design's answer: the user's variable stays. Where the kubelet sets links' variables, the pod's win by themselves.
        row("E4", with_database(port), Outcome::Told(alias()))
            .check(|artifacts| assert_eq!(variable(artifacts, "DB_1_PORT"), "mine")),
        row("E4", with_database(port), Outcome::Told([kept, alias()].concat()))
            .how(How::LinksDeclared)
            .check(|artifacts| assert_eq!(variable(artifacts, "DB_1_PORT"), "mine")),
        fine("E5", variables("  - {variable: A, value: '$(OTHER) $$ $HOME'}\n"))
            .check(|artifacts| assert_eq!(variable(artifacts, "A"), "$$(OTHER) $$$$ $HOME")),
        refused(
            "E6",
            named(&format!("A, value: {}", "x".repeat(33 * 1024))).replace(", value: canary", ""),
            LimitExceeded,
            "images[0].environment[0].value",
        ),
        refused("E7", variables(&long), TooLarge, ""),
        refused("E8", variables(&many), LimitExceeded, "images[0].environment"),
    ];
    rows.extend(["LD_PRELOAD", "PATH", "KUBERNETES_SERVICE_HOST"].map(|name| fine("E4", named(name))));
    rows
}

/// This many images, each linked to all others.
fn complete_graph(images: usize) -> String {
    let mut text = "images:\n".to_owned();
    for image in 0..images {
        let links: String = (0..images)
            .filter(|other| *other != image)
            .map(|other| format!("{{service: i{other}}}, "))
            .collect();
        text.push_str(&format!("- {{name: i{image}, source: 'b:1', expose: [80], links: [{links}]}}\n"));
    }
    text
}

fn links() -> Vec<Row> {
    use Code::{AliasAmbiguous, AliasRepeated, LimitExceeded, LinkSelf, LinkTargetMissing, NameChanged};
    let links = |links: &str| with_database(&format!("  links: [{links}]\n"));
    let many: String = (0..65).map(|alias| format!("{{service: db, alias: a{alias}}}, ")).collect();
    let third = "- {name: mq, source: 'c:1', expose: [1], links: [{service: db, alias: store}]}\n";
    let ambiguous = |paths: &[&str]| {
        Outcome::Told(paths.iter().map(|path| (AliasAmbiguous, (*path).to_owned())).collect())
    };
    vec![
        refused("E10", links("{service: cb, alias: x}"), LinkTargetMissing, "images[0].links[0].service")
            .at(5, 21),
        told("E11", image("  links: [{service: a, alias: me}]\n"), LinkSelf, "images[0].links[0]"),
        fine(
            "E12",
            image(
                "  expose: [80]\n  links: [{service: c}]\n- {name: c, source: 'd:1', expose: [81], links: [{service: a}]}\n",
            ),
        ),
        told("E13", links("{service: db, alias: DB_1}"), NameChanged, "images[0].links[0].alias"),
        row(
            "E13",
            links("{service: db, alias: DB_1}"),
            Outcome::Told(vec![(NameChanged, "images[0].links[0].alias".to_owned())]),
        )
        .how(How::LinksDeclared)
        .check(|artifacts| assert_eq!(variable(artifacts, "DB_1_PORT"), "tcp://db-1:3306")),
        refused(
            "E14",
            links("{service: db, alias: x}, {service: mq, alias: x}") + third,
            AliasRepeated,
            "images[0].links[1].alias",
        ),
        // The design's answer: across images each link gets a Service and variables of its own.
        row(
            "E14",
            links("{service: mq, alias: store}") + third,
            ambiguous(&["images[0].links[0].alias", "images[2].links[0].alias"]),
        ),
        row("E15", links("{service: mq, alias: db}") + third, ambiguous(&["images[0].links[0].alias"])),
        refused("E16", links(&many), LimitExceeded, "images[0].links"),
        fine("E16", complete_graph(50)).check(|artifacts| assert_eq!(artifacts.objects().len(), 100)),
    ]
}

/// No workload sees a path of its node.
fn no_host_path(artifacts: &Artifacts) {
    assert!(artifacts.objects().iter().all(|object| !object.manifest.to_string().contains("hostPath")));
}

fn volumes() -> Vec<Row> {
    use Code::{
        ControlCharacter, VolumeForbidden, VolumeOmitted, VolumePath, VolumePathRelative, VolumeRepeated,
        VolumesFromTarget,
    };
    let field = "images[0].volumes[0].container_path";
    let volume = |host: &str, container: &str| {
        image(&format!("  volumes: [{{host_path: {host}, container_path: {container}}}]\n"))
    };
    let mut rows = vec![
        told("E18", volume("/h", "data"), VolumePathRelative, field).at(5, 45),
        refused("E18", volume("/h", "''"), VolumePath, field),
        refused("E18", volume("/h", "/a/../b"), VolumePath, field),
        refused("E18", volume("/h", "/a:b"), VolumePath, field),
        told("E18", volume("/h", "/a:ro"), VolumeOmitted, "images[0].volumes[0]"),
        refused("E18", volume("/h", "\"/a\\0\""), ControlCharacter, field),
        refused(
            "E20",
            image("  volumes: [{container_path: /data}, {container_path: //data/.}]\n"),
            VolumeRepeated,
            "images[0].volumes[1].container_path",
        ),
        refused("E21", image("  volumes_from: [none]\n"), VolumesFromTarget, "images[0].volumes_from[0]"),
        refused("E21", image("  volumes_from: [a]\n"), VolumesFromTarget, "images[0].volumes_from[0]"),
        row(
            "E21",
            image("  volumes_from: [c]\n- {name: c, source: 'd:1', volumes_from: [a]}\n"),
            Outcome::Refused(
                [0, 1].map(|image| (VolumesFromTarget, format!("images[{image}].volumes_from"))).into(),
            ),
        ),
    ];
    for path in ["/", "/proc", "/dev", "//proc/.", "/proc/self/fd"] {
        rows.push(refused("E19", volume("/h", path), VolumePath, field));
    }
    // The design's answer: mapped where it can be and told; never hostPath.
    for host in ["/", "/etc", "/var/run/docker.sock", "/a/../etc", "~"] {
        let host = format!("'{host}'");
        rows.push(
            told("E17", volume(&host, "/x"), VolumeOmitted, "images[0].volumes[0]").check(no_host_path),
        );
        rows.push(
            told("E17", volume(&host, "/x"), VolumeForbidden, "images[0].volumes[0].host_path")
                .how(How::HostPaths)
                .check(no_host_path),
        );
    }
    rows
}

/// The arguments of the first container.
fn arguments(artifacts: &Artifacts) -> &Value {
    &containers(artifacts)[0]["args"]
}

fn sources_and_commands() -> Vec<Row> {
    use Code::{CommandQuoting, ImageReference, LimitExceeded, SourceMissing, TagMissing};
    let source = "images[0].source";
    let of = |source: &str| format!("images:\n- {{name: a, source: {source}}}\n");
    let mut rows: Vec<Row> =
        ["UPPER/x", "'a b'", "'x:y:z'", "'http://a/b'", "'a@sha256:short'", "\"a\\0\"", &"a".repeat(4_096)]
            .into_iter()
            .map(|text| refused("E22", of(text), ImageReference, source).at(2, 21))
            .collect();
    rows.extend([
        refused("E22", of("''"), SourceMissing, source).at(2, 21),
        told("E23", of("a"), TagMissing, source).at(2, 21),
        told("E23", of("'a:latest'"), TagMissing, source).at(2, 21),
        fine("E25", image("  command: \"run\\nmore 'two words'\"\n"))
            .check(|artifacts| assert_eq!(*arguments(artifacts), json!(["run", "more", "two words"]))),
        fine("E25", image("  command: $(rm) ; `rm` $$\n"))
            .check(|artifacts| assert_eq!(*arguments(artifacts), json!(["$$(rm)", ";", "`rm`", "$$$$"]))),
        refused(
            "E25",
            image(&format!("  command: {}\n", "x".repeat(64 * 1024))),
            LimitExceeded,
            "images[0].command",
        ),
        refused("E25", image("  command: canary 'canary\n"), CommandQuoting, "images[0].command").at(5, 12),
    ]);
    rows
}

/// The count of the one controller.
fn replicas(artifacts: &Artifacts) -> &Value {
    let controllers: Vec<_> =
        artifacts.objects().iter().filter(|object| object.reference.kind.is_controller()).collect();
    assert_eq!(controllers.len(), 1);
    &controllers[0].manifest["spec"]["replicas"]
}

/// Three images with 64 aliases each and more with the rest: this many objects.
fn objects(count: usize) -> String {
    let mut text = "images:\n- {name: hub, source: 'shop/hub:5', expose: [1]}\n".to_owned();
    let mut left = count - 1;
    for image in 0.. {
        let links = left.saturating_sub(1).min(64);
        let links: String =
            (0..links).map(|link| format!("{{service: hub, alias: a{image}x{link}}}, ")).collect();
        text.push_str(&format!("- {{name: i{image}, source: 'b:1', links: [{links}]}}\n"));
        left -= links.matches("service").count() + 1;
        if left == 0 {
            return text;
        }
    }
    text
}

/// An image whose links repeat 32 KiB and more of another's values until its object is too large.
fn too_large() -> String {
    let value = "$(".repeat(15_000);
    let values: String = (0..7).map(|index| format!("{{variable: V{index}, value: '{value}'}}, ")).collect();
    let links = |target: &str| {
        (0..5).map(|link| format!("{{service: {target}, alias: a{link}}}, ")).collect::<String>()
    };
    format!(
        "images:\n- {{name: big, source: 'b:1', expose: [1], environment: [{values}]}}\n- {{name: x, source: 'b:1', expose: [1]}}\n\
         - {{name: y, source: 'b:1', links: [{}]}}\n",
        links("big"),
    )
}

fn counts_and_limits() -> Vec<Row> {
    use Code::{CountNotANumber, LimitExceeded, NoImages, ObjectTooLarge, TooManyObjects};
    let count = "images[0].deployment.count";
    let of = |count: &str| image(&format!("  deployment: {{count: {count}}}\n"));
    let images = |count: usize| {
        format!(
            "images:\n{}",
            (0..count).map(|index| format!("- {{name: i{index}, source: 'b:1'}}\n")).collect::<String>()
        )
    };
    vec![
        refused("E26", of("-1"), CountNotANumber, count).at(5, 23),
        refused("E26", of("1.5"), CountNotANumber, count),
        refused("E26", of("2147483648"), LimitExceeded, count),
        refused("E26", of("101"), LimitExceeded, count),
        fine("E26", of("\"3\"")).check(|artifacts| assert_eq!(*replicas(artifacts), 3)),
        fine("E26", of("0")).check(|artifacts| assert_eq!(*replicas(artifacts), 0)),
        refused("E27", "name: T\nimages: []\n", NoImages, "images").at(2, 9),
        refused("E27", "name: T\n", NoImages, "images"),
        fine("E27", images(100)),
        refused("E27", images(101), LimitExceeded, "images").at(2, 3),
        fine("E28", objects(256)).check(|artifacts| {
            assert_eq!(artifacts.objects().len(), 256);
            assert!(artifacts.objects().iter().any(|object| object.reference.kind == Kind::Service));
        }),
        row("E28", objects(257), Outcome::Exceeds(vec![(TooManyObjects, "images".to_owned())])),
        row("E29", too_large(), Outcome::Exceeds(vec![(ObjectTooLarge, "images[2].links".to_owned())]))
            .how(How::LinksDeclared),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [environment(), links(), volumes(), sources_and_commands(), counts_and_limits()]
        .into_iter()
        .flatten()
        .collect()
}
