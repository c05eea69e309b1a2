//! Names in a template: which characters they may hold, and the seed's rule that makes them fit Kubernetes.

use super::Fault;
use crate::diagnostic::{Code, Diagnostic, Findings};

/// The longest name of anything in a template, in bytes.
pub(super) const MAX_NAME: usize = 1_024;

/// Lower-cases a name, puts one dash for every character outside `[a-z0-9-]`, and trims dashes at both ends.
///
/// The rule of the seed's page. It may leave nothing, and it does not shorten.
///
/// ```
/// use panamax_kubernetes_adapter::template::sanitise;
/// assert_eq!(sanitise("DB_1"), "db-1");
/// assert_eq!(sanitise("___"), "");
/// ```
pub fn sanitise(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|character| match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9') => kept,
            _ => '-',
        })
        .collect();
    plain.trim_matches('-').to_owned()
}

/// An alias as the beginning of variables' names, as Docker wrote it: upper case, every other character an underscore.
pub fn variable_prefix(alias: &str) -> String {
    let kept = |character: char| match character.to_ascii_uppercase() {
        kept @ ('A'..='Z' | '0'..='9') => kept,
        _ => '_',
    };
    alias.chars().map(kept).collect()
}

/// Makes a name fit for a message: at most 60 characters, and nothing that a terminal would act on.
pub fn shown(name: &str) -> String {
    let mut shown: String = name
        .chars()
        .take(60)
        .map(
            |character| {
                if character.is_control() || is_invisible(character) { '\u{fffd}' } else { character }
            },
        )
        .collect();
    if name.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// Says `; did you mean "x"?` with the nearest of the known words, or nothing when none is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > 100 {
        return String::new();
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= 100)
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(nearness, _)| *nearness >= 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0).then_with(|| right.1.cmp(left.1)))
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// Characters that take no room or turn the reading direction, and so can make two names look alike.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Characters that no YAML text has unescaped; no name needs one.
fn is_unwritable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// Characters that look like nothing or like a blank, and are none: two texts that look alike differ by them.
pub(super) fn is_deceptive(character: char) -> bool {
    is_invisible(character) || (character.is_whitespace() && !matches!(character, ' ' | '\t' | '\n' | '\r'))
}

/// Checks a text in which such a character is never meant, as a path; the message names what it is.
pub(super) fn check_visible(text: &str, what: &str) -> Result<(), Fault> {
    match text.chars().find(|character| is_deceptive(*character)) {
        Some(character) => Err(deceptive(what, character)),
        None => Ok(()),
    }
}

/// The fault of a text that has such a character, which is named by its number: nobody sees it.
pub(super) fn deceptive(what: &str, character: char) -> Fault {
    let number = u32::from(character);
    let message = format!("{what} contains U+{number:04X}, which looks like a blank or like nothing");
    Fault::new(Code::InvisibleCharacter, message)
        .advising("type the text again: the character often comes along when text is copied from a page")
}

/// Checks a name: something, not too long, every character visible.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    if name.len() > MAX_NAME {
        return Err(Fault::new(Code::LimitExceeded, format!("the name is longer than {MAX_NAME} bytes")));
    }
    if name.chars().any(is_unwritable) {
        return Err(Fault::new(Code::ControlCharacter, "the name contains a control character"));
    }
    if name.chars().any(is_invisible) {
        return Err(Fault::new(Code::InvisibleCharacter, "the name contains an invisible character"));
    }
    Ok(())
}

/// The fault of a name of which nothing is left for Kubernetes.
pub(super) fn nameless(text: &str, what: &str) -> Fault {
    if text.is_empty() {
        return Fault::new(Code::NameMissing, format!("the {what} has no name"));
    }
    let fault =
        Fault::new(Code::NameMissing, format!("the name of the {what} has no Latin letter and no digit"));
    match text.chars().any(char::is_alphanumeric) {
        true => fault.advising(
            "names on Kubernetes are made of the letters a to z and of digits: add some, as `…-db`",
        ),
        false => fault,
    }
}

/// Letters of other scripts and the Latin ones that they look like.
const LOOKALIKES: &[(char, &str)] = &[
    ('a', "аα"),
    ('b', "вβ"),
    ('c', "сϲ"),
    ('d', "ԁ"),
    ('e', "еε"),
    ('g', "ɡ"),
    ('h', "һнη"),
    ('i', "іıι"),
    ('j', "ј"),
    ('k', "кκ"),
    ('l', "ӏ"),
    ('m', "мμ"),
    ('n', "ո"),
    ('o', "оοօ"),
    ('p', "рρ"),
    ('q', "ԛ"),
    ('s', "ѕ"),
    ('t', "тτ"),
    ('u', "υս"),
    ('v', "ѵν"),
    ('w', "ԝω"),
    ('x', "хχ"),
    ('y', "уγү"),
    ('z', "ζ"),
];

