//! No text makes reading, checking or translating it hold more memory than 20 times its size and 1 MiB.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::template::raw::MAX_TEXT_BYTES;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{
    Options, Profile, Rules, VolumeFilling, VolumeMapping, translate,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generators::any_rules;
use super::hostile::rows;

/// Ten times what reading any text may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The most bytes that each of reading and checking, and translating, may hold at one time for a text.
fn allowed(text: &str) -> u64 {
    20 * text.len() as u64 + 1024 * 1024
}

/// The most bytes that were held at one time while a text was read and checked.
fn peak(text: &str) -> u64 {
    let read = || drop(std::hint::black_box(from_text(text, None, &Limits::default())));
    allocation_counter::measure(read).bytes_max
}

/// The same, and the time; of several tries the quickest, because other work may stand in the way of one.
fn cost(text: &str) -> (u64, Duration) {
    let (mut most, mut quickest) = (0, Duration::MAX);
    for _ in 0..5 {
        let began = Instant::now();
        most = peak(text);
        quickest = quickest.min(began.elapsed());
        if quickest <= PATIENCE {
            break;
        }
    }
    (most, quickest)
}

/// Fails with every text that takes more than it may; says how much the heaviest took.
fn check(texts: impl IntoIterator<Item = (String, String)>) -> String {
    let mut over = String::new();
    let mut most = (0.0, String::new());
    for (what, text) in texts {
        let ((peak, took), allowed) = (cost(&text), allowed(&text));
        if peak > allowed || took > PATIENCE {
            writeln!(over, "{what}: {peak} bytes of {allowed}, {took:?}").unwrap();
        }
        let share = peak as f64 / allowed as f64;
        if share > most.0 {
            most = (share, what);
        }
    }
    assert!(over.is_empty(), "{over}");
    format!("the heaviest, {}: {:.0} % of what is allowed", most.1, 100.0 * most.0)
}

/// A head and as many copies of a line, each with its number for `#`, as fit into the largest text.
fn filled(head: &str, line: &str, end: &str) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let next = line.replace('#', &number.to_string());
        if text.len() + next.len() + end.len() > MAX_TEXT_BYTES {
            break;
        }
        text.push_str(&next);
    }
    text + end
}

const IMAGE: &str = "images:\n- name: a\n  source: b:1\n";

/// Head, line and end of texts that make much of one part of the reader.
fn lines() -> Vec<[&'static str; 3]> {
    vec![
        ["[", "~,", "]"],
        ["[", "a,", "]"],
        ["", "-\n", ""],
        ["[", "[],", "]"],
        ["[", "[a],", "]"],
        ["[", "[[a]],", "]"],
        ["[", "{},", "]"],
        ["[", "{a},", "]"],
        ["[", "{a,b},", "]"],
        ["[", "{a: {b: c}},", "]"],
        ["[", ":,", "]"],
        ["{", "a#,", "}"],
        ["", "a#: b\n", ""],
        [IMAGE, "  k#:\n", ""],
        [IMAGE, "  sourc#:\n", ""],
        [IMAGE, "  ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé#:\n", ""],
        [IMAGE, "  name:\n", ""],
        ["images:\n", "- {}\n", ""],
        ["images:\n", "- name: a#\n", ""],
        ["images:\n", "- a\n", ""],
        ["images:\n", "- {name: a#, source: b}\n", ""],
        ["images:\n", "- {name: a#, expose: [0], links: [{service: z}], ports: [{host_port: 0}]}\n", ""],
        ["authors: [", "a,", "]"],
        ["keywords: [", "a,", "]"],
        ["name: \"", "\\x41", "\""],
        ["name: '", "''", "'"],
        ["name: |\n", "  x\n", ""],
        ["name: >\n", "  x\n\n", ""],
        ["name:\n", "  x\n", ""],
        ["", "# x\n", ""],
        ["", "\n", ""],
        ["", "---\n", ""],
        ["", "%YAML 1.2\n", ""],
        ["", "%TAG !a#! tag:b#:\n", "--- a"],
        ["[", "*a,", "]"],
        ["[", "&a# a,", "]"],
        ["[", "!a# a,", "]"],
        ["", "[", ""],
        ["", "{a: ", ""],
        ["", "- ", ""],
        ["", "? ", ""],
        ["", "{? ", ""],
        ["", ": ", ""],
    ]
}

