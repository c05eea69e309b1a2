//! Commands and values, as they arrive in real containers: to the letter.

use panamax_kubernetes_adapter::proto::{DeployOptions, Profile, SecretHandling};

use super::place::Place;

/// Everything that a shell or the kubelet would like to change.
const TEMPLATE: &str = r#"
name: Values
images:
- name: WEB
  source: example/web:1
  command: run "two words" 'it''s' a\ b $(X) $$(X) $$ $$$ $ $X ${X} "$(X)" --password=$$x(Y) ''
  environment:
  - {variable: X, value: expanded}
  - {variable: ONE, value: $}
  - {variable: TWO, value: $$}
  - {variable: THREE, value: $$$}
  - {variable: REFERENCE, value: $(X)}
  - {variable: ESCAPED, value: $$(X)}
  - {variable: SHELL_STYLE, value: "${X} $X `date` \"quoted\" 'single'"}
  - {variable: LINES, value: "first\nsecond"}
  - {variable: EMPTY, value: ""}
  - {variable: API_TOKEN, value: $$(X)$}
"#;

const ARGUMENTS: [&str; 14] = [
    "run",
    "two words",
    "its",
    "a b",
    "$(X)",
    "$$(X)",
    "$$",
    "$$$",
    "$",
    "$X",
    "${X}",
    "$(X)",
    "--password=$$x(Y)",
    "",
];

const VARIABLES: [(&str, &str); 10] = [
    ("X", "expanded"),
    ("ONE", "$"),
    ("TWO", "$$"),
    ("THREE", "$$$"),
    ("REFERENCE", "$(X)"),
    ("ESCAPED", "$$(X)"),
    ("SHELL_STYLE", "${X} $X `date` \"quoted\" 'single'"),
    ("LINES", "first\nsecond"),
    ("EMPTY", ""),
    ("API_TOKEN", "$$(X)$"),
];

async fn arrive(prefix: &str, options: DeployOptions) {
    let Some(place) = Place::new(prefix).await else { return };
    place.deploy(TEMPLATE, options).await;
    let told = place.container("web").await.told().await;
    assert_eq!(told.arguments, ARGUMENTS);
    let arrived = VARIABLES.map(|(name, _)| (name, told.variable(name).unwrap_or("MISSING")));
    assert_eq!(arrived, VARIABLES);
}

#[tokio::test]
async fn a_classic_container_gets_what_the_template_says() {
    arrive("classic", DeployOptions::default()).await;
}

#[tokio::test]
async fn a_modern_container_gets_what_the_template_says() {
    arrive("modern", DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() }).await;
}

#[tokio::test]
async fn values_arrive_from_secrets_in_classic_pods_too() {
    let secrets = SecretHandling::Secret.into();
    arrive("kept", DeployOptions { secrets, ..DeployOptions::default() }).await;
}

#[tokio::test]
async fn an_image_without_a_command_keeps_its_own() {
    let Some(place) = Place::new("packed").await else { return };
    let template = "name: T\nimages:\n- name: WEB\n  source: example/web\n";
    place.deploy(template, DeployOptions::default()).await;
    assert_eq!(place.container("web").await.told().await.arguments, ["as", "packed"]);
}
