//! Rust files of the project as the checks read them: without tests, comments and texts.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of what goes into the program.
pub const PRODUCT: [&str; 3] = ["src", "client/src", "sandbox/src"];

/// A Rust file of the project.
pub struct Source {
    /// From the root of the repository, as `src/cluster/apply.rs`.
    pub path: String,
    /// As it is.
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The room it belongs to; none outside `src/`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split(['/', '.']).next()
    }

    /// How deep it lies in `src/`: 1 for the first file of a room.
    pub fn depth(&self) -> usize {
        self.path.matches('/').count()
    }

    /// Whether nothing of it goes into the program.
    pub fn is_tests(&self) -> bool {
        !PRODUCT.iter().any(|folder| self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
            || self.path.ends_with("/tests.rs")
    }

    /// What goes into the program, comments and texts still in it.
    pub fn production(&self) -> &str {
        if self.is_tests() {
            return "";
        }
        let end = self.text.find("\n#[cfg(test)]").map_or(self.text.len(), |end| end + 1);
        &self.text[..end]
    }

    /// What goes into the program, with every comment and every text emptied.
    pub fn code(&self) -> String {
        blank(self.production())
    }
}

/// Empties comments, texts and characters, so that what is left can be searched for names.
pub fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, length) = if rest.starts_with("//") {
            ("", rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            if rest[1 + hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let begin = hashes + 2;
                let length = rest[begin..].find(&end).map_or(rest.len(), |found| begin + found + end.len());
                ("\"\"", length)
            } else {
                // A name such as r#type.
                ("r#", 2)
            }
        } else if first == '"' {
            ("\"\"", 1 + quoted(&rest[1..], '"'))
        } else if first == '\'' && is_character(&rest[1..]) {
            ("' '", 1 + quoted(&rest[1..], '\''))
        } else {
            (&rest[..first.len_utf8()], first.len_utf8())
        };
        code.push_str(kept);
        rest = &rest[length..];
    }
    code
}

/// The length up to and with the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices() {
        if letter == quote && !escaped {
            return index + quote.len_utf8();
        }
        escaped = letter == '\\' && !escaped;
    }
    text.len()
}

/// Tells a character from a lifetime.
fn is_character(text: &str) -> bool {
    let mut letters = text.chars();
    match letters.next() {
        Some('\\') => true,
        Some(_) => letters.next() == Some('\''),
        None => false,
    }
}

/// Every Rust file below a folder of the repository, in order.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files(folder) {
        if path.ends_with(".rs") {
            let text = fs::read_to_string(root().join(&path)).expect("a source file is text");
            sources.push(Source { path, text });
        }
    }
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources
}

/// Every Rust file of what goes into the program.
pub fn product() -> Vec<Source> {
    PRODUCT.iter().flat_map(|folder| sources(folder)).collect()
}

/// Every file below a folder of the repository, in order.
pub fn files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(root()).expect("it lies in the repository");
                files.push(path.to_str().expect("a path is text").to_owned());
            }
        }
    }
    files.sort();
    files
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn names_in_comments_and_texts_are_no_names() {
    let text =
        "let a = \"kube::x \\\" // y\"; // tokio::z\nlet b: &'a str = r#\"std::env\"#; let c = '\"'; r#type";
    assert_eq!(blank(text), "let a = \"\"; \nlet b: &'a str = \"\"; let c = ' '; r#type");
}

#[test]
fn tests_are_no_production_code() {
    let source = Source::new("src/a/b.rs", "//! A.\nfn f() {}\n#[cfg(test)]\nmod tests { use kube::X; }\n");
    assert_eq!(source.production(), "//! A.\nfn f() {}\n");
    assert_eq!((source.room(), source.depth()), (Some("a"), 2));
    assert_eq!(Source::new("src/a/tests.rs", "use kube::X;").code(), "");
    assert_eq!(Source::new("tests/a.rs", "").room(), None);
}
