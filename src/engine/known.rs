//! Which deployments there are, as the keeper's watches last showed them: a first Deploy needs no look then.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::artifacts::Target;
use crate::cluster::Sight;

/// The deployments of one watch.
#[derive(Debug, Default)]
struct Watched {
    /// Those that are there; `None` until the watch has listed them once.
    known: Option<BTreeSet<Target>>,
    /// Those that a listing under way has shown.
    listing: BTreeSet<Target>,
}

/// The deployments of all watches, by their number.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<Watched>>);

impl Known {
    /// Takes what a watch shows.
    pub(super) fn take(&self, watch: usize, sight: &Sight) {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.len() <= watch {
            watches.resize_with(watch + 1, Watched::default);
        }
        let Some(watched) = watches.get_mut(watch) else { return };
        match sight {
            Sight::Begin => watched.listing.clear(),
            Sight::Listed(held) => {
                watched.listing.insert(held.target());
            }
            Sight::Complete => watched.known = Some(std::mem::take(&mut watched.listing)),
            Sight::Now(held) => {
                watched.known.get_or_insert_default().insert(held.target());
            }
            Sight::Gone(held) => {
                watched.known.get_or_insert_default().remove(&held.target());
            }
        }
    }

    /// Whether a watch has listed its deployments, and shows no such one; it may lag.
    pub(super) fn is_absent(&self, watch: usize, target: &Target) -> bool {
        let watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watches.get(watch).and_then(|watched| watched.known.as_ref());
        known.is_some_and(|known| !known.contains(target))
    }
}
