//! Who calls: the identity, how it is shown, and until when it is believed.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::cluster::Identity;

/// The longest name that is written down, in characters.
const LONGEST_NAME: usize = 128;
/// The digits of a digest that stand for what cannot be written down.
const DIGEST: usize = 16;
/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 16 * 1024;

/// A token as it was sent; nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// Whether a caller can send it.
    pub(super) fn is_legible(text: &str) -> bool {
        (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The token, to be given to nobody but the API server.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// When it says that it ends; `None`: it says nothing, as a token that is no JSON Web Token.
    ///
    /// Nothing is believed that makes it last longer: whoever accepts the token has looked at its end as well.
    pub(super) fn end(&self) -> Option<Timestamp> {
        let mut parts = self.0.split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let payload = decoded(payload)?;
        let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
    }
}

/// The bytes behind unpadded base64url.
fn decoded(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// What the certificate of a connection says; its chain was verified when the connection began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common names of its subject.
    pub common_names: Vec<String>,
    /// The organizations of its subject.
    pub organizations: Vec<String>,
    /// When it ends.
    pub end: Timestamp,
    /// Whether an authority still stands for it.
    pub trust: Trust,
}

/// Whether a certificate that was verified still would be; cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust(watch::Receiver<bool>);

impl Trust {
    /// What its sender says.
    pub fn by(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    pub(super) fn is_given(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is lost.
    pub(super) async fn lost(&mut self) {
        if self.0.wait_for(|is_given| !is_given).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Default for Trust {
    /// One that nobody takes away.
    fn default() -> Self {
        Self(watch::Sender::new(true).subscribe())
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.is_given() == other.is_given()
    }
}

impl Eq for Trust {}

/// What a caller shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// Something that cannot be a token: another scheme, more than one, or none that is legible.
    Unusable,
    /// A token.
    Token(Token),
}

/// The scheme and what stands behind it.
fn credentials(value: &[u8]) -> Option<(&str, &str)> {
    let (scheme, rest) = std::str::from_utf8(value).ok()?.trim_ascii().split_once(' ')?;
    Some((scheme, rest.trim_ascii()))
}

impl Shown {
    /// Reads the values of HTTP's `authorization`, of which there is one at the most.
    pub fn authorization<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut values = values.into_iter();
        let Some(value) = values.next() else { return Shown::Nothing };
        if values.next().is_some() {
            return Shown::Unusable;
        }
        match credentials(value) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Self::token(token),
            _ => Shown::Unusable,
        }
    }

    /// The same for callers that can send nothing but a name and a password: the password is the token, whatever the name.
    pub fn of_http<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let values: Vec<&[u8]> = values.into_iter().take(2).collect();
        let pair = match values.as_slice() {
            [only] => credentials(only).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")),
            _ => None,
        };
        let Some((_, pair)) = pair else { return Self::authorization(values) };
        let pair = base64::engine::general_purpose::STANDARD.decode(pair).ok();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let password = pair.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, password)| password);
        password.map_or(Shown::Unusable, Self::token)
    }

    fn token(text: &str) -> Self {
        if Token::is_legible(text) { Shown::Token(Token(Arc::from(text))) } else { Shown::Unusable }
    }
}

/// Whether somebody can have this name, or be in a group of it.
pub(super) fn is_legible(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    identity: Identity,
    name: String,
    /// When it is not believed any more; `None`: it has no end of its own.
    end: Option<Timestamp>,
    /// What it was known by, to be asked about again; `None`: by its connection, or nobody is known.
    token: Option<Token>,
    /// What it stands on where it was known by its certificate.
    trust: Trust,
    is_known: bool,
}

impl Caller {
    /// Whoever calls where nobody is known.
    pub(super) fn anonymous() -> Self {
        Self {
            identity: Identity::default(),
            name: "anonymous".to_owned(),
            end: None,
            token: None,
            trust: Trust::default(),
            is_known: false,
        }
    }

    /// Somebody who is known; `None` if nobody can be by such a name or in such a group.
    pub(super) fn known(identity: Identity, token: Option<Token>, end: Option<Timestamp>) -> Option<Self> {
        let is_usable = is_legible(&identity.user) && identity.groups.iter().all(|group| is_legible(group));
        is_usable.then(|| Self {
            name: shown(&identity.user),
            identity,
            end,
            token,
            trust: Trust::default(),
            is_known: true,
        })
    }

    /// The same, as long as its certificate is trusted.
    pub(super) fn trusted(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The name, as it is written down: bounded, and without control characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody has said who it is.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// When it is not believed any more.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.end
    }
}

