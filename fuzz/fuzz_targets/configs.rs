//! Any text is the configuration of an image or refused as one; what is read is bounded, stored and translated alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::diagnostic::Findings;
use panamax_kubernetes_adapter::facts::{self, Configs, Facts};
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::template::{MAX_PORTS, MAX_VARIABLES, MAX_VOLUMES};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, manifest_yaml, translate};

/// The image that says something is linked to, lends what it declares, and has a port and a volume of the template, too.
const TEMPLATE: &str = "
images:
- {name: a, source: 'example/a:1', links: [{service: b, alias: B}], volumes_from: [b]}
- {name: b, source: 'example/b:1', expose: [8080], volumes: [{container_path: /data}]}
";

fuzz_target!(|text: &str| {
    let template = from_text(TEMPLATE, None, &Limits::default()).0.template.expect("a template");
    let configs = Configs([("example/b:1".to_owned(), text.to_owned())].into());
    let mut findings = Findings::default();
    let facts = facts::read(&configs, Some(&template), &mut findings);
    let found = findings.into_vec();
    assert_eq!(found.iter().any(|found| found.is_error()), facts.is_empty());
    for found in &found {
        assert!(!found.message.chars().any(char::is_control) && found.message.len() < 200, "{found:?}");
    }
    if let Some(facts) = facts.of(&template.images[1].source) {
        assert!(facts.ports.len() <= MAX_PORTS && facts.environment.len() <= MAX_VARIABLES);
        assert!(facts.volumes.len() <= MAX_VOLUMES && facts.volumes.iter().all(|path| path.starts_with('/')));
    }
    let stored = serde_json::to_vec(&facts).expect("facts are JSON");
    let read: Facts = serde_json::from_slice(&stored).expect("what is stored is read");
    assert_eq!(read, facts);
    let Ok(name) = DeploymentName::new("one") else { return };
    for profile in [Profile::Classic, Profile::Modern] {
        let rules = Rules { facts: facts.clone(), ..Rules::of(profile) };
        let options = Options::with(name.clone(), rules);
        let translation = translate(&template, &options);
        let refused = translation.diagnostics.iter().any(|found| found.is_error());
        assert_eq!(refused, translation.artifacts.is_none());
        let Some(artifacts) = translation.artifacts else { continue };
        let again = translate(&template, &options).artifacts.expect("what was translated once");
        assert_eq!(manifest_yaml(&artifacts), manifest_yaml(&again));
    }
});
