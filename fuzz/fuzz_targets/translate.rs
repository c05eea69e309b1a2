//! Whatever is read is translated or refused by every profile, the same each time.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{
    Exposure, LinkEnvironment, Options, Profile, Rules, SecretHandling, VolumeMapping, manifest_yaml,
    translate,
};

/// The profiles, and one mix that neither of them has.
fn rules() -> [Rules; 3] {
    let mixed = Rules {
        link_environment: LinkEnvironment::Declared,
        volumes: VolumeMapping::HostPath,
        secrets: SecretHandling::Secret,
        exposure: Exposure::NodePort,
        ..Rules::default()
    };
    [Rules::of(Profile::Classic), Rules::of(Profile::Modern), mixed]
}

fuzz_target!(|text: &str| {
    let Some(template) = from_text(text, None, &Limits::default()).0.template else { return };
    let Ok(name) = DeploymentName::new("one") else { return };
    for rules in rules() {
        let options = Options::with(name.clone(), rules);
        let translation = translate(&template, &options);
        let refused = translation.diagnostics.iter().any(|found| found.is_error());
        assert_eq!(refused, translation.artifacts.is_none());
        let Some(artifacts) = translation.artifacts else { continue };
        let mut seen = BTreeSet::new();
        for object in artifacts.objects() {
            assert!(seen.insert(object.reference.clone()), "{} twice", object.reference);
            assert!(!object.manifest.to_string().contains("\"privileged\""));
        }
        let again = translate(&template, &options).artifacts.expect("what was translated once");
        assert_eq!(manifest_yaml(&artifacts), manifest_yaml(&again));
    }
});
