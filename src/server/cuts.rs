//! Counts connections and streams that are cut, and tells whose they were: of each reason every ten seconds at the most.
//!
//! Whoever is to keep a peer away has to learn which it is; whoever floods must not write our log.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::metrics::{Cut, Metrics};

/// How often the same trouble is told in the log.
const TELL: Duration = Duration::from_secs(10);

/// Where cuts are counted and told, for one peer; cheap to clone.
#[derive(Clone)]
pub(super) struct Cuts {
    metrics: Metrics,
    told: Arc<Mutex<Vec<(Cut, Told)>>>,
    peer: Source,
}

/// The address at the other end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source(pub(super) Option<IpAddr>);

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.to_canonical().fmt(formatter),
            None => formatter.write_str("unix"),
        }
    }
}

impl Cuts {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, told: Arc::default(), peer: Source::default() }
    }

    /// Those of one peer.
    pub(super) fn of(&self, source: Option<IpAddr>) -> Self {
        Self { peer: Source(source), ..self.clone() }
    }

    pub(super) fn peer(&self) -> Source {
        self.peer
    }

    /// Counts one, and tells of it if its peer has brought it about and none was told just before.
    pub(super) fn cut(&self, why: Cut) {
        self.metrics.cut(why);
        if let Some(times) = is_brought_about(why).then(|| self.count(why)).flatten() {
            info!(why = why.as_str(), peer = %self.peer, times, "cut");
        }
    }

    fn count(&self, why: Cut) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.iter_mut().find(|(of, _)| *of == why) {
            Some((_, told)) => told.count(),
            None => {
                let mut first = Told::default();
                let count = first.count();
                told.push((why, first));
                count
            }
        }
    }
}

/// Whether it is cut for what its peer does, or does not do.
fn is_brought_about(why: Cut) -> bool {
    matches!(why, Cut::Handshake | Cut::Silent | Cut::Flood | Cut::SlowReader)
}

/// Something that may happen often, and is told now and then.
#[derive(Default)]
pub(super) struct Told {
    times: u64,
    told: Option<Instant>,
}

impl Told {
    /// Counts; returns how often it has happened if that is to be told.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.times += 1;
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL);
        is_due.then(|| {
            self.told = Some(Instant::now());
            std::mem::take(&mut self.times)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_now_and_then() {
        let mut told = Told::default();
        assert_eq!((told.count(), told.count(), told.count()), (Some(1), None, None));
        told.told = told.told.and_then(|at| at.checked_sub(TELL));
        assert_eq!(told.count(), Some(3));
    }

    #[test]
    fn each_reason_is_told_for_itself_whoever_it_is() {
        let cuts = Cuts::new(Metrics::default());
        let other = cuts.of("192.0.2.1".parse().ok());
        assert_eq!((cuts.count(Cut::Flood), other.count(Cut::Flood)), (Some(1), None));
        assert_eq!(other.count(Cut::Silent), Some(1));
        assert_eq!(
            (cuts.peer().to_string(), other.peer().to_string()),
            ("unix".to_owned(), "192.0.2.1".to_owned())
        );
    }
}
