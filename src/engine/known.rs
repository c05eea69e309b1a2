//! Which deployments there are, as the keeper's watches last showed them: a first Deploy needs no look then.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Engine;
use crate::artifacts::Target;
use crate::cluster::{Scope, Sight};

/// The deployments of one watch.
#[derive(Debug, Default)]
struct Watched {
    /// Those that are there; `None` until the watch has listed them once.
    known: Option<BTreeSet<Target>>,
    /// Those that a listing under way has shown.
    listing: BTreeSet<Target>,
}

/// The deployments of all watches, by the number of the watch.
#[derive(Debug, Default)]
pub(super) struct Known {
    scope: OnceLock<Scope>,
    watches: Mutex<Vec<Watched>>,
}

/// The namespaces that are kept; `None` while nobody knows, since the cluster has not answered yet.
pub fn kept(engine: &Engine) -> Option<&Scope> {
    engine.known.scope.get()
}

impl Known {
    /// Takes what a watch shows.
    pub(super) fn take(&self, watch: usize, sight: &Sight) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Settles what is kept.
    pub(super) fn settle(&self, scope: Scope) -> &Scope {
        self.scope.get_or_init(|| scope)
    }

    /// Whether a watch has listed its deployments, and shows no such one; it may lag, and `false` says nothing.
    pub(super) fn is_absent(&self, target: &Target) -> bool {
        let watch = self.scope.get().and_then(|scope| scope.watch_of(&target.namespace));
        let Some(watch) = watch else { return false };
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watches.get(watch).and_then(|watched| watched.known.as_ref());
        known.is_some_and(|known| !known.contains(target))
    }
}