/// Whether two names look alike though their letters are of different scripts.
pub(super) fn looks_like(left: &str, right: &str) -> bool {
    let latin = |character: char| {
        LOOKALIKES
            .iter()
            .find(|(_, others)| others.contains(character))
            .map_or(character, |(latin, _)| *latin)
    };
    let skeleton = |name: &str| name.to_lowercase().chars().map(latin).collect::<String>();
    !(left.is_ascii() && right.is_ascii())
        && left.chars().count() == right.chars().count()
        && skeleton(left) == skeleton(right)
}

/// Checks a text that may have several lines: no control character but tab and line ends.
pub(super) fn check_text(text: &str) -> Result<(), Fault> {
    let forbidden =
        |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{85}');
    if text.chars().any(forbidden) {
        return Err(Fault::new(Code::ControlCharacter, "the text contains a control character"));
    }
    Ok(())
}

/// Reads true or false; an empty text is neither.
pub(super) fn boolean(text: &str) -> Result<Option<bool>, Fault> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "true" | "yes" | "on" | "y" | "1" => Ok(Some(true)),
        "false" | "no" | "off" | "n" | "0" => Ok(Some(false)),
        _ => Err(Fault::new(Code::NotABoolean, "the value is neither true nor false")),
    }
}

/// Hands a good value on, and reports a fault at its field.
pub(super) fn accept<T>(
    result: Result<T, Fault>,
    field: impl FnOnce() -> String,
    findings: &mut Findings,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(fault) => {
            let found = Diagnostic::new(fault.code, field(), fault.message);
            findings.push(Diagnostic { advice: fault.advice, ..found });
            None
        }
    }
}

/// Writes a type that is a text its rule let through.
macro_rules! text {
    ($(#[$doc:meta])+ $type:ident) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> String {
                text.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Fault;

            fn try_from(text: String) -> Result<Self, Fault> {
                Self::new(text)
            }
        }
    };
}
pub(super) use text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitising_is_the_seeds_rule() {
        for (name, plain) in [
            ("WP", "wp"),
            ("DB_1", "db-1"),
            ("Drupal_7.28", "drupal-7-28"),
            ("a  b", "a--b"),
            ("-a", "a"),
            ("a-", "a"),
            ("1db", "1db"),
            ("Ünï", "n"),
            ("___", ""),
            ("../../kube-system", "kube-system"),
        ] {
            assert_eq!(sanitise(name), plain, "{name}");
        }
    }

    #[test]
    fn names_have_no_hidden_characters() {
        assert_eq!(check_name("a\tb").unwrap_err().code, Code::ControlCharacter);
        assert_eq!(check_name("a\u{202e}b").unwrap_err().code, Code::InvisibleCharacter);
        assert_eq!(check_name("a\u{feff}").unwrap_err().code, Code::InvisibleCharacter);
        assert_eq!(check_name(&"a".repeat(1_025)).unwrap_err().code, Code::LimitExceeded);
        assert_eq!(check_name("Ünï cödé"), Ok(()));
    }

    #[test]
    fn shown_names_are_short_and_tame() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 61);
    }

    #[test]
    fn booleans_have_the_spellings_of_yaml_1_1() {
        assert_eq!(boolean("Yes"), Ok(Some(true)));
        assert_eq!(boolean(""), Ok(None));
        assert_eq!(boolean("maybe").unwrap_err().code, Code::NotABoolean);
    }

    #[test]
    fn names_that_look_alike_are_found() {
        assert!(looks_like("DB", "DВ") && looks_like("сache", "cache"));
        assert!(!looks_like("DB", "db") && !looks_like("DB", "DÄ") && !looks_like("a", "аа"));
        assert!(nameless("数据库", "image").advice.is_some() && nameless("___", "image").advice.is_none());
    }

    #[test]
    fn no_fault_is_about_a_character_that_is_seen() {
        assert_eq!(check_visible("a b\tc\nä", "it"), Ok(()));
        for hidden in ["\u{a0}", "\u{200b}", "\u{3000}", "\u{2028}"] {
            assert_eq!(check_visible(hidden, "it").unwrap_err().code, Code::InvisibleCharacter);
        }
        for unwritable in ["\u{fffe}", "\u{ffff}"] {
            assert_eq!(check_text(unwritable), Ok(()));
            assert_eq!(check_name(unwritable).unwrap_err().code, Code::ControlCharacter);
        }
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["environment", "expose", "links"];
        assert_eq!(did_you_mean("enviroment", known), "; did you mean `environment`?");
        assert_eq!(did_you_mean("zzz", known), "");
    }
}
