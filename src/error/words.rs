//! Names as the contract spells them.

use super::Error;

/// A name of an enumeration as the contract spells it: `CrashLooping` is `CRASH_LOOPING`.
pub fn contract_word(name: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

impl Error {
    /// The published reason of the failure, as the contract spells it.
    pub fn word(&self) -> String {
        contract_word(&self.kind())
    }
}