/// A name as it is written into records, Events and log lines.
fn shown(name: &str) -> String {
    let clean = |letter: char| if letter.is_control() || is_invisible(letter) { '\u{fffd}' } else { letter };
    let cleaned: String = name.chars().map(clean).collect();
    if cleaned == name && name.chars().count() <= LONGEST_NAME {
        return cleaned;
    }
    // Two names never become one: a digest tells them apart.
    let digest = Sha256::digest(name);
    let digest: String = digest.iter().take(DIGEST / 2).map(|byte| format!("{byte:02x}")).collect();
    let begin: String = cleaned.chars().take(LONGEST_NAME - DIGEST - 1).collect();
    format!("{begin}…{digest}")
}

/// Letters that change how a line reads and are not seen themselves.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_by(values: &[&[u8]]) -> Shown {
        Shown::authorization(values.iter().copied())
    }

    #[test]
    fn one_bearer_token_is_one_and_nothing_else() {
        let token = |text: &str| Shown::Token(Token(Arc::from(text)));
        assert_eq!(shown_by(&[]), Shown::Nothing);
        assert_eq!(shown_by(&[b"Bearer abc"]), token("abc"));
        assert_eq!(shown_by(&[b"bearer  abc "]), token("abc"));
        for value in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Basic YTpi",
            b"abc",
            b"Bearer a b",
            b"Bearer \xff",
            b"Bearer a\x07",
        ] {
            assert_eq!(shown_by(&[value]), Shown::Unusable, "{value:?}");
        }
        assert_eq!(shown_by(&[b"Bearer a", b"Bearer a"]), Shown::Unusable);
        let long = [&b"Bearer "[..], &vec![b'a'; LONGEST_TOKEN + 1]].concat();
        assert_eq!(shown_by(&[&long]), Shown::Unusable);
        assert!(!format!("{:?}", shown_by(&[b"Bearer canary"])).contains("canary"));
    }

    #[test]
    fn a_password_is_a_token_where_callers_have_nothing_else() {
        let of = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let shown = |value: &str| Shown::of_http([value.as_bytes()]);
        let token = |text: &str| Shown::Token(Token(Arc::from(text)));
        assert_eq!(Shown::of_http([]), Shown::Nothing);
        assert_eq!(shown(&format!("Basic {}", of("agent:abc"))), token("abc"));
        assert_eq!(shown(&format!("basic  {}", of(":a:b"))), token("a:b"));
        assert_eq!(shown("Bearer abc"), token("abc"));
        for value in [
            "Basic".to_owned(),
            "Basic abc!".to_owned(),
            format!("Basic {}", of("abc")),
            format!("Basic {}", of("agent:")),
            format!("Basic {}", of("agent:a b")),
            format!("Digest {}", of("agent:abc")),
        ] {
            assert_eq!(shown(&value), Shown::Unusable, "{value}");
        }
        let twice = format!("Basic {}", of("agent:abc"));
        assert_eq!(Shown::of_http([twice.as_bytes(), twice.as_bytes()]), Shown::Unusable);
        // Whoever speaks gRPC has a header of its own for tokens.
        assert_eq!(shown_by(&[twice.as_bytes()]), Shown::Unusable);
    }

    #[test]
    fn a_token_says_when_it_ends() {
        let of = |claims: &str| {
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
            Token(Arc::from(format!("e30.{claims}.c2ln"))).end()
        };
        assert_eq!(of(r#"{"exp": 1700000000}"#), Timestamp::from_second(1_700_000_000).ok());
        for text in ["{}", "[]", "x", r#"{"exp": "soon"}"#, r#"{"exp": 1e300}"#] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(Token(Arc::from("opaque")).end(), None);
    }

    #[test]
    fn names_are_bounded_and_legible() {
        assert_eq!(shown("alice"), "alice");
        assert!(shown("a\u{202e}b").starts_with("a\u{fffd}b…"));
        assert_ne!(shown("a\u{202e}b"), shown("a\u{202d}b"));
        assert_eq!(shown(&"ä".repeat(200)).chars().count(), LONGEST_NAME);
        assert_ne!(shown(&"ä".repeat(200)), shown(&"ä".repeat(201)));
        let of = |user: &str, group: &str| {
            let identity =
                Identity { user: user.to_owned(), groups: vec![group.to_owned()], ..Identity::default() };
            Caller::known(identity, None, None)
        };
        assert!(of("alice", "team").is_some_and(|caller| caller.is_known()));
        for (user, group) in [("", "team"), ("a\nb", "team"), ("alice", "")] {
            assert!(of(user, group).is_none(), "{user:?} {group:?}");
        }
    }
}
