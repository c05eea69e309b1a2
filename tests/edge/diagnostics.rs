//! `docs/diagnostics.md` says what the catalogue says; `UPDATE=1` writes it anew.

use panamax_kubernetes_adapter::diagnostic::{Code, Severity};
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "# Diagnostics

What the adapter says about a template: one line for each code, in three tables by severity. The code is stable; it \
is the `code` of a Diagnostic and, where it refuses, the `reason` of a violation in `BadRequest`. Each diagnostic \
also names its field, and its line and column where the template came as text.

This file is written from `src/diagnostic/catalogue.rs`.
";

fn rendered() -> String {
    let mut page = HEAD.to_owned();
    for (severity, title, text) in [
        (Severity::Error, "ERROR", "The template is refused, and nothing is written."),
        (
            Severity::Warning,
            "WARNING",
            "Something was lost, changed or assumed. Under `STRICTNESS_STRICT` it refuses, too, and is told as an ERROR.",
        ),
        (Severity::Info, "INFO", "Tells what was decided; nothing of the template is lost."),
    ] {
        write!(page, "\n## {title}\n\n{text}\n\n| Code | Meaning | What to do |\n|---|---|---|\n").unwrap();
        let mut codes: Vec<Code> =
            Code::ALL.iter().copied().filter(|code| code.severity() == severity).collect();
        codes.sort_by_key(|code| code.as_str());
        for code in codes {
            writeln!(page, "| `{}` | {} | {} |", code.as_str(), code.meaning(), code.hint()).unwrap();
        }
    }
    page
}

#[test]
fn the_page_holds_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnostics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, rendered()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == rendered(), "{} is behind the catalogue: run this test with UPDATE=1", path.display());
}

#[test]
fn every_code_means_something_that_fits_a_table() {
    for code in Code::ALL {
        let meaning = code.meaning();
        assert!(meaning.ends_with('.') && !meaning.contains('|') && !code.hint().contains('|'), "{code:?}");
    }
}
