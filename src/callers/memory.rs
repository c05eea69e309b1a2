//! Remembers answers for a few seconds: bounded, under keyed digests, and one question at a time for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::error::Result;

/// What a question is remembered under: nobody outside of this process can tell which question it is.
type Key = [u8; 32];
/// An answer, and when it was asked for; whoever holds the lock asks, and all who ask the same wait for the answer.
type Slot<V> = Arc<tokio::sync::Mutex<Option<(Instant, V)>>>;

/// The answers.
pub(super) struct Memory<V> {
    secret: [u8; 32],
    slots: Mutex<HashMap<Key, Slot<V>>>,
    limit: usize,
    /// How long an answer is believed.
    lasts: fn(&V) -> Duration,
}

impl<V: Clone> Memory<V> {
    /// Remembers so many answers at the most.
    pub(super) fn new(limit: usize, lasts: fn(&V) -> Duration) -> Self {
        Self { secret: rand::random(), slots: Mutex::default(), limit, lasts }
    }

    /// The answer to a question: as it is remembered, or as it is given now. Failures are not remembered.
    pub(super) async fn get(&self, question: &[&[u8]], ask: impl Future<Output = Result<V>>) -> Result<V> {
        self.get_after(question, |_| ask).await
    }

    /// The same; whoever asks anew is told what the answer was the last time.
    pub(super) async fn get_after<F>(&self, question: &[&[u8]], ask: impl FnOnce(Option<V>) -> F) -> Result<V>
    where
        F: Future<Output = Result<V>>,
    {
        let slot = self.slot(self.key(question));
        let mut slot = slot.lock().await;
        if let Some((asked, answer)) = slot.as_ref()
            && asked.elapsed() < (self.lasts)(answer)
        {
            return Ok(answer.clone());
        }
        let asked = Instant::now();
        let last = slot.as_ref().map(|(_, last)| last.clone());
        let answer = ask(last).await?;
        *slot = Some((asked, answer.clone()));
        Ok(answer)
    }

    fn is_fresh(&self, slot: &Option<(Instant, V)>) -> bool {
        slot.as_ref().is_some_and(|(asked, answer)| asked.elapsed() < (self.lasts)(answer))
    }

    /// A digest that needs the secret, of parts that keep their borders.
    fn key(&self, question: &[&[u8]]) -> Key {
        let mut inner = Sha256::new_with_prefix(self.secret);
        for part in question {
            inner.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            inner.update(part);
        }
        Sha256::new_with_prefix(self.secret).chain_update(inner.finalize()).finalize().into()
    }

    fn slot(&self, key: Key) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= self.limit && !slots.contains_key(&key) {
            // What is locked is being asked for.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |slot| self.is_fresh(&slot)));
            if slots.len() >= self.limit {
                // Whoever loses the slot still has it; the answer is asked for again by the next.
                slots.clear();
            }
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn memory() -> Memory<bool> {
        Memory::new(4, |yes| Duration::from_secs(if *yes { 10 } else { 5 }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_yes_is_believed_longer_than_a_no_and_a_failure_not_at_all() {
        let memory = memory();
        for (answer, seconds) in [(true, 10), (false, 5)] {
            let question: &[&[u8]] = &[b"q", &[u8::from(answer)]];
            let asked = AtomicUsize::new(0);
            let ask = async || {
                asked.fetch_add(1, Ordering::SeqCst);
                Ok(answer)
            };
            assert_eq!(memory.get(question, ask()).await, Ok(answer));
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert_eq!(memory.get(question, ask()).await, Ok(answer));
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(memory.get(question, ask()).await, Ok(answer));
            assert_eq!(asked.load(Ordering::SeqCst), 2);
        }
        let failure = || Error::new(ErrorKind::ClusterUnreachable, "down");
        assert!(memory.get(&[b"f"], async { Err(failure()) }).await.is_err());
        assert_eq!(memory.get(&[b"f"], async { Ok(true) }).await, Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_the_same_at_once_share_one_question() {
        let memory = memory();
        let asked = AtomicUsize::new(0);
        let ask = async || {
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(true)
        };
        let all = futures::future::join_all((0..50).map(|_| memory.get(&[b"same"], ask()))).await;
        assert!(all.iter().all(|one| *one == Ok(true)));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_parts_keep_their_borders() {
        let memory = memory();
        for number in 0_u8..100 {
            assert_eq!(memory.get(&[&[number]], async { Ok(true) }).await, Ok(true));
            assert!(memory.slots.lock().unwrap().len() <= 4);
        }
        assert_ne!(memory.key(&[b"ab", b"c"]), memory.key(&[b"a", b"bc"]));
        assert_ne!(
            memory.key(&[b"a"]),
            super::tests::memory().key(&[b"a"]),
            "each process has a secret of its own"
        );
    }
}
