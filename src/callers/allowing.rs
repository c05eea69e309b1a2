//! Finds out what a caller may do: by the file of rights, or by reviews of the API server's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::caller::Caller;
use super::files::Followed;
use super::memory::Memory;
use super::rights::{Ask, Deed, Right};
use super::rules::Rules;
use crate::artifacts::Namespace;
use crate::cluster::{Cluster, Identity};
use crate::error::{Error, ErrorKind, Result};

/// How long it is believed that somebody has a right, and that somebody has not.
const BELIEVED: Duration = Duration::from_secs(3);
const DISBELIEVED: Duration = Duration::from_secs(1);
/// Answers that are remembered.
const REMEMBERED: usize = 20_000;
/// How long all reviews of one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who decides.
pub(super) enum Authority {
    /// Nobody: everything is allowed to everybody who is let in.
    None,
    /// A file.
    Rules(Followed<Rules>),
    /// The authorizers of the cluster.
    Reviews(Box<AccessReviews>),
}

impl Authority {
    /// Fails with CALLER_FORBIDDEN unless the caller may do it.
    pub(super) async fn check(&self, caller: &Caller, ask: &Ask) -> Result<()> {
        match self {
            Authority::None => Ok(()),
            Authority::Rules(rules) if rules.now().allow(caller.identity(), ask) => Ok(()),
            Authority::Rules(_) => Err(forbidden(ask, ask.deed.word())),
            Authority::Reviews(reviews) => reviews.check(caller, ask).await,
        }
    }
}

impl Authority {
    /// The same for rights that a deed which was allowed takes besides; the file of rights knows deeds alone.
    pub(super) async fn check_besides(
        &self,
        caller: &Caller,
        namespace: &Namespace,
        rights: BTreeSet<Right>,
    ) -> Result<()> {
        match self {
            Authority::None | Authority::Rules(_) => Ok(()),
            // The deed is none of an authorizer's questions.
            Authority::Reviews(reviews) => {
                reviews.check(caller, &Ask::more(Deed::Deploy, namespace, rights)).await
            }
        }
    }
}

fn forbidden(ask: &Ask, what: &str) -> Error {
    let place = match &ask.namespace {
        Some(namespace) => format!("in namespace {namespace}"),
        None => "in all namespaces".to_owned(),
    };
    let text = format!("the caller has not the right to {what} {place}; ask whoever grants rights there");
    Error::new(ErrorKind::CallerForbidden, text)
}

/// Reviews of rights.
pub(super) struct AccessReviews {
    cluster: Cluster,
    known: Memory<bool>,
}

impl AccessReviews {
    pub(super) fn new(cluster: Cluster) -> Self {
        let lasts = |is_allowed: &bool| if *is_allowed { BELIEVED } else { DISBELIEVED };
        Self { cluster, known: Memory::new(REMEMBERED, lasts) }
    }

    /// Asks for every right at once, whatever the answers: nobody learns from their number or order what is there.
    async fn check(&self, caller: &Caller, ask: &Ask) -> Result<()> {
        let who = digestible(caller.identity());
        let reviews = ask.rights.iter().map(|right| self.has(caller.identity(), &who, *right, ask));
        let Ok(answers) = tokio::time::timeout(PATIENCE, join_all(reviews)).await else {
            return Err(Error::new(
                ErrorKind::ClusterUnreachable,
                "the cluster has not said in time what the caller may do",
            )
            .retry_after(Duration::from_secs(1)));
        };
        let mut missing = Vec::new();
        for (right, is_allowed) in ask.rights.iter().zip(answers) {
            if !is_allowed? {
                missing.push(*right);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(forbidden(ask, &sentence(&missing)))
    }

    async fn has(&self, identity: &Identity, who: &[u8], right: Right, ask: &Ask) -> Result<bool> {
        // A namespace is in no namespace.
        let namespace = ask.namespace.as_ref().filter(|_| right.resource != "namespaces");
        let place = namespace.map_or("", |namespace| namespace.as_str());
        let parts = [right.verb, right.group, right.resource, place].map(str::as_bytes);
        let question: Vec<&[u8]> = std::iter::once(who).chain(parts).collect();
        self.known.get(&question, self.cluster.review_access(identity, right, namespace)).await
    }
}

/// Everything about somebody that an authorizer may look at, in parts that keep their borders.
fn digestible(who: &Identity) -> Vec<u8> {
    let mut all = Vec::new();
    let mut add = |text: &str| {
        all.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend(text.bytes());
    };
    add(&who.user);
    add(&who.uid);
    add(&who.groups.len().to_string());
    who.groups.iter().for_each(|group| add(group));
    for (key, values) in &who.extra {
        add(key);
        add(&values.len().to_string());
        values.iter().for_each(|value| add(value));
    }
    all
}

fn resource(right: &Right) -> String {
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    format!("{}{group}", right.resource)
}

/// All of these rights in one sentence, each resource once: whoever asks for them asks once.
fn sentence(rights: &[Right]) -> String {
    let mut resources: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in rights {
        resources.entry(resource(right)).or_default().push(right.verb);
    }
    // Resources that lack the same verbs are told together.
    let mut verbs: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (resource, of_it) in resources {
        verbs.entry(of_it).or_default().push(resource);
    }
    let all = verbs.into_iter().map(|(verbs, resources)| format!("{} {}", list(&verbs), list(&resources)));
    all.collect::<Vec<_>>().join(", to ")
}

/// `a`, `a and b`, `a, b and c`.
fn list(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::Kind;

    #[test]
    fn what_differs_in_anything_is_somebody_else() {
        let of = |user: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            digestible(&Identity { user: user.to_owned(), groups, ..Identity::default() })
        };
        assert_ne!(of("a", &["b"]), of("ab", &[]));
        assert_ne!(of("a", &["b", "c"]), of("a", &["bc"]));
        assert_eq!(of("a", &["b"]), of("a", &["b"]));
    }

    #[test]
    fn the_text_says_what_is_missing_and_where() {
        let ask = Ask::new(Deed::Get, Namespace::new("shop").ok().as_ref());
        let error = forbidden(&ask, "create deployments.apps");
        assert_eq!(
            error.message(),
            "the caller has not the right to create deployments.apps in namespace shop; ask whoever grants rights there"
        );
    }

    #[test]
    fn every_right_that_lacks_is_named_and_there_is_room_for_all_that_any_call_takes() {
        let ask = Ask::new(Deed::Get, Namespace::new("shop").ok().as_ref());
        let rights: Vec<Right> = ask.rights.iter().copied().collect();
        assert_eq!(
            sentence(&rights),
            "get and list deployments.apps, persistentvolumeclaims, pods, replicationcontrollers and services"
        );
        assert_eq!(sentence(&rights[..1]), format!("{} {}", rights[0].verb, resource(&rights[0])));
        let most = Ask::new(Deed::Deploy, None).waiting(true).with_events(true);
        let most = most.with(&["create", "patch", "delete"], Kind::ALL);
        let rights: Vec<Right> = most.rights.iter().copied().collect();
        let told = forbidden(&ask, &sentence(&rights));
        // The most of a message that a call sends, and of a value of its metadata.
        assert!(told.message().len() < 1024, "{}", told.message().len());
        for right in &rights {
            let resource = resource(right);
            let is_told = told.message().contains(right.verb) && told.message().contains(&resource);
            assert!(is_told, "{right:?}: {}", told.message());
        }
    }
}
