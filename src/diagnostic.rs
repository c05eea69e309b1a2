//! Diagnostic: what a template's reader or translator found, assumed or could not carry over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub use self::catalogue::Code;

#[macro_use]
mod codes;
mod catalogue;

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Tells what was decided; nothing is lost.
    Info,
    /// Something was lost, changed or assumed; refused when the caller asks for STRICT.
    Warning,
    /// The template cannot be used; nothing is written.
    Error,
}

/// One finding about a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code; severity and the usual hint follow from it.
    pub code: Code,
    /// What was found, in one sentence that never quotes a value of the environment.
    pub message: Cow<'static, str>,
    /// Where in the template, as `images[1].ports[0].host_port`; empty when it concerns the whole text.
    pub field: String,
    /// Where in the text, when the template came as text.
    pub position: Option<Position>,
    /// Whether the caller wants warnings to refuse, so that this one is an error.
    pub strict: bool,
    /// What to do about it, if the case at hand asks for other words than its code.
    pub advice: Option<Cow<'static, str>>,
    /// In how many more entries of the same list the same was found.
    pub more: usize,
}

/// A place in a template's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Diagnostic {
    /// Makes a diagnostic that has no place in a text.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            field: field.into(),
            position: None,
            strict: false,
            advice: None,
            more: 0,
        }
    }

    /// Adds the place in the text.
    #[must_use]
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.position = position;
        self
    }

    /// Adds what to do about this very case; like the message, it never quotes a value of the environment.
    #[must_use]
    pub fn advising(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        self.advice.as_deref().unwrap_or(self.code.hint())
    }

    /// Whether it stands for others of the same list, too.
    pub fn is_of_many(&self) -> bool {
        self.more > 0
    }

    /// What makes it the same as that of another entry of its list, as a digest: all but the entry's number. `None` for
    /// an error, whose place everybody has to find, and for what is no entry of an image's list.
    fn kind(&self) -> Option<u64> {
        let (list, key) = self.entry()?;
        let is_folded = list.contains('[') && self.severity() != Severity::Error;
        let mut digest = DefaultHasher::new();
        (self.code, list, key, &self.message).hash(&mut digest);
        is_folded.then(|| digest.finish())
    }

    /// The innermost list that it is found in, and the key below the entry.
    fn entry(&self) -> Option<(&str, &str)> {
        let (list, rest) = self.field.rsplit_once('[')?;
        Some((list, rest.split_once(']')?.1))
    }

    /// The severity of its code; under STRICT a warning is an error.
    pub fn severity(&self) -> Severity {
        match self.code.severity() {
            Severity::Warning if self.strict => Severity::Error,
            severity => severity,
        }
    }

    /// Whether it refuses the template.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }
}

/// How often one kind of finding was made, and where the first of them is kept.
#[derive(Debug)]
struct Kind {
    count: usize,
    first: usize,
}

/// Collects diagnostics up to a bound, so that a hostile template cannot make the answer large.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Diagnostic>,
    /// The bytes of what is kept.
    bytes: usize,
    left_out: usize,
    left_out_error: bool,
    /// What may be found in many entries of a list, by its digest.
    kinds: BTreeMap<u64, Kind>,
}

impl Findings {
    /// The most diagnostics kept; what comes after is only counted.
    pub const LIMIT: usize = 2_000;
    /// The most bytes of their messages and paths: what is found in a text need not be larger than the text.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// How many entries of one list are told of the same one by one; of more, the first stands for all.
    const FEW: usize = 10;

    /// From how many findings on suggestions are spared.
    const MANY: usize = 100;

    /// Adds one finding.
    pub fn report(&mut self, code: Code, field: impl Into<String>, message: impl Into<Cow<'static, str>>) {
        self.push(Diagnostic::new(code, field, message));
    }

