//! Counts how many of something each of many has open at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many each key has open; a key that has none takes no memory. Cheap to clone: clones count together.
pub struct Tally<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> Tally<K> {
    /// Counts another of a key until the answer is dropped; `None` if the key has `most` already.
    pub fn open(&self, key: K, most: usize) -> Option<Opened<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.get(&key).copied().unwrap_or_default() >= most {
            return None;
        }
        *counts.entry(key.clone()).or_default() += 1;
        Some(Opened { key, of: self.clone() })
    }

    /// Whether nobody has anything open.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Something that is open, and counts until it is dropped.
pub struct Opened<K: Eq + Hash> {
    key: K,
    of: Tally<K>,
}

impl<K: Eq + Hash> Drop for Opened<K> {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_and_those_without_any_are_forgotten() {
        let tally = Tally::default();
        assert!(tally.open("none", 0).is_none());
        assert!(tally.is_empty(), "who is refused is not remembered");
        let (first, second) = (tally.open("a", 1), tally.open("b", 1));
        assert!(first.is_some() && second.is_some());
        assert!(tally.clone().open("a", 1).is_none());
        drop(first);
        let again = tally.open("a", 1);
        assert!(again.is_some());
        drop((second, again));
        assert!(tally.is_empty());
    }
}
