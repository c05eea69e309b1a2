//! Nothing that stands near a variable's value is shown: canaries in keys, names, values and wrong places.

use std::fmt::Write as _;

use super::generators::any_rules;
use panamax_kubernetes_adapter::artifacts::{DeploymentName, Kind};
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic};
use panamax_kubernetes_adapter::facts::Configs;
use panamax_kubernetes_adapter::operations::{Operations, Source, TemplateCall};
use panamax_kubernetes_adapter::template::raw::{RawImage, RawLink, RawTemplate, RawVariable, read};
use panamax_kubernetes_adapter::template::validate::Limits;
use panamax_kubernetes_adapter::translate::{LinkEnvironment, Profile, Rules, SecretHandling, template_path};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// What nobody may see; no word of ours has it in it.
pub const CANARY: &str = "Tr0ub4dor";

/// Entries of `environment` in which something went wrong; `@` is the canary.
const ENTRIES: &[&str] = &[
    "{variable: PASSWORD, value: abc,@}",
    "{variable: PASSWORD, value: abc,@,@: {@: @}}",
    "{variable: PASSWORD, value:@}",
    "{variable: PASSWORD, valu: @, @: 1, @: 2}",
    "{variable: PASSWORD, value: '@', requird@: x}",
    "{variable: 'PASSWORD:@', value: x}",
    "{variable: 'PASSWORD=@'}",
    "{variable: ':@'}",
    "{variable: '1A:@=@', value: '', required: true}",
    "{variable: PASSWORD, required: '@'}",
    "{variable: PASSWORD, value: \"@\\0\"}",
    "{variable: PASSWORD, value: {@: [@, '@=@']}}",
    "{variable: {@: @}, value: [@]}",
    "{variable: PASSWORD, value: a, value: '@', @: x, @: y}",
    "{? \"@\\n@\" : @}",
    "{? [@] : x, ? {@: @} : y}",
    "{&@ @: x}",
    "{variable: PASSWORD, value: &@ x}",
    "{variable: PASSWORD, value: *@}",
    "{*@ : x}",
    "{variable: PASSWORD, value: !@ x}",
    "{!<@> @: x}",
    "{variable: PASSWORD, <<: {@: @}}",
    "{variable: PASSWORD, value: %@}",
    "{variable: PASSWORD, value: [@}",
    "{variable: PASSWORD, value: '@'@}",
    "{variable: PASSWORD, value: \"\\@\"}",
    "{variable: PASSWORD, value: {{ @ }}}",
    "{PASSWORD: '@'}",
    "{PASSWORD=@: x}",
    "PASSWORD=@",
    "'PASSWORD: @'",
    "[PASSWORD, '@']",
    "@",
];

/// All that stands in the place of the list, or around it.
const SHAPES: &[&str] = &[
    "  environment: {PASSWORD: '@'}\n",
    "  environment: PASSWORD=@\n",
    "  environment: [variable: PASSWORD, value: abc,@]\n",
    "  environment: {variable: PASSWORD, value: abc,@}\n",
    "  environment:\n  - variable: PASSWORD\n    value: @: x\n",
    "  environment:\n  - variable: PASSWORD\n    value:@\n    x: y\n",
    "  environment:\n  - variable: PASSWORD\n    ? |\n      @\n    : x\n",
    "  environment:\n  - variable: PASSWORD\n    value: |\n     @\n    @\n",
    "  environment:\n  PASSWORD=@: x\n",
    "  environment:\n  - variable: PASSWORD\n    value: \"@\n",
];

/// A template of two images whose links and lists meet every rule about names.
fn text(shape: &str) -> String {
    format!(
        "name: T\nimages:\n- name: a\n  source: 'a:1'\n  links: [{{service: b}}]\n- name: b\n  source: 'b:1'\n\
         {}",
        shape.replace('@', CANARY)
    )
}

fn list(entries: &[&str]) -> String {
    let mut shape = "  environment:\n".to_owned();
    for entry in entries {
        writeln!(shape, "  - {entry}").unwrap();
    }
    shape
}

/// The same text as the old agents sent it: a bare list.
fn bare_list(text: &str) -> String {
    text.replacen("name: T\nimages:\n", "", 1)
}

pub fn call(source: Source, overrides: Option<RawTemplate>, rules: &Rules) -> TemplateCall {
    let name = DeploymentName::new("unseen").ok();
    TemplateCall {
        source,
        overrides,
        name,
        rules: rules.clone(),
        image_configs: Configs::default(),
        strict: false,
        limits: Limits::default(),
    }
}