/// Items of one image's lists, each wrong in its own way.
const ITEMS: [[&str; 2]; 14] = [
    ["ports", "{}"],
    ["ports", "x"],
    ["ports", "{host_port: x, container_port: y, proto: z}"],
    ["ports", "{container_port: #}"],
    ["expose", "#"],
    ["expose", "'x y z'"],
    ["links", "{service: z#}"],
    ["links", "{service: a, alias: '-'}"],
    ["environment", "{variable: A#}"],
    ["environment", "{variable: 'A=#', required: x}"],
    ["environment", "[]"],
    ["volumes", "{container_path: a#}"],
    ["volumes", "{container_path: /a#/.., host_path: \"\\0\"}"],
    ["volumes_from", "z#"],
];

/// Texts of 256 KiB, each of which makes much of another part of the reader.
fn heavy() -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for [head, line, end] in lines() {
        texts.push((format!("{head}{line}"), filled(head, line, end)));
    }
    for [key, item] in ITEMS {
        let image = format!("- name: a#\n  source: b:1\n  {key}: [{}]\n", format!("{item}, ").repeat(130));
        texts.push((
            format!("{key} {item}"),
            filled(&format!("{IMAGE}  {key}:\n"), &format!("  - {item}\n"), ""),
        ));
        texts.push((format!("images with {key} {item}"), filled("images:\n", &image, "")));
    }
    let long = "x".repeat(MAX_TEXT_BYTES - 100);
    for text in
        [format!("name: {long}"), format!("name: \"{long}\""), format!("images: [{{command: {long}}}]")]
    {
        texts.push(("a long text".to_owned(), text));
    }
    for words in ["a ".repeat(32_000), "'' ".repeat(21_000)] {
        let image = format!("- {{name: i#, source: b, command: \"{words}\"}}\n");
        texts.push(("commands of many words".to_owned(), filled("images:\n", &image, "")));
    }
    let links = format!("{{service: {}#}}, ", "y".repeat(95)).repeat(20);
    let image = format!("- {{name: {}#, source: b, links: [{links}]}}\n", "x".repeat(95));
    texts.push(("long names that nothing is called".to_owned(), filled("images:\n", &image, "")));
    let exposed = format!("{IMAGE}  expose: '{}'\n", "x ".repeat(130_000));
    texts.push(("exposed ports in one text".to_owned(), exposed));
    texts
}

#[test]
fn no_heavy_text_takes_much_memory() {
    println!("{}", check(heavy()));
}

#[test]
fn no_hostile_row_takes_much_memory_at_the_largest_size() {
    let rows = rows().into_iter().filter(|row| row.id.starts_with('Y') && !row.text.is_empty());
    let whole = |text: String| {
        let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text[..end.unwrap_or_default()].to_owned()
    };
    let texts = rows.flat_map(|row| {
        let times = MAX_TEXT_BYTES / row.text.len() + 1;
        let padded = format!("{}\n# {}", row.text, "x".repeat(MAX_TEXT_BYTES));
        [(row.id.to_owned(), whole(row.text.repeat(times))), (row.id.to_owned(), whole(padded))]
    });
    println!("{}", check(texts));
}

/// Pieces of YAML, of which a text is made.
fn piece() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("images:"),
        Just("name:"),
        Just("source:"),
        Just("ports:"),
        Just("links:"),
        Just("expose:"),
        Just("environment:"),
        Just("volumes:"),
        Just("deployment:"),
        Just("count:"),
        Just("variable:"),
        Just("value:"),
        Just("- "),
        Just("? "),
        Just(": "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just("&a "),
        Just("*a"),
        Just("!b "),
        Just("|\n"),
        Just(">-\n"),
        Just("'"),
        Just("\""),
        Just("#"),
        Just("\n"),
        Just("\n  "),
        Just("\n- "),
        Just("\n    - "),
        Just("~"),
        Just("80"),
        Just("\t"),
        Just("---\n"),
        Just("é"),
    ];
    prop_oneof![8 => word.prop_map(str::to_owned), 1 => "[a-z]{1,12} ?", 1 => "\\PC{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_like_yaml_takes_much_memory(pieces in vec(piece(), 1..200), head in 0_usize..3) {
        let head = ["", "images:\n- name: a\n  source: b:1\n", "["][head];
        let text = pieces.concat();
        prop_assert!(peak(&text) <= allowed(&text));
        let large = filled(head, &text, "");
        prop_assert!(peak(&large) <= allowed(&large), "{} of {}", peak(&large), allowed(&large));
    }
}

