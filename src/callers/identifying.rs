//! Finds out who a caller is: by the file of tokens, by a review of the API server's, or by a certificate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::caller::{Caller, Certificate, Shown, Token};
use super::files::Followed;
use super::memory::Memory;
use super::tokens::Tokens;
use crate::cluster::{Cluster, Identity};
use crate::error::{Error, ErrorKind, Result};

/// How long it is believed that a token belongs to somebody, and that it belongs to nobody.
const BELIEVED: Duration = Duration::from_secs(10);
const DISBELIEVED: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const REMEMBERED: usize = 10_000;
/// How long a review may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens that belong to nobody and are reviewed for one address in a second.
const STRANGERS: u32 = 20;
/// The same for all addresses together: an attacker has many.
const ALL_STRANGERS: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
/// Addresses that are counted.
const SOURCES: usize = 1_000;
/// The group of everybody who is known; the API server adds it to those that it knows itself.
const AUTHENTICATED: &str = "system:authenticated";

/// What the cluster's own users and groups begin with.
const RESERVED: [&str; 2] = ["system:", "kubeadm:"];

/// Where it is known who somebody is.
pub(super) enum Register {
    /// Nowhere: everybody is anonymous.
    None,
    /// In a file.
    Tokens(Followed<Tokens>),
    /// In the cluster.
    Reviews(Box<Reviews>),
    /// In the certificates of connections.
    Certificates,
}

