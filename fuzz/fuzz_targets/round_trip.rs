//! A stored template reads back equal, and a printed manifest says what the object says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::template::Template;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, object_yaml, translate};

fuzz_target!(|text: &str| {
    let Some(template) = from_text(text, None, &Limits::default()).0.template else { return };
    let stored = serde_json::to_vec(&template).expect("a template is JSON");
    let read: Template = serde_json::from_slice(&stored).expect("what is stored is read");
    assert_eq!(read, template);
    let Ok(name) = DeploymentName::new("one") else { return };
    for profile in [Profile::Classic, Profile::Modern] {
        let translation = translate(&template, &Options::with(name.clone(), Rules::of(profile)));
        for object in translation.artifacts.iter().flat_map(|artifacts| artifacts.objects()) {
            let printed = object_yaml(object);
            let read: serde_json::Value = serde_saphyr::from_str(&printed).expect("what is printed is read");
            assert_eq!(read, object.manifest);
        }
    }
});