/// A hundred lines, each with its number for `#`.
fn hundred(line: &str) -> String {
    (0..100).map(|number| line.replace('#', &number.to_string())).collect()
}

/// Images of which each borrows from the one before, and so from all.
fn chain(volumes: usize) -> String {
    let own = |image: usize| {
        let path = |volume: usize| format!("{{container_path: /{image}/{volume}}}, ");
        (0..volumes).map(path).collect::<String>()
    };
    let lender = |image: usize| image.checked_sub(1).map_or_else(String::new, |before| format!("i{before}"));
    let image = |image: usize| {
        format!(
            "- {{name: i{image}, source: b, volumes: [{}], volumes_from: [{}]}}\n",
            own(image),
            lender(image)
        )
    };
    (0..100).map(image).collect()
}

/// Good templates, each of which becomes much of another part of an object.
fn large() -> Vec<String> {
    let list = |count: usize, item: &str| {
        (1..=count).map(|number| item.replace('@', &number.to_string())).collect::<String>()
    };
    let ports = list(64, "@, ");
    let published = list(60, "{container_port: @}, ");
    let variables = list(45, "{variable: A@}, ");
    let aliases = |letter: &str| list(64, &format!("{{service: i0, alias: {letter}@}}, "));
    let links = list(60, "{service: i@}, ");
    let value = "$(".repeat(16_000);
    let values = list(3, &format!("{{variable: A@, value: '{value}'}}, "));
    let linked = (3..100)
        .map(|number| format!("- {{name: i{number}, source: b, links: [{{service: i0, alias: a}}]}}\n"));
    let hub = "- {name: i1, source: b}\n- {name: i2, source: b, links: [{service: i1, alias: a}]}\n";
    let host = format!("- {{name: h, source: b, expose: [{ports}]}}\n");
    let few = list(38, "{service: h, alias: a@}, ");
    let linkers = hundred(&format!("- {{name: i#, source: b, links: [{few}]}}\n"));
    let linkers = linkers.split_once('\n').map_or("", |(_, others)| others);
    let long = list(64, &format!("{{service: h, alias: a@{}}}, ", "a".repeat(900)));
    vec![
        format!("{host}{linkers}"),
        format!(
            "{host}- {{name: i, source: b, links: [{long}]}}\n- {{name: j, source: b, links: [{long}]}}\n"
        ),
        hundred(&format!("- {{name: i#, source: b, expose: [{ports}], deployment: {{count: 2}}}}\n")),
        hundred(&format!("- {{name: i#, source: b, ports: [{published}], deployment: {{count: 2}}}}\n")),
        hundred(&format!("- {{name: i#, source: b, environment: [{variables}]}}\n")),
        hundred(&format!("- {{name: i#, source: b, links: [{links}]}}\n")),
        format!(
            "- {{name: i0, source: b, expose: [{ports}]}}\n- {{name: i1, source: b, links: [{}]}}\n- {{name: i2, source: b, links: [{}]}}\n",
            aliases("a"),
            aliases("b"),
        ),
        format!("- {{name: i0, source: b, environment: [{values}]}}\n{hub}{}", linked.collect::<String>()),
        hundred("- {name: i#, source: b}\n"),
        hundred("- {name: i#, source: b, volumes: [{container_path: /#}], deployment: {count: 2}}\n"),
        chain(1),
        chain(32),
        format!("- {{name: a, source: b, command: \"{}\"}}\n", "a ".repeat(10_000)),
        // Every link after the first finds its variables taken.
        format!(
            "- {{name: i0, source: b, expose: [{ports}]}}\n- {{name: i1, source: b, links: [{}]}}\n",
            list(11, "{service: i0, alias: 'a_@'}, ").replace("_1", "-_").replace("_2", "_-"),
        ),
    ]
}

/// The most bytes that are held at one time while the template in a text is translated, and the objects with it; `None`
/// for a text that is refused before.
fn translating(text: &str, rules: &Rules) -> Option<u64> {
    let template = from_text(text, None, &Limits::default()).0.template?;
    let options = Options::with(DeploymentName::new("one").unwrap(), rules.clone());
    Some(allocation_counter::measure(|| drop(std::hint::black_box(translate(&template, &options)))).bytes_max)
}

