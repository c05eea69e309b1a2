//! Signs in a text that mean something in YAML: where a tag or a tab stands, what a comment cut off, what to advise.

use super::unknown::{COMMENTS, NO_COMMENT};
use crate::diagnostic::Position;

/// Advice where text was meant and its first sign means something in YAML.
pub(super) const QUOTE: &str = "put the value in quotes: its first character means something else in YAML";
/// Advice for a tab.
pub(super) const TAB: &str = "indent with spaces; YAML allows no tab there";

/// Where the next tag begins behind a byte of the text, past indicators, anchors, comments and directives.
pub(super) fn tag_behind(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        let starts_line = at == 0 || bytes[at - 1] == b'\n';
        let behind_blank = at == 0 || bytes[at - 1].is_ascii_whitespace();
        match byte {
            b'!' => return Some(at),
            b'#' if behind_blank => at = end_of_line(bytes, at),
            b'%' if starts_line => at = end_of_line(bytes, at),
            b'&' => at = end_of_token(bytes, at),
            _ => at += 1,
        }
    }
    None
}

/// The end of the tag or anchor that begins at a byte.
pub(super) fn end_of_token(bytes: &[u8], from: usize) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
    bytes[from..].iter().position(ends).map_or(bytes.len(), |length| from + length)
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| from + length)
}

/// The place of a byte of the text.
pub(super) fn place_of_byte(text: &str, at: usize) -> Option<Position> {
    let before = text.get(..at)?;
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[start..].chars().count() + 1;
    Some(Position { line: u32::try_from(line).ok()?, column: u32::try_from(column).ok()? })
}

/// Whether a value that ends at a byte was cut off there by a comment that looks like a part of it: ` #word`.
///
/// Who writes a comment leaves a blank behind its `#`.
pub(super) fn is_cut(text: &str, end: usize) -> bool {
    let rest = text.get(end..).unwrap_or_default();
    let comment = rest.trim_start_matches([' ', '\t']);
    let is_apart = comment.len() < rest.len();
    let mut characters = comment.chars();
    let begins = characters.next() == Some('#');
    is_apart && begins && characters.next().is_some_and(|next| !next.is_whitespace() && next != '#')
}

/// Whether all of a value is such a comment, behind its key that ends at a byte.
pub(super) fn is_swallowed(text: &str, key_end: usize) -> bool {
    let rest = text.get(key_end..).unwrap_or_default();
    rest.trim_start_matches([' ', '\t']).strip_prefix(':').is_some_and(|rest| is_cut(rest, 0))
}

/// One line of a text, counted from 1.
fn line(text: &str, number: u32) -> &str {
    let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    text.lines().nth(index).unwrap_or_default()
}

/// The tab that indents the line of a fault or the next one that is not empty.
pub(super) fn tab_near(text: &str, fault: Position) -> Option<Position> {
    let index = usize::try_from(fault.line).ok()?.saturating_sub(1);
    let written = text.lines().enumerate().skip(index).filter(|(_, line)| !line.trim().is_empty());
    written.take(2).find_map(|(index, line)| {
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        let column = line[..blanks].find('\t')? + 1;
        Some(Position { line: u32::try_from(index + 1).ok()?, column: u32::try_from(column).ok()? })
    })
}

