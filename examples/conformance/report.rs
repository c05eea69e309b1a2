//! The report: every template of a folder by every profile, a line each, and what it comes to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};
use panamax_kubernetes_adapter::proto::Profile;

use super::walk::{Site, Walk};

/// The profiles that are tried, each with its name.
pub const PROFILES: [(Profile, &str); 2] = [(Profile::Classic, "CLASSIC"), (Profile::Modern, "MODERN")];
/// How a template's file may be called.
const ENDINGS: [&str; 4] = ["pmx", "yaml", "yml", "json"];

/// What a template goes through, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// TranslateTemplate.
    Translate,
    /// Deploy with every check and no write.
    DryRun,
    /// Deploy.
    Deploy,
    /// All replicas of all components are ready.
    Ready,
    /// Every alias leads to its target.
    Links,
    /// Teardown, after which nothing is left.
    Teardown,
}

impl Step {
    const ALL: [(Self, &str); 6] = [
        (Self::Translate, "translate"),
        (Self::DryRun, "dry run"),
        (Self::Deploy, "deploy"),
        (Self::Ready, "ready"),
        (Self::Links, "links"),
        (Self::Teardown, "teardown"),
    ];
}

/// A template by a profile.
#[derive(Debug)]
pub struct Row {
    /// The file's name.
    pub template: String,
    /// The profile's name.
    pub profile: &'static str,
    /// What is wrong, or for which links it is refused.
    pub reason: String,
    is_right: bool,
    cells: [String; Step::ALL.len()],
}

impl Row {
    fn new(template: String, profile: &'static str) -> Self {
        let cells = std::array::from_fn(|_| "-".to_owned());
        Self { template, profile, reason: String::new(), is_right: true, cells }
    }

    /// Whether everything is as it should be; a template is refused rightly where its links lead nowhere.
    pub fn is_right(&self) -> bool {
        self.is_right
    }

    /// Writes into a step's cell.
    pub fn note(&mut self, step: Step, text: String) {
        self.cells[step as usize] = text;
    }

    /// A step that went wrong.
    pub fn fail(&mut self, step: Step, fault: &str) {
        self.note(step, "no".to_owned());
        self.is_right = false;
        if !self.reason.is_empty() {
            self.reason.push_str("; ");
        }
        self.reason.push_str(fault);
    }

    /// A step's outcome; `None` when it went wrong.
    pub fn done<T>(&mut self, step: Step, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.note(step, "ok".to_owned());
                Some(value)
            }
            Err(fault) => {
                self.fail(step, &fault);
                None
            }
        }
    }

    /// The template is refused, and has to be.
    pub fn refuse(&mut self, reason: String) {
        self.note(Step::Translate, "refused".to_owned());
        self.reason = reason;
    }
}

/// The templates of a folder, by name.
pub fn templates(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_file() && ENDINGS.contains(&ending) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Takes each template through each profile, so many at once; tells of each as it ends.
///
/// `run` begins the names of the namespaces, so that two reports on one cluster do not meet.
pub async fn report(
    site: &Site,
    paths: &[PathBuf],
    run: &str,
    at_once: usize,
    mut tell: impl FnMut(&Row),
) -> Vec<Row> {
    let tries = paths.iter().flat_map(|path| PROFILES.map(|profile| (path, profile)));
    let tries = tries.enumerate().map(|(number, (path, (profile, name)))| async move {
        let mut row = Row::new(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), name);
        let namespace = format!("{run}-{number}");
        match std::fs::read_to_string(path) {
            Ok(text) => Walk { site, text: &text, profile, namespace: &namespace }.run(&mut row).await,
            Err(error) => row.fail(Step::Translate, &format!("it cannot be read: {error}")),
        }
        row
    });
    let mut rows = stream::iter(tries).buffered(at_once).inspect(|row| tell(row));
    let mut all = Vec::new();
    while let Some(row) = rows.next().await {
        all.push(row);
    }
    all
}

/// The rows as a table, aligned for a person.
pub fn table(rows: &[Row]) -> String {
    let mut head = vec!["template".to_owned(), "profile".to_owned()];
    head.extend(Step::ALL.map(|(_, name)| name.to_owned()));
    head.push("reason".to_owned());
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.template.clone(), row.profile.to_owned()];
        line.extend(row.cells.iter().cloned());
        line.push(row.reason.clone());
        line
    });
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(lines).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..Step::ALL.len() + 2).map(width).collect();
    let mut table = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a text cannot fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.extend(line.last().map(String::as_str));
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

/// What it comes to: `CLASSIC 64 of 64, MODERN 64 of 64`.
pub fn summary(rows: &[Row]) -> String {
    let counted = PROFILES.map(|(_, name)| {
        let tried = || rows.iter().filter(|row| row.profile == name);
        format!("{name} {} of {}", tried().filter(|row| row.is_right()).count(), tried().count())
    });
    counted.join(", ")
}
