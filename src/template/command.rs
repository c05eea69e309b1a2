//! The command of an image: what Docker would call its CMD.

mod ending;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::names::{check_text, deceptive, is_deceptive};
use crate::diagnostic::Code;

pub use ending::{Ending, ending};

/// The longest command, in bytes: half of what Linux takes as one argument.
const MAX_COMMAND: usize = 64 * 1024 - 1;

/// A command and the words it splits into; empty when the image's own command runs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Command {
    text: String,
    words: Vec<String>,
}

impl Command {
    /// Splits a command as a POSIX shell splits words: quotes and backslashes count, nothing is expanded.
    ///
    /// There is no shell, so `#`, `$`, `*` and `;` are ordinary characters. Fails on a quote that is never
    /// closed, on control characters and above 64 KiB.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::Command;
    /// assert_eq!(Command::new("run --name 'a b' #1").unwrap().words(), ["run", "--name", "a b", "#1"]);
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self, Fault> {
        let text = text.into();
        if text.len() > MAX_COMMAND {
            return Err(Fault::new(Code::LimitExceeded, "the command is 64 KiB or longer"));
        }
        check_text(&text)?;
        let words = split(&text)
            .ok_or_else(|| Fault::new(Code::CommandQuoting, "a quote in the command is not closed"))?;
        Ok(Self { text, words })
    }

    /// Refuses a character that looks like a blank or like nothing where it is no part of a quoted word.
    pub(super) fn check_visible(&self) -> Result<(), Fault> {
        let mut quote = None;
        let mut escaped = false;
        for character in self.text.chars() {
            match (quote, character) {
                _ if std::mem::take(&mut escaped) => {}
                (None | Some('"'), '\\') => escaped = true,
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), _) if open == character => quote = None,
                (None, _) if is_deceptive(character) => return Err(deceptive("the command", character)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Words as one text that splits into just these words.
    pub(super) fn joined(words: impl Iterator<Item = String>) -> String {
        let quoted = |word: String| {
            let plain =
                |character: char| character.is_ascii_alphanumeric() || "_@%+=:,./-".contains(character);
            if !word.is_empty() && word.chars().all(plain) {
                return word;
            }
            format!("'{}'", word.replace('\'', "'\\''"))
        };
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// The command as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its words, without quotes.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

impl fmt::Debug for Command {
    /// Leaves the words out: they may hold passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Command").finish_non_exhaustive()
    }
}

impl From<Command> for String {
    fn from(command: Command) -> String {
        command.text
    }
}

impl TryFrom<String> for Command {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::new(text)
    }
}

/// Splits into words; `None` when a quote stays open.
///
/// Not `shell_words::split`: that takes `#` for a comment and drops the rest of the line in silence.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '"' => double_quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => match characters.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => word.get_or_insert_default().push('\\'),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Some(words)
}

/// Reads up to the closing double quote; `None` when there is none.
fn double_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => match characters.next()? {
                '\n' => {}
                escaped @ ('$' | '`' | '"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            quoted => word.push(quoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_a_shell_without_expanding() {
        for (text, words) in [
            ("", &[][..]),
            ("  \n ", &[]),
            ("/start web", &["/start", "web"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            ("--pass=#1 #2", &["--pass=#1", "#2"]),
            ("a\\ b", &["a b"]),
            ("''", &[""]),
            ("x'y'\"z\"", &["xyz"]),
            (r#""\$A \n""#, &[r"$A \n"]),
            ("a \\\n b", &["a", "b"]),
            ("$(rm) * ; | `x`", &["$(rm)", "*", ";", "|", "`x`"]),
            ("end\\", &["end\\"]),
        ] {
            assert_eq!(Command::new(text).unwrap().words(), words, "{text:?}");
        }
    }

    #[test]
    fn agrees_with_shell_words_where_no_comment_is() {
        for text in ["a 'b' \"c\\\"d\" e\\'f", "--a=\"b c\" d", "'a\"b' \"c'd\""] {
            assert_eq!(Command::new(text).unwrap().words(), shell_words::split(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn nothing_hidden_stands_between_words() {
        let visible = |text: &str| Command::new(text).unwrap().check_visible();
        for text in ["run\u{a0}--fast", "run \u{200b}x", "'a b' \\\"\u{a0}"] {
            assert_eq!(visible(text).unwrap_err().code, Code::InvisibleCharacter, "{text:?}");
        }
        for text in ["run --name 'é\u{a0}x'", "\"a\\\"\u{a0}\"", "é"] {
            assert_eq!(visible(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn words_that_are_joined_split_into_themselves() {
        for words in [&["sh", "-c", "echo 'a' \"b\" \\ $x"][..], &["", " ", "'", "a\nb", "#x"], &[]] {
            let text = Command::joined(words.iter().map(|word| (*word).to_owned()));
            assert_eq!(Command::new(text).unwrap().words(), words);
        }
    }

    #[test]
    fn refuses_open_quotes_control_characters_and_length() {
        for (text, code) in [
            ("a 'b", Code::CommandQuoting),
            ("a \"b\\", Code::CommandQuoting),
            ("a \u{7}", Code::ControlCharacter),
            (&"x".repeat(64 * 1024), Code::LimitExceeded),
        ] {
            assert_eq!(Command::new(text).unwrap_err().code, code);
        }
    }
}
