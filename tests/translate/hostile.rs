//! Hostile templates: a table of rows, each with the one outcome it must have, and the runner without a server.
//!
//! `tests/cluster/hostile.rs` sends the same rows to a running adapter.

mod environment;
mod names;
mod ports;
mod yaml;

use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::artifacts::{Artifacts, DeploymentName};
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic};
use panamax_kubernetes_adapter::error::{Error, ErrorKind};
use panamax_kubernetes_adapter::facts::Configs;
use panamax_kubernetes_adapter::operations::{Operations, Source, TemplateCall, Translated};
use panamax_kubernetes_adapter::template::validate::Limits;
use panamax_kubernetes_adapter::translate::{HostPorts, LinkEnvironment, Profile, Rules, VolumeMapping};
use serde_json::Value;

/// Ten times what reading, checking and translating any text may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// How a row is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Classic,
    Strict,
    HostPortsDropped,
    LinksDeclared,
    HostPaths,
    Modern,
}

impl How {
    fn rules(self) -> Rules {
        let classic = Rules::default();
        match self {
            How::Classic | How::Strict => classic,
            How::HostPortsDropped => Rules { host_ports: HostPorts::Drop, ..classic },
            How::LinksDeclared => Rules { link_environment: LinkEnvironment::Declared, ..classic },
            How::HostPaths => Rules { volumes: VolumeMapping::HostPath, ..classic },
            How::Modern => Rules::of(Profile::Modern),
        }
    }
}

/// A code and a path.
pub type Finding = (Code, String);

/// What must come of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted, and exactly this is told.
    Told(Vec<Finding>),
    /// Refused with TEMPLATE_INVALID for exactly these faults.
    Refused(Vec<Finding>),
    /// Refused with TEMPLATE_INVALID for many faults of one code, of which a few are told.
    Flood(Code),
    /// Refused with LIMIT_EXCEEDED for exactly these faults.
    Exceeds(Vec<Finding>),
}

/// One line of the list of hostile inputs, or a part of one.
pub struct Row {
    /// The line's number.
    pub id: &'static str,
    pub text: String,
    pub how: How,
    pub outcome: Outcome,
    /// Line and column of the first finding.
    place: Option<(u32, u32)>,
    /// What must hold of the objects.
    check: Option<fn(&Artifacts)>,
}

fn row(id: &'static str, text: impl Into<String>, outcome: Outcome) -> Row {
    Row { id, text: text.into(), how: How::Classic, outcome, place: None, check: None }
}

/// A row that is refused for one fault.
fn refused(id: &'static str, text: impl Into<String>, code: Code, path: &str) -> Row {
    row(id, text, Outcome::Refused(vec![(code, path.to_owned())]))
}

/// A row that is accepted, and one thing is told.
fn told(id: &'static str, text: impl Into<String>, code: Code, path: &str) -> Row {
    row(id, text, Outcome::Told(vec![(code, path.to_owned())]))
}

/// A row that is accepted, and nothing needs to be told.
fn fine(id: &'static str, text: impl Into<String>) -> Row {
    row(id, text, Outcome::Told(Vec::new()))
}

impl Row {
    fn at(self, line: u32, column: u32) -> Self {
        Self { place: Some((line, column)), ..self }
    }

    fn how(self, how: How) -> Self {
        Self { how, ..self }
    }

    fn check(self, check: fn(&Artifacts)) -> Self {
        Self { check: Some(check), ..self }
    }

    fn call(&self) -> TemplateCall {
        TemplateCall {
            source: Source::Text(self.text.clone()),
            overrides: None,
            name: DeploymentName::new("hostile").ok(),
            rules: self.how.rules(),
            image_configs: Configs::default(),
            strict: self.how == How::Strict,
            limits: Limits::default(),
        }
    }

    /// Whether it is accepted.
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Told(_))
    }

    /// Compares what was found with what must be; `None` when it is right.
    pub fn differs(&self, found: &[Finding]) -> Option<String> {
        let right = match &self.outcome {
            Outcome::Told(wanted) | Outcome::Refused(wanted) | Outcome::Exceeds(wanted) => found == wanted,
            Outcome::Flood(code) => {
                found.len() <= 21
                    && found.split_last().is_some_and(|(last, rest)| {
                        last.0 == Code::ErrorsLeftOut && rest.iter().all(|one| one.0 == *code)
                    })
            }
        };
        (!right).then(|| format!("{} wants {:?}, not {found:?}", self.id, self.outcome))
    }
}

/// A template of one image with further lines about it.
fn image(lines: &str) -> String {
    format!("name: T\nimages:\n- name: a\n  source: b:1\n{lines}")
}

/// The same with a second image called `db`.
fn with_database(lines: &str) -> String {
    image(lines) + "- {name: db, source: 'shop/db:5', expose: [3306]}\n"
}

