//! Rows of section Y: what YAML can do to its reader.

use panamax_kubernetes_adapter::diagnostic::Code;

use super::{How, Outcome, Row, containers, fine, image, refused, row, told, variable};

/// Ten lists, each of ten aliases of the one before it.
fn laughs() -> String {
    let mut text = "a: &a [x]\n".to_owned();
    for letter in 'b'..='j' {
        let before = char::from(letter as u8 - 1);
        let aliases = vec![format!("*{before}"); 10].join(", ");
        text.push_str(&format!("{letter}: &{letter} [{aliases}]\n"));
    }
    text
}

/// A mapping in a mapping in a mapping, each a line.
fn staircase(levels: usize) -> String {
    (0..levels).map(|level| format!("{}a:\n", " ".repeat(level))).collect()
}

fn value(text: &str) -> String {
    image(&format!("  environment:\n  - variable: A\n    value: {text}\n"))
}

fn aliases_and_depth() -> Vec<Row> {
    use Code::{AliasForbidden, NoImages, Syntax, TooDeep, TooLarge};
    let alias = || (AliasForbidden, String::new());
    let twice_and_no_image = vec![alias(), alias(), (NoImages, "images".to_owned())];
    let many = "- *a\n".repeat(49_000);
    vec![
        row("Y1", laughs(), Outcome::Flood(AliasForbidden)).at(1, 4),
        refused("Y2", image("  command: &harmless run\n"), AliasForbidden, "").at(5, 12),
        row("Y3", "a: &a [*a]\n", Outcome::Refused(twice_and_no_image)).at(1, 4),
        refused("Y4", image("  command: *nowhere\n"), AliasForbidden, "").at(5, 12),
        row("Y5", format!("images:\n- &a {{name: x, source: b}}\n{many}"), Outcome::Flood(AliasForbidden))
            .at(2, 3),
        refused("Y6", "[".repeat(100_000), TooDeep, "").at(1, 17),
        refused("Y7", "[".repeat(50_000) + &"]".repeat(50_000), TooDeep, "").at(1, 17),
        refused("Y8", staircase(3_000), TooLarge, ""),
        refused("Y8", staircase(700), TooDeep, "").at(17, 17),
        refused("Y9", "- ".repeat(100_000), TooDeep, "").at(1, 33),
        refused("Y10", "{? ".repeat(80_000), TooDeep, "").at(1, 49),
        refused("Y10", format!("{{{}}}", "? ".repeat(100_000)), Syntax, ""),
    ]
}

fn size() -> Vec<Row> {
    use Code::{MultipleDocuments, NotAMapping, Syntax, TooLarge, TooManyNodes};
    let keys = |count: usize| (0..count).map(|key| format!("k{key}: 1\n")).collect::<String>();
    vec![
        refused("Y11", format!("{}: 1\n", "k".repeat(1_000_000)), TooLarge, ""),
        refused("Y11", format!("{}: 1\n", "k".repeat(200_000)), Syntax, ""),
        refused("Y12", keys(200_000), TooLarge, ""),
        refused("Y12", keys(20_000), TooManyNodes, "").at(10_001, 1),
        refused("Y13", "#".repeat(257 * 1024), TooLarge, ""),
        refused("Y14", format!("name: {}\n", "x".repeat(3_000_000)), TooLarge, ""),
        refused("Y15", "---\n".repeat(100_000), TooLarge, ""),
        refused("Y15", "---\n".repeat(60_000), MultipleDocuments, "").at(2, 1),
        refused("Y16", image("---\nname: two\n"), MultipleDocuments, "").at(5, 1),
        refused("Y17", "", NotAMapping, "").at(1, 1),
        refused("Y18", "~\n", NotAMapping, "").at(1, 1),
        // A list at the top is the old wire form, so its item is what is wrong.
        refused("Y19", "[1]\n", NotAMapping, "images[0]").at(1, 2),
        refused("Y20", "just text\n", NotAMapping, "").at(1, 1),
    ]
}

fn keys_and_tags() -> Vec<Row> {
    use Code::{DuplicateKey, MergeKey, TagForbidden};
    let port = |other: &str| {
        image(&format!("  ports:\n  - {{container_port: 80, host_port: 80, hostPort: {other}}}\n"))
    };
    vec![
        refused("Y21", image("name: U\n"), DuplicateKey, "name").at(5, 1),
        refused("Y22", image("  name: c\n"), DuplicateKey, "images[0].name").at(5, 3),
        fine("Y23", port("80")),
        refused("Y23", port("81"), DuplicateKey, "images[0].ports[0].host_port").at(6, 51),
        refused("Y24", image("  <<: {command: x}\n"), MergeKey, "").at(5, 3),
        refused("Y25", image("  command: !!python/object/apply:os.system [x]\n"), TagForbidden, "").at(5, 12),
        refused("Y26", image("  command: !ruby/object:X y\n"), TagForbidden, "").at(5, 12),
        refused("Y27", image("  command: !include /etc/passwd\n"), TagForbidden, "").at(5, 12),
        refused("Y28", "images:\n- {name: !!binary eA==, source: b}\n", TagForbidden, "").at(2, 10),
        fine("Y29", image("  command: !!str 5\n"))
            .check(|artifacts| assert_eq!(containers(artifacts)[0]["args"][0], "5")),
    ]
}

