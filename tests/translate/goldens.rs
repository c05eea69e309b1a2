//! One pair of files per case in `tests/translate/cases`: `<case>.pmx` in, `<case>.yaml` out.
//!
//! An override lies beside it as `<case>.override.pmx`. Comments in the template say how it is translated:
//! `# controllers: a b` names components that run as controllers already, `# claims_at_root: a` claims without a
//! layout, `# profile: MODERN` the profile, `# rules: {"volumes": "EmptyDir"}` turns knobs,
//! and `# config: mysql:5.5 {"config": {}}` brings the configuration of an image. The output begins with the findings as
//! comments, each with its hint.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use panamax_kubernetes_adapter::artifacts::{ComponentName, DeploymentName, ObjectName};
use panamax_kubernetes_adapter::diagnostic::{Diagnostic, Findings};
use panamax_kubernetes_adapter::facts::{self, Configs};
use panamax_kubernetes_adapter::template::raw;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, manifest_yaml, slug, translate};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translate/cases")
}

#[test]
fn every_case_gives_its_golden_output() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut expected = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut cases: Vec<String> = files().into_iter().filter_map(|file| case_of(&file)).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        expected.extend([format!("{case}.pmx"), format!("{case}.yaml"), format!("{case}.override.pmx")]);
        let output = run(&case);
        let golden = folder().join(format!("{case}.yaml"));
        if update {
            fs::write(&golden, output).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != output {
            wrong.push(format!("{case}: expected {} to hold\n{output}", golden.display()));
        }
    }
    let forgotten: Vec<_> = files().into_iter().filter(|file| !expected.contains(file)).collect();
    assert!(forgotten.is_empty(), "files without a template: {forgotten:?}");
    assert!(wrong.is_empty(), "run with UPDATE=1 if these are right:\n{}", wrong.join("\n"));
}

fn files() -> Vec<String> {
    let names = fs::read_dir(folder()).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn case_of(file: &str) -> Option<String> {
    file.strip_suffix(".pmx").filter(|case| !case.ends_with(".override")).map(str::to_owned)
}

fn run(case: &str) -> String {
    let text = fs::read_to_string(folder().join(format!("{case}.pmx"))).unwrap();
    let changes = fs::read_to_string(folder().join(format!("{case}.override.pmx"))).ok();
    let changes = changes.and_then(|text| raw::read(&text).template);
    let (validated, positions) = from_text(&text, changes, &Limits::default());
    let mut out = findings(&validated.diagnostics);
    let Some(template) = validated.template else {
        return out;
    };
    let name = slug(&template.name).unwrap_or_else(|| DeploymentName::new("deployment").unwrap());
    let comment = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
    let mut options = Options::with(name, rules(comment("profile"), comment("rules")));
    let configs = text.lines().filter_map(|line| line.strip_prefix("# config: ")?.split_once(' '));
    let configs = configs.map(|(source, json)| (source.to_owned(), json.to_owned()));
    let mut found = Findings::default();
    options.rules.facts = facts::read(&Configs(configs.collect()), Some(&template), &mut found);
    out.push_str(&findings(&found.into_vec()));
    let controllers = comment("controllers");
    options.controllers = controllers
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|name| ComponentName::new(name).unwrap())
        .collect();
    let at_root = comment("claims_at_root").into_iter().flat_map(str::split_whitespace);
    options.claims_at_root = at_root.map(|name| ObjectName::new(name).unwrap()).collect();
    let mut translation = translate(&template, &options);
    positions.locate(&mut translation.diagnostics);
    out.push_str(&findings(&translation.diagnostics));
    if let Some(artifacts) = translation.artifacts {
        out.push_str(&manifest_yaml(&artifacts));
    }
    out
}

/// The rules of a profile with some of them set otherwise.
fn rules(profile: Option<&str>, knobs: Option<&str>) -> Rules {
    let rules = match profile {
        Some("MODERN") => Rules::of(Profile::Modern),
        None => Rules::default(),
        Some(other) => panic!("no profile {other}"),
    };
    let mut all = serde_json::to_value(rules).unwrap();
    // Left out where it is the default.
    all["filling"] = "Empty".into();
    let knobs: serde_json::Map<_, _> = serde_json::from_str(knobs.unwrap_or("{}")).unwrap();
    for (key, value) in knobs {
        assert!(all.get(&key).is_some(), "no rule {key}");
        all[key] = value;
    }
    serde_json::from_value(all).unwrap()
}

fn findings(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for found in diagnostics {
        let severity = format!("{:?}", found.severity()).to_uppercase();
        let place = found.position.map_or_else(|| "-".to_owned(), |at| format!("{}:{}", at.line, at.column));
        let field = if found.field.is_empty() { "(template)" } else { &found.field };
        writeln!(out, "# {severity} {} {field} {place} {}", found.code.as_str(), found.message).unwrap();
        writeln!(out, "#   hint: {}", found.hint()).unwrap();
    }
    out
}
