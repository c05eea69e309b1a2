//! What the layout of a text lacks that is no YAML: a blank, a colon, or the right indentation.

use granit_parser::ErrorKind;

use crate::diagnostic::Position;

/// Advice for a line that begins where nothing above it begins.
const INDENT: &str = "check the indentation: the line has to begin in the same column as the other keys, or entries, beside it";
/// Advice for `-key: value`.
const DASH: &str = "write a blank behind the `-` that begins the entry";

/// What to advise about a fault in the layout of lines; `None` where the fault is in a value.
///
/// Only the shape of lines is looked at, and none of their words is told.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list of errors is open")]
pub(super) fn advice(text: &str, fault: Position, kind: &ErrorKind) -> Option<&'static str> {
    let index = usize::try_from(fault.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(fault.column).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?;
    let (before, here) = line.split_at(line.char_indices().nth(column)?.0);
    let above = text.lines().take(index).filter(|line| is_written(line)).last().unwrap_or_default();
    let begins = before.chars().all(|sign| matches!(sign, ' ' | '-'));
    match kind {
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedDocumentStart
        | ErrorKind::InvalidIndentation
            if begins && is_word(here) =>
        {
            Some(if lacks_blank(above) { DASH } else { INDENT })
        }
        // The line was read as more text of the value above.
        ErrorKind::MappingValueNotAllowed if here.starts_with(':') && is_key(before) => Some(match above {
            above if lacks_blank(above) => DASH,
            above if holds_key(above) => INDENT,
            above if above.contains(':') => "write a blank behind the `:` in the line above",
            _ => "write `:` and a blank behind the key in the line above",
        }),
        ErrorKind::SimpleKeyExpected if begins && is_word(here) && !holds_key(here) => Some(match here {
            here if here.contains(':') => "write a blank behind the `:`",
            _ => {
                "write a `:` behind the key; text that goes on from the line above is indented further than its key"
            }
        }),
        _ => None,
    }
}

fn is_written(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

/// Whether a key or an entry may begin here, or a value in quotes.
fn is_word(here: &str) -> bool {
    here.starts_with(|sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '"' | '\''))
}

/// Whether what stands before a `:` is one word, behind nothing but blanks and dashes.
fn is_key(before: &str) -> bool {
    let word = before.trim_start_matches([' ', '-']);
    !word.is_empty() && !word.trim_end().contains(char::is_whitespace) && !word.contains(':')
}

/// Whether a line has a key with its `:`.
fn holds_key(line: &str) -> bool {
    line.contains(": ") || line.trim_end().ends_with(':')
}

/// Whether a line begins an entry with a `-` that no blank follows.
fn lacks_blank(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix('-');
    holds_key(line) && rest.is_some_and(|rest| rest.starts_with(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Code;
    use crate::template::raw::read;

    /// The line of the one fault of a text, and what is advised.
    fn advised(text: &str) -> (u32, String) {
        let found = read(text).diagnostics;
        let [only] = &found[..] else { panic!("{text}: {found:?}") };
        assert_eq!(only.code, Code::Syntax, "{text}");
        (only.position.map_or(0, |at| at.line), only.hint().to_owned())
    }

    #[test]
    fn a_line_that_begins_in_a_wrong_column_is_told_so() {
        for (images, line) in [
            ("- name: A\n source: \"a:1\"\n", 2),
            ("- name: A\n source: a:1\n", 2),
            ("- name: A\n   source: \"a:1\"\n", 2),
            ("- name: \"A\"\n   source: a:1\n", 2),
            ("  - name: A\n   source: a:1\n", 2),
            ("- name: A\n  environment:\n  - variable: A\n   value: \"x\"\n", 4),
            ("- name: A\n  environment:\n  - variable: A\n      value: 'x'\n", 4),
            ("- name: A\n  source: a:1\n - name: B\n", 3),
            ("  - name: A\n    source: a:1\n   - name: B\n", 3),
        ] {
            let (at, hint) = advised(&format!("name: T\nimages:\n{images}"));
            assert_eq!((at, hint.contains("indentation")), (line + 2, true), "{images}: {hint}");
        }
        assert!(advised(" name: T\nimages: []\n").1.contains("indentation"));
        assert!(advised("name: T\n images: []\n").1.contains("indentation"));
    }

    #[test]
    fn a_missing_blank_or_colon_is_told_so() {
        for (images, word) in [
            ("-name: A\n  source: a:1\n", "blank behind the `-`"),
            ("-name: \"A\"\n  source: a:1\n", "blank behind the `-`"),
            ("- name: A\n  source: a:1\n-name: B\n  source: b:1\n", "blank behind the `-`"),
            ("- name:A\n  source: a:1\n", "blank behind the `:`"),
            ("- name A\n  source: a:1\n", "`:` and a blank"),
            ("- name: A\n  source:a:1\n", "blank behind the `:`"),
            ("- name: A\n  ports\n  - host_port: 1\n", "`:` behind the key"),
        ] {
            let (_, hint) = advised(&format!("name: T\nimages:\n{images}"));
            assert!(hint.contains(word), "{images}: {hint}");
        }
    }

    #[test]
    fn a_fault_in_a_value_is_left_to_its_signs() {
        for (line, word) in [
            ("  source: \"a:1\" x\n", "close the quote"),
            ("  command: \"a \"b\" c\"\n", "close the quote"),
            ("  description: a: b\n", "put the value in quotes"),
        ] {
            let (_, hint) = advised(&format!("images:\n- name: A\n{line}"));
            assert!(hint.contains(word) && !hint.contains("indentation"), "{line}: {hint}");
        }
    }
}