fn tell(told: &mut String, diagnostics: &[Diagnostic]) {
    for found in diagnostics {
        writeln!(told, "{} {} {} {found:?}", found.field, found.message, found.hint()).unwrap();
    }
}

/// All that anybody is told about a template: answers, errors with what the log gets, paths, keys, Debug.
pub fn told(call: &TemplateCall) -> String {
    let validated = Operations::validate_template(call);
    let mut told = format!("{call:?} {validated:?}");
    tell(&mut told, &validated.diagnostics);
    match Operations::translate_template(call, None) {
        Ok(translated) => {
            tell(&mut told, &translated.diagnostics);
            write!(told, "{translated:?}").unwrap();
            let template = validated.template.expect("what translates is valid");
            for object in translated.artifacts.objects() {
                let keys = object.manifest["data"].as_object().into_iter().flatten().map(|(key, _)| key);
                for key in keys {
                    let path = template_path(&template, object, &format!("data[{key}]"));
                    assert!(path.ends_with("].value") || path.ends_with("].source"), "{key} leads to {path}");
                    write!(told, "{key} {path}").unwrap();
                }
                for field in ["spec.containers[0].env[0].name", "spec.containers[0].env[1].value"] {
                    write!(told, "{}", template_path(&template, object, field)).unwrap();
                }
            }
        }
        Err(error) => {
            write!(told, "{error:?} {} {:?}", error.message(), error.context()).unwrap();
            write!(told, "{:?} {:?}", error.faults(), error.metadata()).unwrap();
        }
    }
    told
}

/// Where the canary was seen in what a text made anybody say: alone, as the agents' list, and as an override.
fn seen(text: &str, rules: &Rules) -> Option<String> {
    let plain = Source::Text("images: [{name: a, source: 'a:1'}, {name: b, source: 'b:1'}]".to_owned());
    let (reading, bare) = (read(text), bare_list(text));
    let mut all = format!("{reading:?}");
    tell(&mut all, &reading.diagnostics);
    for strict in [false, true] {
        let call = call(Source::Text(text.to_owned()), reading.template.clone(), rules);
        all.push_str(&told(&TemplateCall { strict, ..call }));
    }
    all.push_str(&told(&call(plain, reading.template.clone(), rules)));
    all.push_str(&told(&call(Source::Text(bare), None, rules)));
    if let Some(template) = reading.template {
        all.push_str(&told(&call(Source::Structured(template), None, rules)));
    }
    let at = all.find(CANARY)?;
    let start = (0..=at.saturating_sub(200)).rev().find(|start| all.is_char_boundary(*start))?;
    Some(format!("{text}\n…{}", &all[start..at + CANARY.len()]))
}

fn any_entry() -> impl Strategy<Value = &'static str> {
    select(ENTRIES)
}

/// Whether the canary is all of a variable's name that people may see, or a part of it.
fn is_name(text: &str) -> bool {
    let images = read(text).template.map(|template| template.images).unwrap_or_default();
    let mut names = images.iter().flat_map(|image| &image.environment).map(|one| one.variable.as_str());
    names.any(|name| name.split([':', '=']).next().is_some_and(|open| open.contains(CANARY)))
}

/// A text in which the canary stands behind what parts names from values, or is all there is.
fn with_canary() -> impl Strategy<Value = String> {
    let mark = select(&[":", "=", ": ", "=:", "::"][..]);
    ("[A-Z_0-9./ ]{0,70}", mark, "[a-z:=,]{0,3}", "[a-z:=, ]{0,80}")
        .prop_map(|(name, mark, before, after)| format!("{name}{mark}{before}{CANARY}{after}"))
}

/// The same as a name that is legal, so that it goes all the way.
fn legal_with_canary() -> impl Strategy<Value = String> {
    ("[A-Z_]{0,8}|DB_PASSWORD", "[a-z:]{0,3}").prop_map(|(name, before)| format!("{name}:{before}{CANARY}"))
}

