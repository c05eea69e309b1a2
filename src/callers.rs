//! Callers: who asks, what it may do, and how much at once. Every edge asks here before anything is read or written.

mod acting;
mod allowing;
mod audit;
mod bounds;
mod caller;
mod files;
mod identifying;
mod memory;
mod rights;
mod rules;
mod tally;
mod tokens;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::metrics::Metrics;

use allowing::{AccessReviews, Authority};
use bounds::Counting;
use files::Followed;
use identifying::{Register, Reviews};
use rules::Rules;
use tokens::Tokens;

pub use acting::Acting;
pub use audit::{Audited, Task};
pub use bounds::{Bounds, Place};
pub use caller::{Caller, Certificate, Shown, Trust};
pub use files::Unusable;
pub use rights::{Ask, Deed, Right, right};
pub use tally::{Opened, Tally};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reviews at once.
const REVIEWS: usize = 32;

/// How it is found out who calls.
#[derive(Clone, Debug, Default)]
pub enum Authentication {
    /// Not at all: everybody is anonymous.
    #[default]
    None,
    /// By the tokens of a file.
    Tokens(PathBuf),
    /// By tokens that the API server reviews, meant for one of these audiences.
    TokenReview(Vec<String>),
    /// By the certificates of connections.
    Certificates,
}

/// How it is found out what a caller may do.
#[derive(Clone, Debug, Default)]
pub enum Authorization {
    /// Not at all: whoever is let in may do everything.
    #[default]
    None,
    /// By the rights of a file.
    Rules(PathBuf),
    /// By the authorizers of the cluster.
    AccessReview,
}

/// Everything that is known of callers; cheap to clone.
#[derive(Clone)]
pub struct Callers(Arc<Inner>);

struct Inner {
    register: Register,
    authority: Authority,
    counting: Counting,
    clock: Clock,
}

impl Callers {
    /// Lets everybody do everything.
    pub fn open(clock: Clock) -> Self {
        let counting = Counting::new(Bounds::default(), Metrics::default());
        Self(Arc::new(Inner { register: Register::None, authority: Authority::None, counting, clock }))
    }

    /// Knows callers and their rights in these ways.
    ///
    /// Fails with a sentence if a file cannot be used.
    pub fn new(
        authentication: Authentication,
        authorization: Authorization,
        bounds: Bounds,
        cluster: &Cluster,
        clock: Clock,
    ) -> Result<Self, Unusable> {
        let counting = Counting::new(bounds, cluster.metrics().clone());
        // Reviews take no calls from operations, and operations none from reviews.
        let cluster = &cluster.apart(REVIEWS);
        let register = match authentication {
            Authentication::None => Register::None,
            Authentication::Tokens(path) => Register::Tokens(Followed::read(&path, Tokens::FORM)?),
            Authentication::TokenReview(audiences) => {
                Register::Reviews(Box::new(Reviews::new(cluster.clone(), audiences)))
            }
            Authentication::Certificates => Register::Certificates,
        };
        let authority = match authorization {
            Authorization::None => Authority::None,
            Authorization::Rules(path) => Authority::Rules(Followed::read(&path, Rules::FORM)?),
            Authorization::AccessReview => Authority::Reviews(Box::new(AccessReviews::new(cluster.clone()))),
        };
        Ok(Self(Arc::new(Inner { register, authority, counting, clock })))
    }

    /// How much is served of one caller at once.
    pub fn bounds(&self) -> Bounds {
        self.0.counting.bounds()
    }

    /// Whether it is asked who somebody is; otherwise everybody is served.
    pub fn know_anybody(&self) -> bool {
        !matches!(self.0.register, Register::None)
    }

    /// Finds out who calls, by what it shows, or by the certificate of its connection; `source` is where it calls from.
    ///
    /// Fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID; a certificate of nobody is CALLER_FORBIDDEN.
    pub async fn identify(
        &self,
        shown: &Shown,
        certificate: Option<&Certificate>,
        source: Option<IpAddr>,
    ) -> Result<Arc<Caller>> {
        let now = self.0.clock.now();
        self.0.register.identify(shown, certificate, source, now).await.map(Arc::new)
    }

    /// What is done for a caller.
    pub fn acting_for(&self, caller: Arc<Caller>) -> Acting {
        Acting::of(self.clone(), caller)
    }

    /// Reads files again whenever they change; never returns. What cannot be used is told, and what was in force stays
    /// in force.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Register::Tokens(tokens) = &self.0.register {
                tokens.look();
            }
            if let Authority::Rules(rules) = &self.0.authority {
                rules.look();
            }
        }
    }
}
