//! The file of tokens: who each belongs to.

use sha2::{Digest, Sha256};

use super::caller::{Token, is_legible};
use super::files::{Form, Unusable, all};
use crate::cluster::Identity;

/// The most lines of the file: every call is compared with all of them.
const MAX_LINES: usize = 1_000;
/// The shortest token: a shorter one can be guessed.
const SHORTEST: usize = 16;
/// What begins a digest that stands for its token.
const DIGEST: &str = "sha256:";
/// Who is in this group may do everything; nobody gets there by a file.
pub(super) const MASTERS: &str = "system:masters";

/// The tokens, as digests.
pub(super) struct Tokens(Vec<([u8; 32], Identity)>);

impl Tokens {
    /// The file's form: a line is a name, a token and, if there are any, groups with commas between them.
    pub(super) const FORM: Form<Self> = Form {
        what: "tokens",
        open: (
            0o006,
            "can be read or written by everybody; let only its owner and group have it (chmod o-rw)",
        ),
        parse: Self::parse,
    };

    fn parse(text: &str) -> Result<Self, Unusable> {
        let mut tokens: Vec<([u8; 32], Identity)> = Vec::new();
        all(text, |words| {
            // No message quotes a word: whoever forgets the name has the token in its place.
            let wrong = |what: &str| Err(what.to_owned());
            let (name, token, groups) = match words {
                [name, token] => (*name, *token, Vec::new()),
                [name, token, groups] => (*name, *token, groups.split(',').map(str::to_owned).collect()),
                _ => return wrong("write a name, a token and, if there are any, groups with commas between"),
            };
            if !std::iter::once(name)
                .chain(groups.iter().map(String::as_str))
                .filter(|name| !name.is_empty())
                .all(is_legible)
            {
                return wrong("a name or a group has a control character, and so nobody can have it");
            }
            if groups == ["-"] && is_digest(token) {
                return wrong("the `-` behind the digest is what sha256sum prints; leave it out");
            }
            if groups.iter().any(String::is_empty) {
                return wrong("a group without a name; write groups with one comma between two");
            }
            if groups.iter().any(|group| group == MASTERS) {
                return wrong("nobody is put into the group system:masters by this file");
            }
            let Some(digest) = digest(token) else {
                return wrong(
                    "a token has 16 to 16384 visible characters of ASCII, and a digest 64 hexadecimal digits",
                );
            };
            if tokens.iter().any(|(known, _)| *known == digest) {
                return wrong("another line has this token");
            }
            tokens.push((digest, Identity { user: name.to_owned(), groups, ..Identity::default() }));
            Ok(())
        })?;
        match tokens.len() {
            0 => Err("has no token".to_owned()),
            count if count > MAX_LINES => Err(format!("has more than {MAX_LINES} tokens")),
            _ => Ok(Self(tokens)),
        }
    }

    /// Who a token belongs to; however near a token is, looking for it takes the same time.
    pub(super) fn owner(&self, token: &Token) -> Option<Identity> {
        let shown: [u8; 32] = Sha256::digest(token.reveal()).into();
        let mut owner = None;
        for (digest, identity) in &self.0 {
            if is_equal(digest, &shown) {
                owner = Some(identity);
            }
        }
        owner.cloned()
    }
}

/// Whether a word of the file says a digest.
fn is_digest(word: &str) -> bool {
    word.get(..DIGEST.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(DIGEST))
}

/// The digest that a word of the file is, or says.
fn digest(word: &str) -> Option<[u8; 32]> {
    if !is_digest(word) {
        return (word.len() >= SHORTEST && Token::is_legible(word)).then(|| Sha256::digest(word).into());
    }
    let hexadecimal = word.get(DIGEST.len()..)?;
    let digits = Some(hexadecimal).filter(|text| text.len() == 64 && text.is_ascii())?;
    let bytes = (0..32).map(|index| u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// Compares all bytes, whichever differ.
fn is_equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let differences = left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right));
    std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::super::caller::Shown;
    use super::*;

    const ALICE: &str = "alice-0123456789abcdef";

    fn token(text: &str) -> Token {
        match Shown::authorization([format!("Bearer {text}").as_bytes()]) {
            Shown::Token(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_has_one_owner() {
        let digest: String =
            Sha256::digest("bob-0123456789abcdef").iter().map(|byte| format!("{byte:02x}")).collect();
        let upper = digest.to_uppercase();
        for text in [format!("bob sha256:{upper}\n"), format!("bob SHA256:{digest} team\n")] {
            let tokens = Tokens::parse(&text).unwrap();
            assert_eq!(tokens.owner(&token("bob-0123456789abcdef")).unwrap().user, "bob");
        }
        let text = format!("# who\n\nalice {ALICE} team,ops\n  bob\tsha256:{digest}\n");
        let tokens = Tokens::parse(&text).unwrap();
        let alice = tokens.owner(&token(ALICE)).unwrap();
        assert_eq!((alice.user.as_str(), alice.groups), ("alice", vec!["team".to_owned(), "ops".to_owned()]));
        assert_eq!(tokens.owner(&token("bob-0123456789abcdef")).unwrap().user, "bob");
        for wrong in ["alice-0123456789abcdeF", "alice", &format!("sha256:{digest}"), &digest] {
            assert_eq!(tokens.owner(&token(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_file_is_told_by_its_line_and_quotes_nothing() {
        let long = format!("alice canary-{}\n", "a".repeat(16 * 1024));
        let pasted = format!("alice sha256:{}  -\n", "9f".repeat(32));
        for text in [
            "",
            "# nothing\n",
            "canary-0123456789abcdef\n",
            "alice canary\n",
            "alice canary-0123456789abcdef system:masters\n",
            "alice canary-0123456789abcdef a b\n",
            "alice canary-0123456789abcdef\nbob canary-0123456789abcdef\n",
            "alice sha256:canary\n",
            "alice canary-0123456789abcdef a,,b\n",
            "alice canary-0123456789abcdef ,,\n",
            "al\u{1b}ice canary-0123456789abcdef\n",
            "alice canary-0123456789abcdef a,b\u{7}\n",
            "alice canary-0123456789abcd\u{e9}f\n",
            "alice canary-0123456789abc\u{1b}def\n",
            &long,
            &pasted,
            "alice sha256:äääääääääääääääääääääääääääääääää\n",
        ] {
            let why = Tokens::parse(text).err().unwrap();
            assert!(!why.contains("canary"), "{why}");
        }
        let why = Tokens::parse("alice canary\n# fine\nbob canary-0123456789abcdef\nx\n").err().unwrap();
        assert!(why.contains("line 1: ") && why.contains("line 4: ") && !why.contains("line 3"), "{why}");
        let many: String =
            (0..=MAX_LINES).map(|number| format!("a token-with-a-number-{number}\n")).collect();
        assert!(Tokens::parse(&many).is_err());
    }
}