prop_compose! {
    fn any_variable()(
        variable in prop_oneof![
            20 => legal_with_canary(), 5 => "[A-Z:]{1,3}", 5 => Just("B_NAME".to_owned()), 1 => with_canary(),
        ],
        value in prop_oneof![with_canary(), Just(CANARY.to_owned()), Just(String::new())],
        required in prop_oneof![30 => Just("true".to_owned()), 1 => Just(CANARY.to_owned())],
    ) -> RawVariable {
        RawVariable { variable, value, required: required.into(), field: None }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_near_a_value_is_shown(entries in vec(any_entry(), 1..4), rules in any_rules()) {
        prop_assert_eq!(seen(&text(&list(&entries)), &rules), None);
    }

    #[test]
    fn no_mishap_in_an_entry_is_shown(
        parts in vec(select(&["variable", "value", "required", ":", ": ", ",", ", ", "@", "'", "\"", "=", "x", " ",
            "{", "}", "[", "]", "&", "*", "!", "|", "? ", "- ", "\n", "\n    ", "\n  - ", "#"][..]), 0..14),
        rules in any_rules(),
    ) {
        let text = text(&list(&[&parts.concat()]));
        // A name is shown, whatever it is.
        prop_assume!(!is_name(&text));
        prop_assert_eq!(seen(&text, &rules), None);
    }

    #[test]
    fn no_variable_is_shown_beyond_where_a_value_may_begin(
        own in vec(any_variable(), 0..4), theirs in vec(any_variable(), 0..4), rules in any_rules(),
    ) {
        let image = |name: &str, environment: Vec<RawVariable>| RawImage {
            name: name.into(), source: "a:1".into(), environment, ..Default::default()
        };
        let links = ["B", "B_ENV"].map(|alias| RawLink { service: "B".into(), alias: alias.into(), field: None });
        // What the link would set is set already, beside that the names repeat.
        let kept = theirs.iter().map(|one| RawVariable {
            variable: format!("B_ENV_{}", one.variable), ..one.clone()
        });
        let own = own.iter().cloned().chain(kept).chain(own.iter().cloned()).collect();
        let images = vec![RawImage { links: links.into(), ..image("A", own) }, image("B", theirs)];
        let template = RawTemplate { images, ..Default::default() };
        let told = told(&call(Source::Structured(template.clone()), Some(template), &rules));
        prop_assert!(!told.contains(CANARY), "{told}");
    }
}

/// Every scalar of a template but the names that findings must tell apart, each with what is usual there.
const SCALARS: &[(&str, &str)] = &[
    ("description: ~\n", "it"),
    ("keywords: ~\n", "a, b"),
    ("type: ~\n", "Default"),
    ("documentation: ~\n", "About it."),
    ("recommended: ~\n", "true"),
    ("authors: [~]\n", "us"),
    ("~: x\n", "zzz"),
    ("# ~\n", "comment"),
    ("images:\n- name: a\n  source: ~\n", "example/a:1"),
    ("  category: ~\n", "Web"),
    ("  type: ~\n", "Web"),
    ("  description: ~\n", "it"),
    ("  command: ~\n", "run --fast"),
    ("  ~: x\n", "zzz"),
    ("  ports:\n  - host_interface: ~\n", "127.0.0.1"),
    ("    host_port: ~\n", "8080"),
    ("    container_port: ~\n", "80"),
    ("    proto: ~\n", "tcp"),
    ("    ~: 127.0.0.1\n", "zzz"),
    ("  expose: [~]\n", "90"),
    ("  environment:\n  - variable: PASSWORD\n    value: ~\n", "x"),
    ("    required: ~\n", "true"),
    ("  - variable: HOST\n    value: ~ #~\n", "db_1"),
    ("  volumes:\n  - host_path: ~\n", "/srv/a"),
    ("    container_path: ~\n", "/data"),
    ("    read_only: ~\n", "true"),
    ("    ~: ro\n", "zzz"),
    ("  deployment:\n    count: ~\n", "2"),
    ("    ~: x\n", "zzz"),
    ("  volumes_from:\n  - service: db_1\n    read_only: ~\n", "true"),
    ("  links:\n  - service: db_1\n    ~: x\n", "zzz"),
    ("- {name: db_1, source: 'b:1', expose: [1], ~: x}\n", "zzz"),
];

/// Ways in which the canary may stand in a scalar.
const WAYS: &[&str] = &[
    "@",
    "/@",
    "/data/@:ro",
    "/@/..",
    "'@ x'",
    "\"@\\0\"",
    "@/@:1",
    "x@db_1:80",
    "'@ '",
    "127.0.0.1@",
    "@ #@",
    "80@",
    "[@]",
    "{@: @}",
    "@@",
    "@:ro",
];

/// A text of every scalar that a template has: `way` gives how the canary stands in the scalar of that index.
fn filled(way: impl Fn(usize) -> Option<&'static str>) -> String {
    let fill = |(index, (line, usual)): (usize, &(&str, &'static str))| {
        line.replace('~', way(index).unwrap_or(usual))
    };
    let lines: String = SCALARS.iter().enumerate().map(fill).collect();
    format!("name: T\n{}", lines.replace('@', CANARY))
}

/// Such texts, some of their scalars with a canary.
pub fn with_canaries() -> impl Strategy<Value = String> {
    let ways = vec((prop::bool::weighted(0.15), select(WAYS)), SCALARS.len());
    ways.prop_map(|ways| filled(|index| ways[index].0.then_some(ways[index].1)))
}

/// A text for each scalar alone: many of them are accepted, many refused, and no chance decides which.
pub fn with_one_canary() -> impl Iterator<Item = String> {
    (0..SCALARS.len()).map(|canary| filled(|index| (index == canary).then_some("@")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_scalar_is_shown_but_names(text in with_canaries(), rules in any_rules()) {
        prop_assert_eq!(seen(&text, &rules), None);
    }
}

/// The same for each scalar and each way alone.
#[test]
fn no_scalar_alone_is_shown_but_names() {
    let mut wrong = Vec::new();
    for canary in 0..SCALARS.len() {
        for way in WAYS {
            let text = filled(|index| (index == canary).then_some(*way));
            wrong.extend(seen(&text, &Rules::of(Profile::Modern)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The properties above, once for everything there is: no chance decides whether it is looked at.
#[test]
fn no_shape_shows_what_stands_near_a_value() {
    let wrong = |shape: String| seen(&text(&shape), &Rules::default());
    let entries = ENTRIES.iter().filter_map(|entry| wrong(list(&[*entry])));
    let shapes = SHAPES.iter().filter_map(|shape| wrong((*shape).to_owned()));
    assert_eq!(entries.chain(shapes).collect::<Vec<_>>(), Vec::<String>::new());
}

/// The judge of the properties, where it must find something.
#[test]
fn a_canary_in_a_name_is_seen() {
    assert!(seen(&text("  links: [{service: @}]\n"), &Rules::default()).is_some());
}

/// Code and path of what is found.
fn found(text: &str) -> Vec<(Code, String)> {
    let validated =
        Operations::validate_template(&call(Source::Text(text.to_owned()), None, &Rules::default()));
    let told = validated.diagnostics.iter().filter(|one| validated.valid || one.is_error());
    told.map(|one| (one.code, one.field.clone())).collect()
}

#[test]
fn a_piece_of_a_value_refuses_its_entry_and_only_warns_of_an_agents_own_key() {
    let entry = "images[1].environment[1]".to_owned();
    for piece in ["{variable: PASSWORD, value: abc,@}", "{variable: PASSWORD, value:@}"] {
        let text = text(&list(&["{variable: A, value: x}", piece, "{variable: B, value: y}"]));
        assert_eq!(found(&text), [(Code::VariableKey, entry.clone())]);
    }
    let agents = r#"[{"name": "a", "source": "b:1", "environment": [{"variable": "A", "value": "x", "id": 3, "Tr0ub4dor": 4}]}]"#;
    assert_eq!(found(agents), [(Code::UnknownField, "images[0].environment[0]".to_owned())]);
}

#[test]
fn names_that_look_alike_where_they_are_shown_stay_apart_where_they_are_deployed() {
    let entries = ["{variable: 'PASSWORD:one', value: a}", "{variable: 'PASSWORD:two', value: b}"];
    let text = text(&list(&entries));
    for secrets in [SecretHandling::Plain, SecretHandling::Secret] {
        let rules = Rules { secrets, link_environment: LinkEnvironment::Declared, ..Rules::default() };
        let translated =
            Operations::translate_template(&call(Source::Text(text.clone()), None, &rules), None).unwrap();
        let all = translated.manifest_yaml;
        for name in ["PASSWORD:one", "PASSWORD:two", "B_ENV_PASSWORD:one", "B_ENV_PASSWORD:two"] {
            assert_eq!(all.matches(&format!("name: {name}\n")).count(), 1, "{name} in {all}");
        }
        let objects = translated.artifacts.objects().iter();
        let kept: Vec<_> = objects.filter(|object| object.reference.kind == Kind::Secret).collect();
        let keys = |secret: &serde_json::Value| secret["data"].as_object().unwrap().len();
        let wanted = if secrets == SecretHandling::Secret { vec![2] } else { Vec::new() };
        assert_eq!(kept.iter().map(|secret| keys(&secret.manifest)).collect::<Vec<_>>(), wanted);
    }
}