    /// Adds a finding that exists already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let kind = diagnostic.kind();
        let found = kind.and_then(|kind| self.kinds.get_mut(&kind));
        if let Some(many) = found.filter(|found| found.count >= Self::FEW) {
            many.count += 1;
            return;
        }
        if self.is_full() {
            self.left_out += 1;
            self.left_out_error |= diagnostic.is_error();
        } else {
            let advice = diagnostic.advice.as_ref().map_or(0, |advice| advice.len());
            self.bytes += diagnostic.message.len() + diagnostic.field.len() + advice;
            if let Some(kind) = kind {
                let first = self.kept.len();
                self.kinds.entry(kind).or_insert(Kind { count: 0, first }).count += 1;
            }
            self.kept.push(diagnostic);
        }
    }

    /// Whether so much was found that a suggestion more helps nobody; making them takes time.
    pub fn are_many(&self) -> bool {
        self.kept.len() >= Self::MANY
    }

    /// Whether what comes now is only counted.
    fn is_full(&self) -> bool {
        self.kept.len() >= Self::LIMIT || self.bytes >= Self::MAX_BYTES
    }

    /// Whether anything found so far refuses the template.
    pub fn refuse(&self) -> bool {
        self.left_out_error || self.kept.iter().any(Diagnostic::is_error)
    }

    /// The findings in the order they were made, and a last one that counts those left out.
    pub fn into_vec(mut self) -> Vec<Diagnostic> {
        self.fold();
        if self.left_out > 0 {
            let code = if self.left_out_error { Code::ErrorsLeftOut } else { Code::NotesLeftOut };
            self.kept.push(Diagnostic::new(code, "", format!("and {} more findings", self.left_out)));
        }
        self.kept
    }

    /// Of the same in more than a few entries of one list leaves the first, with their number.
    fn fold(&mut self) {
        let mut index = 0..;
        self.kept.retain_mut(|found| {
            let index = index.next().unwrap_or_default();
            let kind = found.kind().and_then(|kind| self.kinds.get(&kind));
            let Some(many) = kind.filter(|kind| kind.count > Self::FEW) else { return true };
            if index != many.first {
                return false;
            }
            found.more = many.count - 1;
            let list = found.entry().map(|(list, _)| list).unwrap_or_default();
            found.message =
                format!("{}; the same holds for {} more entries of `{list}`", found.message, found.more)
                    .into();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_still_refuses() {
        let mut findings = Findings::default();
        for _ in 0..Findings::LIMIT {
            findings.report(Code::UnknownField, "x", "unknown");
        }
        assert!(!findings.refuse());
        findings.report(Code::PortRange, "y", "zero");
        assert!(findings.refuse());
        let all = findings.into_vec();
        assert_eq!(all.len(), Findings::LIMIT + 1);
        assert_eq!(all.last().unwrap().code, Code::ErrorsLeftOut);
    }

    #[test]
    fn the_same_in_many_entries_of_a_list_is_told_once() {
        let found = |entries: usize, code: Code| {
            let mut findings = Findings::default();
            findings.report(Code::TagMissing, "images[0].source", "before");
            for entry in 0..entries {
                findings.report(code, format!("images[0].ports[{entry}].name"), "unknown");
                findings.report(Code::TagMissing, format!("images[{entry}].source"), "floats");
            }
            findings.report(code, "images[1].ports[0].name", "unknown");
            findings.report(code, "images[0].ports[0].name", "other");
            let all = findings.into_vec();
            all.into_iter().filter(|found| found.code == code).collect::<Vec<_>>()
        };
        assert_eq!(found(10, Code::UnknownField).len(), 12);
        let folded = found(300, Code::UnknownField);
        assert_eq!(folded.len(), 3, "{folded:?}");
        assert_eq!((folded[0].field.as_str(), folded[0].more), ("images[0].ports[0].name", 299));
        assert_eq!(folded[0].message, "unknown; the same holds for 299 more entries of `images[0].ports`");
        // Every fault has to be found.
        assert_eq!(found(11, Code::PortRange).len(), 13);
    }

    #[test]
    fn long_findings_are_fewer() {
        let mut findings = Findings::default();
        for _ in 0..Findings::LIMIT {
            findings.report(Code::UnknownField, "x".repeat(300), "unknown".repeat(40));
        }
        let all = findings.into_vec();
        let bytes: usize = all.iter().map(|found| found.message.len() + found.field.len()).sum();
        assert!((Findings::MAX_BYTES..Findings::MAX_BYTES + 1_000).contains(&bytes), "{bytes}");
        assert_eq!(all.last().unwrap().code, Code::NotesLeftOut);
    }

    #[test]
    fn code_names_are_unique_and_shout() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
            );
            assert!(!code.hint().is_empty(), "{code:?}");
        }
    }
}