#[test]
fn translating_no_template_takes_much_memory() {
    let mut over = String::new();
    for text in large() {
        let text = format!("images:\n{text}");
        for profile in [Profile::Classic, Profile::Modern] {
            let began = Instant::now();
            let held = translating(&text, &Rules::of(profile)).expect("a template that can be read");
            let (took, allowed) = (began.elapsed(), allowed(&text));
            println!("{} bytes by {profile:?}: {held} of {allowed} bytes held, {took:?}", text.len());
            if held > allowed {
                writeln!(over, "{profile:?}, {held} of {allowed}: {}", &text[..60]).unwrap();
            }
        }
    }
    assert!(over.is_empty(), "{over}");
}

/// How much of everything a template has that a few bytes of text can multiply.
#[derive(Clone, Debug)]
struct Shape {
    images: usize,
    links: usize,
    ports: usize,
    variables: usize,
    volumes: usize,
    /// How many images before it each image borrows from.
    lenders: usize,
    /// How long the words that repeat are.
    length: usize,
    /// Whether all links lead to one image.
    has_hub: bool,
}

impl Shape {
    fn text(&self) -> String {
        let long = "x".repeat(self.length);
        let list = |key: &str, count: usize, item: &dyn Fn(usize) -> String| match count {
            0 => String::new(),
            _ => format!(", {key}: [{}]", (0..count).map(item).collect::<Vec<_>>().join(", ")),
        };
        let mut text = String::from("images:\n");
        for image in 0..self.images {
            let links = list("links", self.links.min(64), &|link| {
                let target = if self.has_hub { 0 } else { link % self.images };
                format!("{{service: i{target}, alias: a{link}{long}x{}}}", image * usize::from(self.has_hub))
            });
            let ports = list("expose", self.ports, &|port| (port + 1).to_string());
            let variables =
                list("environment", self.variables, &|one| format!("{{variable: A{one}, value: {long}}}"));
            let volumes = list("volumes", self.volumes, &|one| format!("{{container_path: /{image}/{one}}}"));
            let lenders =
                list("volumes_from", self.lenders.min(image), &|back| format!("i{}", image - back - 1));
            writeln!(text, "- {{name: i{image}, source: b{links}{ports}{variables}{volumes}{lenders}}}")
                .unwrap();
        }
        text
    }
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let few_or_many = |most: usize| prop_oneof![0..4_usize, 0..=most, Just(most)];
    let counts = (1..=100_usize, few_or_many(64), few_or_many(64), few_or_many(128), few_or_many(32));
    (counts, 0..4_usize, prop_oneof![Just(0_usize), 0..40_usize, Just(900)], prop::bool::ANY).prop_map(
        |((images, links, ports, variables, volumes), lenders, length, has_hub)| Shape {
            images,
            links,
            ports,
            variables,
            volumes,
            lenders,
            length,
            has_hub,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn translating_no_shape_takes_much_memory(shape in any_shape(), rules in any_rules()) {
        let text = shape.text();
        if let Some(held) = translating(&text, &rules) {
            prop_assert!(held <= allowed(&text), "{held} of {} for {} bytes", allowed(&text), text.len());
        }
    }
}

/// Every pod that borrows a claim which is filled has a container for that, of many bytes for a word of the template.
#[test]
fn filling_borrowed_claims_takes_little_memory() {
    let plain = Rules::of(Profile::Modern);
    let rules =
        Rules { volumes: VolumeMapping::PersistentVolumeClaim, filling: VolumeFilling::FromImage, ..plain };
    for (images, links, ports, volumes) in
        [(100, 0, 64, 1), (100, 0, 64, 8), (80, 10, 64, 1), (60, 1, 53, 1), (26, 1, 53, 20), (30, 10, 64, 25)]
    {
        let shape =
            Shape { images, links, ports, variables: 0, volumes, lenders: 1, length: 0, has_hub: false };
        let text = shape.text();
        let held = translating(&text, &rules).expect("a template that can be read");
        assert!(held <= allowed(&text), "{held} of {} for {shape:?}", allowed(&text));
    }
}
