//! How long a call is repeated whose failure passes.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Tries of one call of which nobody says how long it may take, the first included.
const TRIES: usize = 4;
/// The longest pause that the API server can ask of such a call for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Questions whether the lock is held still, by number, and the last one that was answered.
#[derive(Debug, Default)]
struct Confirming {
    questions: AtomicU64,
    asked: Notify,
    answered: watch::Sender<u64>,
}

tokio::task_local! {
    static CURRENT: Patience;
}

/// Until when calls are repeated: as long as the lock is held under which they are made, and none of them for longer
/// than its length. Shared, so that a renewed lease lengthens it for calls that are under way.
#[derive(Clone, Debug)]
pub struct Patience {
    end: Arc<Mutex<Instant>>,
    /// Wakes those who wait in their order: a watch channel draws lots.
    extended: Arc<Notify>,
    each: Duration,
    /// Asks for a renewal at once, and hears when one was answered that was sent afterwards.
    confirming: Arc<Confirming>,
    /// Whether nobody has said what became of a write: it may have arrived, and may arrive still.
    in_doubt: Arc<AtomicBool>,
}

impl Patience {
    /// Ends at a moment; one call is repeated for `each` at most.
    pub fn until(end: Instant, each: Duration) -> Self {
        Self {
            end: Arc::new(Mutex::new(end)),
            extended: Arc::default(),
            each,
            confirming: Arc::default(),
            in_doubt: Arc::default(),
        }
    }

    /// Ends at another moment from now on.
    pub fn extend(&self, end: Instant) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        self.extended.notify_waiters();
    }

    /// Waits until the work asks whether the lock is held still.
    pub async fn asked(&self) {
        self.confirming.asked.notified().await;
    }

    /// How often it has asked so far: what a renewal answers that is sent now.
    pub fn questions(&self) -> u64 {
        self.confirming.questions.load(Ordering::SeqCst)
    }

    /// Answers the questions that were asked before a renewal was sent: the lock is held.
    pub fn confirm(&self, questions: u64) {
        self.confirming.answered.send_replace(questions);
    }

    /// Whether nobody has said what became of a write that was made with it, at its first try or later.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// When it ends.
    fn end(&self) -> Instant {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be repeated after a pause; the lock may be renewed meanwhile, so it must only be held now.
    fn allows(&self, now: Instant, begun: Instant, pause: Duration) -> bool {
        now < self.end() && now.checked_add(pause).is_some_and(|next| next < begun + self.each)
    }

    /// Makes every call of the work with this patience.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        CURRENT.scope(self.clone(), work).await
    }
}

/// How long the operation that asks has patience still; `None` if nobody said.
pub(super) fn left() -> Option<Duration> {
    CURRENT.try_with(|patience| patience.end().saturating_duration_since(Instant::now())).ok()
}

/// Waits until the operation that asks has patience: what would begin after its end waits until that is extended.
///
/// What has begun goes on. Standing still it would keep what others wait for: its permit, or the opening of a
/// connection, and among those others is the renewal that it would stand still for.
pub(super) async fn had() {
    let Ok(patience) = CURRENT.try_with(Patience::clone) else { return };
    loop {
        let mut extended = pin!(patience.extended.notified());
        // From here on no extension is missed.
        extended.as_mut().enable();
        if Instant::now() < patience.end() {
            return;
        }
        extended.await;
    }
}

/// Waits until a renewal that is sent from now on has shown that the operation that asks holds its lock still. One that
/// has lost it does not come back: its work is dropped here.
///
/// Who holds no lock goes on at once.
pub(super) async fn confirmed() {
    let Ok(patience) = CURRENT.try_with(Patience::clone) else { return };
    let confirming = &patience.confirming;
    let mut answered = confirming.answered.subscribe();
    let own = confirming.questions.fetch_add(1, Ordering::SeqCst) + 1;
    confirming.asked.notify_one();
    // Its sender lives as long as this patience does.
    let _ = answered.wait_for(|answered| *answered >= own).await;
}

/// Notes that nobody has said what became of a write of the operation that asks.
pub(super) fn doubt() {
    // Who holds no lock remembers nothing.
    let _ = CURRENT.try_with(|patience| patience.in_doubt.store(true, Ordering::Relaxed));
}

/// Whether the patience of the operation that asks is over.
pub(super) fn is_over() -> bool {
    left() == Some(Duration::ZERO)
}

/// Whether a call that began at a moment and has been tried so often may be tried again after a pause.
///
/// A failure is lasting that passes only when somebody has acted: only who has patience waits for that.
pub(super) fn allows(begun: Instant, tries: usize, pause: Duration, is_lasting: bool) -> bool {
    let now = Instant::now();
    let has_patience = CURRENT.try_with(|patience| patience.allows(now, begun, pause)).unwrap_or(false);
    has_patience || (!is_over() && tries < TRIES && pause <= LONGEST_PAUSE && !is_lasting)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn without_patience_a_call_is_tried_four_times() {
        let now = Instant::now();
        assert!(allows(now, 3, SECOND, false));
        assert!(!allows(now, 4, SECOND, false));
        assert!(!allows(now, 1, 11 * SECOND, false), "a pause longer than anybody waits");
        assert!(!allows(now, 1, SECOND, true), "nothing will have changed");
        assert!(!allows(now, 1, Duration::MAX, false));
        assert_eq!(left(), None);
    }

    #[tokio::test]
    async fn work_has_the_patience_it_is_given() {
        let begun = Instant::now();
        let patience = Patience::until(begun + 60 * SECOND, 30 * SECOND);
        patience
            .during(async {
                assert!(allows(begun, 100, 5 * SECOND, true));
                assert!(!allows(begun, 1, 30 * SECOND, false));
                assert!(!is_over());
                patience.extend(begun);
                assert!(!allows(begun, 1, Duration::ZERO, false));
                assert!(is_over());
            })
            .await;
    }

    #[test]
    fn patience_ends_with_the_lease_and_moves_with_it() {
        let begun = Instant::now();
        let patience = Patience::until(begun + 10 * SECOND, 30 * SECOND);
        assert!(patience.allows(begun, begun, 29 * SECOND));
        assert!(!patience.allows(begun, begun, 30 * SECOND));
        let later = begun + 10 * SECOND;
        assert!(!patience.allows(later, begun, SECOND));
        patience.extend(later + 60 * SECOND);
        assert!(patience.allows(later, begun, 3 * SECOND));
        assert!(!patience.allows(later, begun, 25 * SECOND), "no call is repeated for longer than a lease");
        assert!(!patience.allows(later, begun, Duration::MAX));
    }
}
