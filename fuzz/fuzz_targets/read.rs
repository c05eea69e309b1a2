//! Any text is read or refused: never a panic, never a refusal without a reason, never a wild answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panamax_kubernetes_adapter::diagnostic::Findings;
use panamax_kubernetes_adapter::template::raw;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};

fuzz_target!(|text: &str| {
    let (validated, positions) = from_text(text, None, &Limits::default());
    let refused = validated.diagnostics.iter().any(|found| found.is_error());
    assert_eq!(refused, validated.template.is_none());
    assert!(validated.diagnostics.len() <= 2 * (Findings::LIMIT + 1));
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for found in &validated.diagnostics {
        let tame = |text: &str| !text.chars().any(char::is_control);
        assert!(tame(&found.message) && tame(&found.field), "{found:?}");
        let line = found.position.map_or(1, |at| at.line as usize);
        assert!((1..=lines + 1).contains(&line), "{found:?} of {lines} lines");
        let _ = positions.of(&found.field);
    }
    // As an override of itself a template stays what it is, and changes nothing that it could not.
    if let (Some(template), Some(changes)) = (&validated.template, raw::read(text).template) {
        let (again, _) = from_text(text, Some(changes), &Limits::default());
        if let Some(again) = again.template {
            assert_eq!(again.images.len(), template.images.len());
        }
    }
});