impl Register {
    /// Who a caller is.
    ///
    /// Fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID; each has one text, whatever the reason.
    pub(super) async fn identify(
        &self,
        shown: &Shown,
        certificate: Option<&Certificate>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller> {
        match self {
            Register::None => Ok(Caller::anonymous()),
            Register::Certificates => by_certificate(certificate, now),
            Register::Tokens(tokens) => {
                let token = token(shown)?;
                let identity = tokens.now().owner(token).ok_or_else(invalid)?;
                Caller::known(authenticated(identity), Some(token.clone()), None).ok_or_else(invalid)
            }
            Register::Reviews(reviews) => {
                let token = token(shown)?;
                let end = token.end();
                if end.is_some_and(|end| end <= now) {
                    return Err(invalid());
                }
                let identity = reviews.owner(token, source).await?.ok_or_else(invalid)?;
                Caller::known(identity, Some(token.clone()), end).ok_or_else(invalid)
            }
        }
    }
}

fn authenticated(mut identity: Identity) -> Identity {
    if !identity.groups.iter().any(|group| group == AUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
    identity
}

fn token(shown: &Shown) -> Result<&Token> {
    match shown {
        Shown::Token(token) => Ok(token),
        Shown::Unusable => Err(invalid()),
        Shown::Nothing => Err(Error::new(
            ErrorKind::CredentialsMissing,
            "the call has no credentials; send a token, as `authorization: Bearer TOKEN`",
        )),
    }
}

pub(super) fn invalid() -> Error {
    Error::new(
        ErrorKind::CredentialsInvalid,
        "the credentials are not accepted: they are wrong, have expired or are meant for somebody else; get new ones",
    )
}

/// The subject of a verified certificate, read as Kubernetes reads it: the common name is the user, the organizations are
/// the groups.
fn by_certificate(certificate: Option<&Certificate>, now: Timestamp) -> Result<Caller> {
    let certificate = certificate.ok_or_else(|| {
        Error::new(
            ErrorKind::CredentialsMissing,
            "the connection has no client certificate; connect with one",
        )
    })?;
    if certificate.end <= now || !certificate.trust.is_given() {
        return Err(invalid());
    }
    let groups = certificate.organizations.clone();
    let user = match certificate.common_names.as_slice() {
        [only] => only.clone(),
        _ => String::new(),
    };
    let identity = Identity { user, groups, ..Identity::default() };
    // What the cluster gives to itself is nobody's name here, whoever signs certificates for callers.
    let mut names = std::iter::once(&identity.user).chain(&identity.groups);
    let is_of_cluster = names.any(|name| RESERVED.iter().any(|prefix| name.starts_with(prefix)));
    let caller = Caller::known(authenticated(identity), None, Some(certificate.end));
    let caller = caller.filter(|_| !is_of_cluster).map(|caller| caller.trusted(certificate.trust.clone()));
    caller.ok_or_else(|| {
        Error::new(
            ErrorKind::CallerForbidden,
            "the certificate's subject names no usable caller: it needs one common name, and neither that nor an \
             organization may be empty, have a control character (as a tab), or begin with system: or kubeadm:",
        )
    })
}

/// Reviews of tokens.
pub(super) struct Reviews {
    cluster: Cluster,
    audiences: Vec<String>,
    known: Memory<Option<Identity>>,
    strangers: Mutex<Strangers>,
}

/// Tokens that are not known, within a second.
#[derive(Default)]
struct Strangers {
    all: Count,
    sources: HashMap<Option<IpAddr>, Count>,
}

/// How many within a second.
struct Count {
    since: Instant,
    count: u32,
}

impl Default for Count {
    fn default() -> Self {
        Self { since: Instant::now(), count: 0 }
    }
}

impl Count {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < SECOND
    }

    /// The count of this second.
    fn now(&mut self) -> &mut u32 {
        if !self.is_fresh() {
            *self = Self::default();
        }
        &mut self.count
    }

    fn give_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

/// What an address is counted by: whoever has one of IPv6 has all of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

impl Reviews {
    pub(super) fn new(cluster: Cluster, audiences: Vec<String>) -> Self {
        let lasts = |owner: &Option<Identity>| if owner.is_some() { BELIEVED } else { DISBELIEVED };
        Self { cluster, audiences, known: Memory::new(REMEMBERED, lasts), strangers: Mutex::default() }
    }

    async fn owner(&self, token: &Token, source: Option<IpAddr>) -> Result<Option<Identity>> {
        let question: &[&[u8]] = &[token.reveal().as_bytes()];
        // Counted is each review, not each call: whoever waits for one may have to ask for the next.
        let ask = self.known.get_after(question, |last| async move {
            let is_new = last.flatten().is_none();
            if is_new {
                self.admit(source)?;
            }
            let owner = self.cluster.review_token(token.reveal(), &self.audiences).await?;
            if is_new && owner.is_some() {
                self.give_back(source);
            }
            Ok(owner)
        });
        tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::ClusterUnreachable,
                "the cluster has not said in time whose the token is",
            )
            .retry_after(SECOND))
        })
    }

    /// Counts a token that is not known; fails with OVERLOADED where too many have come.
    fn admit(&self, source: Option<IpAddr>) -> Result<()> {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let Strangers { all, sources } = &mut *strangers;
        if sources.len() >= SOURCES {
            sources.retain(|_, count| count.is_fresh());
        }
        let own = sources.entry(source.map(network)).or_default();
        let (own, all) = (own.now(), all.now());
        if *own >= STRANGERS || *all >= ALL_STRANGERS {
            let text =
                "too many tokens that are not known come from this address, or from all; try again later";
            return Err(Error::new(ErrorKind::Overloaded, text).retry_after(SECOND));
        }
        (*own, *all) = (*own + 1, *all + 1);
        Ok(())
    }

    fn give_back(&self, source: Option<IpAddr>) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.all.give_back();
        if let Some(count) = strangers.sources.get_mut(&source.map(network)) {
            count.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::{BodyExt, Full};
    use serde_json::{Value, json};
    use tower::BoxError;

    use super::*;
    use crate::callers::Trust;

    /// An API server that knows tokens that begin with `good`, and how often it was asked.
    fn cluster(asked: &Arc<AtomicUsize>, audience: &'static str) -> Cluster {
        let asked = Arc::clone(asked);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                let bytes = request.into_body().collect().await?.to_bytes();
                let mut review: Value = serde_json::from_slice(&bytes)?;
                let is_good = review["spec"]["token"].as_str().is_some_and(|token| token.starts_with("good"));
                review["status"] =
                    json!({"authenticated": is_good, "audiences": [audience], "user": {"username": "alice"}});
                let answer = Full::new(bytes::Bytes::from(serde_json::to_vec(&review)?));
                Ok::<_, BoxError>(http::Response::new(answer))
            }
        });
        Cluster::over(service, 1)
    }

    fn token_of(text: &str) -> Token {
        match Shown::authorization([format!("Bearer {text}").as_bytes()]) {
            Shown::Token(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_tokens_of_nobody_are_few_reviews_and_keep_nobody_else_out() {
        let asked = Arc::new(AtomicUsize::new(0));
        let reviews = Reviews::new(cluster(&asked, "panamax"), vec!["panamax".to_owned()]);
        let here: Option<IpAddr> = "192.0.2.1".parse().ok();
        let mut shed = 0;
        for number in 0..500 {
            match reviews.owner(&token_of(&format!("bad{number}")), here).await {
                Ok(owner) => assert_eq!(owner, None),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overloaded);
                    shed += 1;
                }
            }
        }
        assert_eq!((asked.load(Ordering::SeqCst), shed), (20, 480));
        // A no is remembered, other addresses have tries of their own, and whoever is known needs none.
        assert_eq!(reviews.owner(&token_of("bad0"), here).await, Ok(None));
        let there = "192.0.2.2".parse().ok();
        for number in 0..50 {
            assert!(reviews.owner(&token_of(&format!("good{number}")), there).await.unwrap().is_some());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 70);
        tokio::time::advance(SECOND).await;
        assert_eq!(reviews.owner(&token_of("bad600"), here).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn reviews_are_counted_whoever_waits_and_wherever_it_is() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // The cluster refuses to review, so no answer is remembered.
        let refuses = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async {
                Ok::<_, BoxError>(http::Response::builder().status(403).body(Full::new(bytes::Bytes::new()))?)
            }
        });
        let reviews = Reviews::new(Cluster::over(refuses, 1), vec!["panamax".to_owned()]);
        let (token, here) = (token_of("bad"), "192.0.2.1".parse().ok());
        let all = futures::future::join_all((0..100).map(|_| reviews.owner(&token, here))).await;
        let shed =
            all.iter().filter(|one| one.as_ref().is_err_and(|e| e.kind() == ErrorKind::Overloaded)).count();
        assert_eq!((asked.load(Ordering::SeqCst), shed), (20, 80));
        // All addresses of a network are one, and all networks together have a bound.
        for number in 0..5_000_u32 {
            let address = format!("2001:db8::{:x}:{:x}", number / 100, number);
            let _ = reviews.owner(&token, address.parse().ok()).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 40);
        for number in 0..5_000_u32 {
            let address = format!("2001:db8:{number:x}:1::1");
            let _ = reviews.owner(&token, address.parse().ok()).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_for_somebody_else_is_none() {
        let asked = Arc::new(AtomicUsize::new(0));
        let reviews = Reviews::new(cluster(&asked, "other"), vec!["panamax".to_owned()]);
        assert_eq!(reviews.owner(&token_of("good"), None).await, Ok(None));
    }

    #[test]
    fn a_certificate_names_user_and_groups_and_never_the_masters() {
        let now = Timestamp::from_second(1_000).unwrap();
        let of = |names: &[&str], groups: &[&str], end: i64| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let end = Timestamp::from_second(end).unwrap();
            let (common_names, organizations) = (texts(names), texts(groups));
            let certificate = Certificate { common_names, organizations, end, trust: Trust::default() };
            by_certificate(Some(&certificate), now)
        };
        let alice = of(&["alice"], &["team"], 2_000).unwrap();
        assert_eq!((alice.name(), alice.end()), ("alice", Timestamp::from_second(2_000).ok()));
        assert_eq!(alice.identity().groups, ["team", AUTHENTICATED]);
        for (names, groups) in [
            (&[][..], &[][..]),
            (&[""], &[]),
            (&["a", "b"], &[]),
            (&["a"], &["system:masters"]),
            (&["a\n"], &[]),
            (&["system:admin"], &[]),
            (&["kubeadm:a"], &[]),
            (&["a"], &["team", "kubeadm:cluster-admins"]),
        ] {
            let kind = of(names, groups, 2_000).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::CallerForbidden, "{names:?} {groups:?}");
        }
        assert_eq!(of(&["alice"], &[], 1_000).unwrap_err().kind(), ErrorKind::CredentialsInvalid);
        assert_eq!(by_certificate(None, now).unwrap_err().kind(), ErrorKind::CredentialsMissing);
    }
}
