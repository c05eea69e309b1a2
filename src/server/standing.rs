//! How long the caller of a connection stays who it is: until its certificate expires, or no authority stands for it any more.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use x509_parser::parse_x509_certificate;

use super::tls::Tls;
use crate::callers::Trust;
use crate::clock::Clock;

/// The longest time that a connection is let live by its certificate without another look.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The standing of a connection's caller; nothing ends that of one who has shown no certificate.
#[derive(Default)]
pub(super) struct Standing(Option<Shown>);

/// A certificate that was verified when its connection began.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    expires: Option<Instant>,
    tls: Arc<Tls>,
    /// Hears of every change of the authorities since before it was verified.
    changes: watch::Receiver<()>,
    clock: Clock,
    trust: watch::Sender<bool>,
}

impl Standing {
    pub(super) fn new(
        chain: Option<&[CertificateDer<'_>]>,
        (tls, changes): (Arc<Tls>, watch::Receiver<()>),
        clock: Clock,
    ) -> Self {
        let chain: Vec<_> = chain.unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect();
        let Some(own) = chain.first() else { return Self(None) };
        let expires = expiry(own, &clock);
        Self(Some(Shown { chain, expires, tls, changes, clock, trust: watch::Sender::new(true) }))
    }

    /// What its calls and watches see of it.
    pub(super) fn trust(&self) -> Trust {
        self.0.as_ref().map_or_else(Trust::default, |shown| Trust::by(&shown.trust))
    }

    /// Resolves once it ends.
    pub(super) async fn ends(self) {
        let Some(mut shown) = self.0 else { return std::future::pending().await };
        let expires = shown.expires;
        tokio::select! {
            biased;
            () = reached(expires) => {}
            () = shown.distrusted() => {}
        }
        shown.trust.send_replace(false);
    }
}

impl Shown {
    /// Resolves once the authorities in force verify the certificate no more.
    async fn distrusted(&mut self) {
        while self.changes.changed().await.is_ok() {
            let now = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
            if !self.tls.verifies(&self.chain, UnixTime::since_unix_epoch(Duration::from_secs(now))) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Resolves at a moment; never where there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// When a certificate expires, by our own monotonic clock.
fn expiry(certificate: &CertificateDer<'_>, clock: &Clock) -> Option<Instant> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    // It holds for the whole of its last second.
    let end = parsed.validity().not_after.timestamp().saturating_add(1);
    let left = end.saturating_sub(clock.now().as_second());
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    Some(Instant::now() + left.min(LONGEST))
}
