//! Nothing that an image's configuration says is shown, but names of variables up to where a value may begin.

use panamax_kubernetes_adapter::facts::Configs;
use panamax_kubernetes_adapter::operations::{Source, TemplateCall};
use panamax_kubernetes_adapter::translate::{Profile, Rules};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::generators::any_rules;
use super::unseen::{CANARY, call, told};

/// Every scalar of a configuration, each with what is usual there: what it says, and what nobody reads.
const SCALARS: &[(&str, &str)] = &[
    ("\"architecture\": ~", "amd64"),
    ("\"author\": ~", "us"),
    ("~: \"x\"", "os"),
    ("\"config\": {\"User\": ~", "1000"),
    ("\"Cmd\": [~, \"x\"]", "/bin/true"),
    ("\"Entrypoint\": [~]", "/run.sh"),
    ("\"WorkingDir\": ~", "/srv"),
    ("\"Env\": [~, \"PATH=/bin\"]", "A=b"),
    ("\"Labels\": {~: \"x\"}", "maker"),
    ("\"ExposedPorts\": {~: {}, \"80/tcp\": {}}", "90/udp"),
    ("\"Volumes\": {~: {}, \"/data\": {}}", "/log"),
    ("\"Healthcheck\": {\"Test\": [~]}}", "NONE"),
    ("\"history\": [{\"created_by\": ~}]", "ADD"),
];

/// Ways in which the canary may stand in a scalar.
const WAYS: &[&str] = &[
    "@",
    "/@",
    "/data/@",
    "/data/@/..",
    "/init.d/@.sql",
    "PASSWORD=@",
    "API_TOKEN=x=@",
    "B:@=x",
    "B=@\\n",
    "=@",
    "1:@",
    "@:1000",
    "80/@",
    "@/tcp",
    "\\u0000@",
    "@ @",
];

/// The configuration in the form of `crane config`, or of `docker image inspect`.
fn config(ways: &[Option<&str>], is_inspected: bool) -> String {
    let fill = |((scalar, usual), way): (&(&str, &str), &Option<&str>)| {
        scalar.replace('~', &format!("\"{}\"", way.unwrap_or(usual))).replace('@', CANARY)
    };
    let scalars: Vec<String> = SCALARS.iter().zip(ways).map(fill).collect();
    let whole = format!("{{{}}}", scalars.join(", "));
    if is_inspected { format!("[{}]", whole.replacen("\"config\"", "\"Config\"", 1)) } else { whole }
}

/// Texts that are no configuration, or one in which something went wrong; `@` is the canary.
const BROKEN: &[&str] = &[
    "@",
    "\"@\"",
    "{\"@\": {}}",
    "{\"config\": \"@\"}",
    "{\"config\": {\"@\": 1}}",
    "{\"config\": {\"Env\": \"@\"}}",
    "{\"config\": {\"Env\": {\"@\": \"@\"}}}",
    "{\"config\": {\"Env\": [{\"@\": 1}]}}",
    "{\"config\": {\"Volumes\": [\"/@\"]}}",
    "{\"config\": {\"ExposedPorts\": [\"@\"]}}",
    "{\"config\": {\"User\": [\"@\"]}}",
    "{\"config\": {\"Cmd\": \"@\"}}",
    "{\"config\": {\"Env\": [\"A=@\"}",
    "{\"config\": {\"Env\": [\"A=@\"]}} @",
    "[{\"Config\": {\"Env\": [\"A=@\"]}}, {\"Config\": {\"Env\": [\"A=@\"]}}]",
];

/// The target of links, whose volumes are lent, and whose variables meet those of the linking image.
const TEMPLATE: &str = "
name: T
images:
- name: a
  source: a:1
  links: [{service: b, alias: B}, {service: b, alias: B_ENV}]
  environment: [{variable: B_ENV_PASSWORD, value: x}, {variable: B_NAME, value: x}]
  volumes_from: [b]
- {name: b, source: 'b:1', volumes: [{container_path: /data}]}
";

/// What anybody is told of these configurations.
fn all(configs: &[(&str, String)], rules: &Rules) -> String {
    let configs = Configs(configs.iter().map(|(key, json)| ((*key).to_owned(), json.clone())).collect());
    let tell = |strict| {
        let usual = call(Source::Text(TEMPLATE.to_owned()), None, rules);
        told(&TemplateCall { image_configs: configs.clone(), strict, ..usual })
    };
    tell(false) + &tell(true)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_scalar_of_a_configuration_is_shown(
        ways in vec(prop::option::weighted(0.3, select(WAYS)), SCALARS.len()),
        others in vec(prop::option::weighted(0.1, select(WAYS)), SCALARS.len()),
        is_inspected in any::<bool>(), rules in any_rules(),
    ) {
        let told = all(&[("b:1", config(&ways, is_inspected)), ("a:1", config(&others, !is_inspected))], &rules);
        prop_assert!(!told.contains(CANARY), "{told}");
    }
}

/// The same for each scalar and each way alone, and for what is no configuration.
#[test]
fn no_scalar_of_a_configuration_alone_is_shown() {
    let mut wrong = Vec::new();
    let mut look = |json: String| {
        for profile in [Profile::Classic, Profile::Modern] {
            for image in ["a:1", "b:1", "c:1"] {
                if all(&[(image, json.clone())], &Rules::of(profile)).contains(CANARY) {
                    wrong.push(format!("{profile:?} {image} {json}"));
                }
            }
        }
    };
    for scalar in 0..SCALARS.len() {
        for way in WAYS {
            let ways: Vec<_> = (0..SCALARS.len()).map(|one| (one == scalar).then_some(*way)).collect();
            look(config(&ways, false));
        }
    }
    for broken in BROKEN {
        look(broken.replace('@', CANARY));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The judge, where it must find something: a variable that is set twice is told by its name.
#[test]
fn a_canary_in_a_variables_name_is_seen() {
    let name = CANARY.to_uppercase();
    let config = format!("{{\"config\": {{\"Env\": [\"{name}=x\"]}}}}");
    let template = TEMPLATE.replace("B_NAME", &format!("B_ENV_{name}"));
    let usual = call(Source::Text(template), None, &Rules::of(Profile::Modern));
    let told = told(&TemplateCall { image_configs: Configs([("b:1".to_owned(), config)].into()), ..usual });
    assert!(told.contains(&name), "{told}");
}
