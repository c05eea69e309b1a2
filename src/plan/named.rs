//! A request that its caller has named, and how it is recognized when it comes again.

use sha2::{Digest, Sha256};

use crate::record;

/// What the digest of a request is mixed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixed<'a> {
    /// Nothing: the request holds no value that may be secret.
    Plain,
    /// A random key that is kept with the revisions, whose Secrets hold the values themselves. A plain digest in the
    /// record would let a reader of ConfigMaps guess passwords.
    Key(&'a str),
    /// A key that nobody has: only the request's name and its call count.
    Unknown,
}

/// A request that its caller has named.
#[derive(Clone)]
pub struct Named {
    id: String,
    method: &'static str,
    body: Vec<u8>,
}

impl std::fmt::Debug for Named {
    /// Leaves the body out: it may hold values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Named").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Named {
    /// The request of this name; `body` is the same bytes whenever the same is asked of `method`.
    pub fn new(id: String, method: &'static str, body: Vec<u8>) -> Self {
        Self { id, method, body }
    }

    /// The caller's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The request as the record keeps it.
    pub fn recorded(&self, mixed: Mixed<'_>) -> record::Request {
        let key = match mixed {
            Mixed::Plain => Some(""),
            Mixed::Key(key) => Some(key),
            Mixed::Unknown => None,
        };
        let digest = key.map(|key| self.digest(key));
        record::Request { id: self.id.clone(), method: self.method.to_owned(), digest }
    }

    /// Whether the record speaks of this very request; where either has no key, name and call alone count.
    pub fn is(&self, recorded: &record::Request, mixed: Mixed<'_>) -> bool {
        let own = self.recorded(mixed);
        (&own.id, &own.method) == (&recorded.id, &recorded.method)
            && (own.digest.is_none() || recorded.digest.is_none() || own.digest == recorded.digest)
    }

    fn digest(&self, key: &str) -> String {
        let mut hash = Sha256::new();
        // The length keeps key and body apart.
        hash.update(key.len().to_be_bytes());
        hash.update(key);
        hash.update(&self.body);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recognized_by_name_and_body() {
        let named = |id: &str, body: &str| Named::new(id.to_owned(), "Deploy", body.as_bytes().to_vec());
        let (one, key) = (named("one", "a"), Mixed::Key("k"));
        let recorded = one.recorded(key);
        assert!(one.is(&recorded, key));
        assert!(!named("one", "b").is(&recorded, key));
        assert!(!named("two", "a").is(&recorded, key));
        assert!(!one.is(&recorded, Mixed::Key("other")), "another deployment's");
        assert!(named("one", "b").is(&recorded, Mixed::Unknown), "nobody can tell");
        let scale = Named::new("one".to_owned(), "Scale", b"a".to_vec());
        assert!(!scale.is(&one.recorded(Mixed::Unknown), Mixed::Plain), "a call that was never made");
        assert_ne!(recorded, one.recorded(Mixed::Plain));
        assert_ne!(named("i", "b").recorded(Mixed::Key("a")), named("i", "").recorded(Mixed::Key("ab")));
        assert!(!format!("{one:?}").contains("97"), "the body");
    }
}