fn characters() -> Vec<Row> {
    use Code::{ControlCharacter, InvisibleCharacter, Syntax};
    let named = |name: &str| format!("images:\n- {{name: \"{name}\", source: 'b:1'}}\n");
    let json = r#"{"name": "T", "images": [{"name": "a", "source": "b:1", "ports": [{"host_port": 80, "container_port": 80}]}]}"#;
    let mut rows = vec![
        refused("Y30", image("  command: x\0y\n"), ControlCharacter, "").at(5, 13),
        refused("Y31", named("x\\0y"), ControlCharacter, "images[0].name").at(2, 10),
        refused("Y31", value("\"x\\0y\""), ControlCharacter, "images[0].environment[0].value").at(7, 12),
        refused("Y31", image("  command: \"x\\0y\"\n"), ControlCharacter, "images[0].command").at(5, 12),
        refused("Y32", image("  command: \u{1b}[2J\n"), ControlCharacter, "").at(5, 12),
        refused("Y32", image("  command: \"\\a\"\n"), ControlCharacter, "images[0].command").at(5, 12),
        refused("Y32", named("\\e[2J"), ControlCharacter, "images[0].name").at(2, 10),
        refused("Y34", named("\\uD800"), Syntax, ""),
        refused("Y36", "\u{feff}n\0a\0m\0e\0", ControlCharacter, "").at(1, 3),
        fine("Y37", format!("\u{feff}{}", image("")).replace('\n', "\r\n")),
        refused("Y38", image("\tcommand: x\n"), Syntax, "").at(5, 1),
        fine("Y39", json),
        told("Y40", image("colour: red\n"), Code::UnknownField, "").at(5, 1),
        refused("Y40", image("colour: red\n"), Code::UnknownField, "").at(5, 1).how(How::Strict),
        told("Y40", image("services: red\n"), Code::UnknownField, "services").at(5, 1),
    ];
    for hidden in ["\u{202e}", "\u{200b}", "\u{feff}"] {
        rows.push(
            refused("Y33", named(&format!("a{hidden}b")), InvisibleCharacter, "images[0].name").at(2, 10),
        );
    }
    rows
}

fn scalars() -> Vec<Row> {
    let texts = ["no", "on", "true", "0123", "1.10", "1_000", "0x1F", "12:30:45", "2001-12-14"];
    let all: String = texts
        .iter()
        .enumerate()
        .map(|(index, text)| format!("  - {{variable: V{index}, value: {text}}}\n"))
        .collect();
    let field = "images[0].environment[0].value";
    let mut rows = vec![
        fine("Y41", image(&format!("  environment:\n{all}"))).check(|artifacts| {
            for (index, text) in
                ["no", "on", "true", "0123", "1.10", "1_000", "0x1F", "12:30:45", "2001-12-14"]
                    .iter()
                    .enumerate()
            {
                assert_eq!(variable(artifacts, &format!("V{index}")), *text);
            }
        }),
        fine("Y42", value("~")).check(|artifacts| assert_eq!(variable(artifacts, "A"), "")),
        refused("Y43", value("[canary]"), Code::NotAScalar, field).at(7, 12),
        refused("Y43", value("{canary: canary}"), Code::NotAScalar, field).at(7, 12),
        fine("Y44", "images:\n- {name: no, source: 'b:1'}\n")
            .check(|artifacts| assert_eq!(artifacts.objects()[0].reference.name.as_str(), "no-pod")),
    ];
    // A password on line 2 and the fault on line 3.
    for (fault, code) in [
        ("images: [", Code::Syntax),
        ("images: `canary`", Code::Syntax),
        ("images: @canary", Code::Syntax),
        ("images: \"canary\\q\"", Code::Syntax),
        ("images: !canary [canary]", Code::TagForbidden),
        ("images: canary", Code::NotAList),
    ] {
        let path = if code == Code::NotAList { "images" } else { "" };
        rows.push(refused(
            "Y45",
            format!("name: canary\ndescription: canary-password\n{fault}\n"),
            code,
            path,
        ));
    }
    rows
}

pub(super) fn rows() -> Vec<Row> {
    [aliases_and_depth(), size(), keys_and_tags(), characters(), scalars()].into_iter().flatten().collect()
}
