//! Seeds for the jitter of retries: random in a process, given in a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::ExponentialBuilder;

/// An odd number near the golden ratio: its multiples are spread evenly, and no two of them are alike.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of seeds, shared by all who hold the same handle; one first seed always gives the same ones.
#[derive(Clone, Debug)]
pub(super) struct Chance(Arc<AtomicU64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// Pauses that double from `first` to `longest`, each with jitter of its own, without an end.
    pub(super) fn backoff(&self, first: Duration, longest: Duration) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(first)
            .with_factor(2.0)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(self.next())
    }

    /// A number that no other call gets.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(STEP, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder;

    use super::*;

    fn pauses(chance: &Chance) -> Vec<Duration> {
        chance.backoff(Duration::from_secs(1), Duration::from_secs(30)).build().take(8).collect()
    }

    #[test]
    fn one_seed_gives_the_same_pauses_and_each_retry_its_own() {
        let (one, same, other) = (Chance::new(7), Chance::new(7), Chance::new(8));
        let first = pauses(&one);
        assert_eq!(first, pauses(&same));
        assert_ne!(first, pauses(&other));
        let second = pauses(&one);
        assert_ne!(first, second);
        assert_eq!(second, pauses(&same));
        assert!(first.iter().all(|pause| *pause >= Duration::from_secs(1)), "{first:?}");
    }
}
