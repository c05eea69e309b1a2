//! Every template of a collection that lies beside the project translates, or is refused for a missing link.
//!
//! The collection carries no licence and is no part of the project; `TEMPLATES=<folder>` names another one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic, Severity};
use panamax_kubernetes_adapter::template::Template;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, slug, translate};

#[test]
fn every_template_of_the_collection_translates_or_names_the_missing_link() {
    let folder = std::env::var_os("TEMPLATES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/templates"), PathBuf::from);
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("There is no collection of templates at {}, so none was translated.", folder.display());
        return;
    };
    let mut translated = 0;
    let mut missing_links = 0;
    let mut wrong = Vec::new();
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (validated, _) = from_text(&text, None, &Limits::default());
        let mut diagnostics = validated.diagnostics;
        let objects = validated.template.as_ref().and_then(|template| {
            let stored: Template = serde_json::from_value(serde_json::to_value(template).unwrap()).unwrap();
            assert_eq!(&stored, template);
            let mut translation = translate(template, &Options::new(slug(&template.name)?));
            diagnostics.append(&mut translation.diagnostics);
            translation.artifacts
        });
        for found in &diagnostics {
            *codes.entry(found.code.as_str()).or_default() += 1;
        }
        let errors: Vec<&Diagnostic> =
            diagnostics.iter().filter(|one| one.severity() == Severity::Error).collect();
        match objects {
            Some(_) => translated += 1,
            None if !errors.is_empty() && errors.iter().all(|one| one.code == Code::LinkTargetMissing) => {
                println!("{}: {}", path.file_name().unwrap().display(), errors[0].field);
                missing_links += 1;
            }
            None => wrong.push((path, errors.into_iter().cloned().collect::<Vec<_>>())),
        }
    }
    println!("{translated} translated, {missing_links} name a missing link; findings: {codes:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
