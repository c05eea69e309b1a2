//! Control characters, which no YAML holds unescaped: where they stand, and the text with marks in their places.

use crate::diagnostic::{Code, Diagnostic, Findings, Position};

/// There are more of them than anybody writes by mistake.
pub(super) struct TooMany;

/// Whether YAML forbids a character unescaped; parsers treat such a character differently.
fn is_forbidden(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{85}')
}

/// Refuses control characters, the first of each line; the text with a mark in the place of each, so that the rest of it
/// can be read; `None` where it has none. Fails where there are more than anybody writes by mistake.
pub(super) fn without_control_characters(
    text: &str,
    most: usize,
    findings: &mut Findings,
) -> Result<Option<(String, char)>, TooMany> {
    if !text.contains(is_forbidden) {
        return Ok(None);
    }
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let lines = text.split('\n').enumerate();
    let places =
        lines.filter_map(|(line, text)| Some((line + 1, text[..text.find(is_forbidden)?].chars().count())));
    for (found, (line, column)) in places.enumerate() {
        let position = Some(Position { line: narrow(line), column: narrow(column + 1) });
        if found >= most {
            let message = "reading stopped here; the rest was not checked";
            findings.push(Diagnostic::new(Code::ErrorsLeftOut, "", message).at(position));
            return Err(TooMany);
        }
        let message = "the text contains a control character";
        findings.push(Diagnostic::new(Code::ControlCharacter, "", message).at(position));
    }
    // One that the text does not have, of those that mean nothing to anybody.
    let mark = ('\u{e000}'..='\u{f8ff}').find(|mark| !text.contains(*mark)).ok_or(TooMany)?;
    Ok(Some((text.replace(is_forbidden, mark.encode_utf8(&mut [0; 4])), mark)))
}