/// What to advise about a line that is no YAML, by the value that stands in it.
pub(super) fn advice(text: &str, fault: Position) -> Option<&'static str> {
    let line = line(text, fault.line);
    let column = usize::try_from(fault.column).unwrap_or(usize::MAX).saturating_sub(1);
    let here = line.char_indices().nth(column).map_or("", |(at, _)| &line[at..]);
    let value = value_in(line);
    if has_comment_of_others(text, fault) {
        return Some(NO_COMMENT);
    }
    if value.starts_with("{{") || here.starts_with("{{") {
        return Some("put the value in quotes: `{` begins a mapping in YAML");
    }
    let begins = |text: &str, signs: &[char]| text.starts_with(signs);
    let is_mark = value.starts_with("- ") || value.starts_with("? ");
    if is_mark
        || begins(value, &['*', '&', '!', '@', '%', '`', ']', '}', ','])
        || begins(here, &['@', '%', '`'])
    {
        return Some(QUOTE);
    }
    if value.starts_with('"') && value.contains('\\') {
        return Some("write a backslash twice in double quotes, or put the value in single quotes");
    }
    if begins(value, &['[', '{']) {
        return Some("close the bracket, or put the value in quotes if it is text");
    }
    if begins(value, &['"', '\'']) {
        return Some("close the quote, and write nothing behind it; a quote inside it is doubled or escaped");
    }
    if begins(value, &['|', '>']) {
        return Some("put the value in quotes, or write the text on the lines below it");
    }
    value.contains(": ").then_some("put the value in quotes: `: ` in it begins another value in YAML")
}

/// Whether a fault in JSON stands in a line with a comment as other languages write it, or behind one.
fn has_comment_of_others(text: &str, fault: Position) -> bool {
    let is_json = text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']);
    let number = usize::try_from(fault.line).unwrap_or(usize::MAX);
    let written = text.lines().take(number).filter(|line| !line.trim().is_empty());
    let near = written.fold(["", ""], |[_, last], line| [last, line]);
    let begins = |line: &&str| {
        let open = |sign: &&str| {
            let before = line.split(sign).next().unwrap_or_default();
            before.len() < line.len()
                && before.trim_end_matches([' ', '\t']).ends_with([',', '{', '[', '}', ']'])
        };
        COMMENTS.iter().any(|sign| line.trim_start().starts_with(sign) || open(sign))
    };
    is_json && near.iter().any(begins)
}

/// What stands behind the first key of a line; all of it if there is no key.
fn value_in(line: &str) -> &str {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line).trim_start();
    line.split_once(": ").map_or(line, |(_, value)| value).trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_behind_comments_and_anchors() {
        let text = "%TAG ! x\n--- # not!this\n a: &b!c # !\n  !d e\n";
        assert_eq!(tag_behind(text, 0).map(|at| &text[at..at + 2]), Some("!d"));
        assert_eq!(tag_behind("a: b", 0), None);
        assert_eq!(place_of_byte("é: 1\n  é!", 10), Some(Position { line: 2, column: 4 }));
    }

    #[test]
    fn a_comment_cuts_a_value_if_no_blank_follows_its_sign() {
        for text in [" #word", "\t#!x"] {
            assert!(is_cut(text, 0), "{text:?}");
        }
        for text in ["#word", " # word", " #", " ##", "", " x"] {
            assert!(!is_cut(text, 0), "{text:?}");
        }
        assert!(is_swallowed(": #ff8800\n", 0) && is_swallowed(" : #f", 0));
        assert!(!is_swallowed(": # later\n", 0) && !is_swallowed(":\n  #f\n", 0));
    }

    #[test]
    fn a_tab_is_found_in_the_line_or_the_next() {
        let at = |line| Position { line, column: 1 };
        assert_eq!(tab_near("a: b\n\n  \tc: d\n", at(1)), Some(Position { line: 3, column: 3 }));
        assert_eq!(tab_near("a: b\nc:\td\n", at(1)), None);
    }

    #[test]
    fn what_is_advised_goes_by_the_sign() {
        let of = |value: &str| advice(&format!("- value: {value}"), Position { line: 1, column: 3 });
        for value in ["@x", "%x", "`x`", "*x", "&x", "!x", "- x", "? x", "]x", ",x"] {
            assert_eq!(of(value), Some(QUOTE), "{value}");
        }
        assert!(of("{{ x }}").unwrap().contains("quotes") && of("x: y").unwrap().contains("quotes"));
        assert!(of("\"x\\q\"").unwrap().contains("backslash"));
        assert_eq!(of("x"), None);
    }
}