/// The first container of every workload.
fn containers(artifacts: &Artifacts) -> Vec<&Value> {
    let of = |manifest| {
        ["/spec/containers/0", "/spec/template/spec/containers/0"].map(|path| Value::pointer(manifest, path))
    };
    artifacts.objects().iter().flat_map(|object| of(&object.manifest)).flatten().collect()
}

/// The value of a variable of the first workload.
fn variable(artifacts: &Artifacts, name: &str) -> String {
    let variables = containers(artifacts)[0]["env"].as_array().expect("an environment");
    let mut values = variables.iter().filter(|one| one["name"] == name).map(|one| &one["value"]);
    let value = values.next().and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(values.next(), None, "{name} stands there once");
    value
}

/// Every row.
pub fn rows() -> Vec<Row> {
    [yaml::rows(), ports::rows(), names::rows(), environment::rows()].into_iter().flatten().collect()
}

/// The faults of an error.
fn faults(error: &Error) -> Vec<Finding> {
    error.faults().iter().map(|fault| (code(fault.reason), path(&fault.field))).collect()
}

/// The code of that name.
pub fn code(name: &str) -> Code {
    *Code::ALL.iter().find(|code| code.as_str() == name).unwrap_or_else(|| panic!("no code {name}"))
}

/// The path in the template; what concerns the whole text has none.
pub fn path(field: &str) -> String {
    if field == "template_yaml" { String::new() } else { field.to_owned() }
}

/// Nothing that a terminal would act on, and nothing of what no answer may show.
pub fn assert_tame(id: &str, text: &str) {
    let wild = text.chars().find(|character| character.is_control() && *character != '\n');
    assert_eq!(wild, None, "{id}: {text:?}");
    assert!(!text.contains("canary"), "{id}: {text}");
}

/// Translates the row; of several tries the quickest, because other work may stand in the way of one.
fn translated_in(row: &Row) -> (Result<Translated, Error>, Duration) {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let call = row.call();
        let began = Instant::now();
        let translated = Operations::translate_template(&call, None);
        quickest = quickest.min(began.elapsed());
        if quickest <= PATIENCE {
            return (translated, quickest);
        }
    }
    (Operations::translate_template(&row.call(), None), quickest)
}

fn wrong(row: &Row) -> Option<String> {
    let validated = Operations::validate_template(&row.call());
    let (translated, took) = translated_in(row);
    if took > PATIENCE {
        return Some(format!("{} took {took:?}", row.id));
    }
    let is_told = |one: &&Diagnostic| validated.valid || one.is_error();
    let found: Vec<&Diagnostic> = validated.diagnostics.iter().filter(is_told).collect();
    for one in &validated.diagnostics {
        assert_tame(row.id, &one.message);
        assert_tame(row.id, &one.field);
    }
    let findings: Vec<Finding> = found.iter().map(|one| (one.code, one.field.clone())).collect();
    if let Some(differs) = row.differs(&findings) {
        return Some(differs);
    }
    let place = found.first().and_then(|one| one.position).map(|at| (at.line, at.column));
    if row.place.is_some_and(|wanted| place != Some(wanted)) {
        return Some(format!("{} wants {:?}, not {place:?}", row.id, row.place));
    }
    match (translated, &row.outcome) {
        (Ok(translated), Outcome::Told(_)) => {
            if let Some(check) = row.check {
                check(&translated.artifacts);
            }
            None
        }
        (Err(error), Outcome::Refused(_) | Outcome::Flood(_) | Outcome::Exceeds(_)) => {
            assert_tame(row.id, error.message());
            let exceeds = matches!(row.outcome, Outcome::Exceeds(_));
            let kind = if exceeds { ErrorKind::LimitExceeded } else { ErrorKind::TemplateInvalid };
            let mut told = faults(&error);
            told.sort_by_key(|one| findings.iter().position(|known| known == one));
            row.differs(&told).or_else(|| (error.kind() != kind).then(|| format!("{}: {error:?}", row.id)))
        }
        (translated, _) => Some(format!("{}: {translated:?}", row.id)),
    }
}

#[test]
fn every_row_has_its_one_outcome() {
    let wrong: Vec<String> = rows().iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Lines whose proof is no row, because what they are about is no template's text.
const ELSEWHERE: [&str; 11] = [
    // Bytes that are no text.
    "Y35", // Fields of a request, and what stands on a cluster.
    "N5", "N7", "N8", "N9", "N11", "N12", "N13", "N15", // The log of the program.
    "E9",  // No setting lists registries, so there is nothing to hit.
    "E24",
];

#[test]
fn no_line_is_forgotten() {
    let rows = rows();
    for (section, lines) in [("Y", 45), ("P", 20), ("N", 15), ("E", 29)] {
        for line in 1..=lines {
            let id = format!("{section}{line}");
            let is_row = rows.iter().any(|row| row.id == id);
            assert!(is_row != ELSEWHERE.contains(&id.as_str()), "{id} is proved here or elsewhere");
        }
    }
}
