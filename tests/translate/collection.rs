//! Every template of a collection beside the project translates in both profiles, or is refused for a missing link.
//!
//! The collection carries no licence and is no part of the project; `TEMPLATES=<folder>` names another one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic};
use panamax_kubernetes_adapter::template::Template;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, slug, translate};

/// Why a template may rightly be refused: a link leads to an image that it does not have.
const RIGHTLY: &[Code] = &[Code::LinkTargetMissing];

#[test]
fn every_template_of_the_collection_translates_or_names_the_missing_link() {
    let folder = std::env::var_os("TEMPLATES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/templates"), PathBuf::from);
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("There is no collection of templates at {}, so none was translated.", folder.display());
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for profile in [Profile::Classic, Profile::Modern] {
        let mut codes = BTreeMap::new();
        let (mut translated, mut refused, mut wrong) = (0, 0, Vec::new());
        for path in &paths {
            let name = path.file_name().unwrap().display();
            let errors = errors(&fs::read_to_string(path).unwrap(), profile, &mut codes);
            if errors.is_empty() {
                translated += 1;
            } else if errors.iter().all(|error| RIGHTLY.contains(&error.code)) {
                println!("{name}: {} {}", errors[0].code.as_str(), errors[0].field);
                refused += 1;
            } else {
                wrong.push(format!("{name}: {errors:?}"));
            }
        }
        println!(
            "{profile:?}: {translated} of {} translated, {refused} rightly refused; findings: {codes:?}",
            paths.len()
        );
        assert!(wrong.is_empty(), "{profile:?}: {wrong:#?}");
        assert!(translated > 0, "{profile:?}: there is no template in {}", folder.display());
    }
}

/// The errors of a template by a profile; without any, it has become objects.
fn errors(text: &str, profile: Profile, codes: &mut BTreeMap<&str, usize>) -> Vec<Diagnostic> {
    let (validated, _) = from_text(text, None, &Limits::default());
    let mut diagnostics = validated.diagnostics;
    if let Some(template) = &validated.template {
        let stored: Template = serde_json::from_value(serde_json::to_value(template).unwrap()).unwrap();
        assert_eq!(&stored, template);
        let name = slug(&template.name).unwrap_or_else(|| DeploymentName::new("unnamed").unwrap());
        let mut translation = translate(template, &Options::with(name, Rules::of(profile)));
        diagnostics.append(&mut translation.diagnostics);
        let refused = diagnostics.iter().any(Diagnostic::is_error);
        assert_ne!(refused, translation.artifacts.is_some_and(|made| !made.objects().is_empty()));
    }
    for found in &diagnostics {
        *codes.entry(found.code.as_str()).or_default() += 1;
    }
    diagnostics.retain(Diagnostic::is_error);
    diagnostics
}
