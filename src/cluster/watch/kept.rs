//! The records that the keeper's watches show, for everybody who follows a deployment: no second watch shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::sight::{Scope, Sight};
use super::store::Store;
use crate::artifacts::{Namespace, Target};
use crate::error::Error;
use crate::record::{Record, Unreadable, Version};

/// Whether a record's deployment is at rest.
type AtRest = fn(&Record) -> bool;

/// What is kept of a record.
#[derive(Debug)]
enum Known {
    /// All of it: something is left to do for its deployment.
    Whole(Arc<Record>),
    /// Its version: its deployment is at rest.
    AtRest(Version),
    /// That it cannot be read.
    Unreadable(Arc<Unreadable>),
}

/// What one watch has shown.
#[derive(Debug, Default)]
struct Watched {
    known: BTreeMap<Target, Known>,
    /// What a listing under way has shown: whole, for those who come before it is complete.
    listing: BTreeMap<Target, Result<Arc<Record>, Arc<Unreadable>>>,
    /// Whether a listing is under way; the first one is from the start.
    is_listing: bool,
    /// Whether everything was listed once.
    is_listed: bool,
    /// The newest version that was shown of any record.
    newest: Option<Version>,
    /// Where the records of a namespace are filed while somebody follows a deployment in it.
    stores: BTreeMap<Namespace, Weak<Mutex<Store>>>,
    /// Those that came while a listing was under way: they have missed a part of it, and get all of it at its end.
    joining: Vec<(Namespace, Weak<Mutex<Store>>)>,
}

/// What the keeper's watches have shown, by the number of the watch.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Kept {
    scope: OnceLock<(Scope, AtRest)>,
    watches: Mutex<Vec<Watched>>,
}

impl Kept {
    /// Settles what is kept, and of which records the version is enough.
    pub(in crate::cluster) fn settle(&self, scope: Scope, is_at_rest: AtRest) -> &Scope {
        let watches = scope.watches();
        let scope = &self.scope.get_or_init(|| (scope, is_at_rest)).0;
        self.watches().resize_with(watches, Watched::default);
        scope
    }

    /// What is kept; `None` while it is not settled.
    pub(in crate::cluster) fn scope(&self) -> Option<&Scope> {
        self.scope.get().map(|(scope, _)| scope)
    }

    /// Whether a watch has listed its deployments, and shows no such one; it may lag, and `false` says nothing.
    pub(in crate::cluster) fn is_absent(&self, target: &Target) -> bool {
        let Some(watch) = self.watch_of(&target.namespace) else { return false };
        let watches = self.watches();
        watches.get(watch).is_some_and(|watched| watched.is_listed && !watched.known.contains_key(target))
    }

    /// Takes what a watch shows, and files it for those who follow a deployment.
    pub(in crate::cluster) fn take(&self, watch: usize, sight: &Sight) {
        let Some((_, is_at_rest)) = self.scope.get() else { return };
        let mut watches = self.watches();
        let Some(watched) = watches.get_mut(watch) else { return };
        let known = |record: &Arc<Record>| match is_at_rest(record) {
            true => Known::AtRest(record.version.clone()),
            false => Known::Whole(Arc::clone(record)),
        };
        match sight {
            Sight::Begin => {
                watched.listing.clear();
                watched.is_listing = true;
            }
            Sight::Listed(record) => {
                watched.listing.insert(record.target(), Ok(Arc::clone(record)));
            }
            Sight::Unreadable(one) if watched.is_listing => {
                watched.listing.insert(one.target.clone(), Err(Arc::clone(one)));
            }
            Sight::Unreadable(one) => {
                watched.known.insert(one.target.clone(), Known::Unreadable(Arc::clone(one)));
            }
            Sight::Lost(target) => {
                watched.known.remove(target);
            }
            Sight::Complete => {}
            Sight::Now(record) => {
                watched.known.insert(record.target(), known(record));
            }
            Sight::Gone(record) => {
                watched.known.remove(&record.target());
            }
        }
        match sight {
            Sight::Begin => watched.each_store(|store| store.take_sight(sight)),
            Sight::Complete => {
                watched.each_store(|store| store.take_sight(sight));
                let listed = std::mem::take(&mut watched.listing);
                watched.join(&listed);
                let known = |listed| match listed {
                    Ok(record) => known(&record),
                    Err(unreadable) => Known::Unreadable(unreadable),
                };
                watched.known = listed.into_iter().map(|(target, listed)| (target, known(listed))).collect();
                (watched.is_listing, watched.is_listed) = (false, true);
            }
            Sight::Listed(record) | Sight::Now(record) | Sight::Gone(record) => {
                watched.has_shown(&record.version);
                watched.in_store(&record.namespace, |store| store.take_sight(sight));
            }
            Sight::Unreadable(one) => {
                watched.in_store(&one.target.namespace, |store| store.take_sight(sight));
            }
            Sight::Lost(target) => watched.in_store(&target.namespace, |store| store.take_sight(sight)),
        }
    }

    /// Tells those who follow a deployment that a watch is refused.
    pub(in crate::cluster) fn refuse(&self, watch: usize, refusal: &Error) {
        if let Some(watched) = self.watches().get(watch) {
            watched.each_store(|store| store.refuse_heads(refusal));
            for store in watched.joining.iter().filter_map(|(_, store)| store.upgrade()) {
                super::open(&store).refuse_heads(refusal);
            }
        }
    }

    /// Files the records of a namespace there from now on, if a watch shows them; says whether one does.
    pub(super) fn feed(&self, namespace: &Namespace, store: &Arc<Mutex<Store>>) -> bool {
        let Some(watch) = self.watch_of(namespace) else { return false };
        let mut watches = self.watches();
        let Some(watched) = watches.get_mut(watch) else { return false };
        watched.stores.retain(|_, store| store.strong_count() > 0);
        if watched.is_listing || !watched.is_listed {
            watched.joining.push((namespace.clone(), Arc::downgrade(store)));
            return true;
        }
        watched.stores.insert(namespace.clone(), Arc::downgrade(store));
        let mut store = super::open(store);
        store.take_sight(&Sight::Begin);
        for (target, known) in &watched.known {
            match known {
                _ if target.namespace != *namespace => {}
                Known::Whole(record) => store.take_sight(&Sight::Listed(Arc::clone(record))),
                Known::Unreadable(unreadable) => {
                    store.take_sight(&Sight::Unreadable(Arc::clone(unreadable)));
                }
                Known::AtRest(_) => {}
            }
        }
        store.take_sight(&Sight::Complete);
        true
    }

    /// Makes sure that the whole record of a deployment is filed; `read` is the record as somebody has just read it.
    /// Returns `true` if it must be read for that.
    pub(super) fn show(&self, target: &Target, read: Option<&Record>, store: &Mutex<Store>) -> bool {
        let Some(watch) = self.watch_of(&target.namespace) else { return false };
        let watches = self.watches();
        let Some(watched) = watches.get(watch) else { return false };
        let is_newest = |read: &&Record| watched.is_to_come(&read.version);
        match watched.known.get(target) {
            Some(Known::Whole(_)) => {
                if let Some(read) = read.filter(is_newest) {
                    super::open(store).file_head(read);
                }
                false
            }
            Some(Known::AtRest(version)) => {
                let mut store = super::open(store);
                match read {
                    Some(read) if !read.version.is_before(version) => store.file_head(read),
                    _ if store.has_head(&target.name) => {}
                    _ => return store.await_head(&target.name),
                }
                false
            }
            // One that was just created, or that can be read again; the watch will show it.
            Some(Known::Unreadable(_)) | None => {
                if let Some(read) = read.filter(is_newest).filter(|_| watched.is_listed) {
                    super::open(store).file_head(read);
                }
                false
            }
        }
    }

    fn watch_of(&self, namespace: &Namespace) -> Option<usize> {
        self.scope().and_then(|scope| scope.watch_of(namespace))
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn has_shown(&mut self, version: &Version) {
        if self.newest.as_ref().is_none_or(|newest| newest.is_before(version)) {
            self.newest = Some(version.clone());
        }
    }

    /// Whether this version is newer than everything that was shown, so that the watch will show it, too.
    fn is_to_come(&self, version: &Version) -> bool {
        self.newest.as_ref().is_none_or(|newest| newest.is_before(version))
    }

    /// Files a whole listing for those who came while it was under way. What they have read themselves since stays, if it
    /// is newer.
    fn join(&mut self, listed: &BTreeMap<Target, Result<Arc<Record>, Arc<Unreadable>>>) {
        for (namespace, store) in std::mem::take(&mut self.joining) {
            let Some(followed) = store.upgrade() else { continue };
            let mut followed = super::open(&followed);
            for (_, listed) in listed.iter().filter(|(target, _)| target.namespace == namespace) {
                followed.take_sight(&match listed {
                    Ok(record) => Sight::Now(Arc::clone(record)),
                    Err(unreadable) => Sight::Unreadable(Arc::clone(unreadable)),
                });
            }
            followed.complete_heads();
            drop(followed);
            self.stores.insert(namespace, store);
        }
    }

    fn in_store(&self, namespace: &Namespace, file: impl FnOnce(&mut Store)) {
        if let Some(store) = self.stores.get(namespace).and_then(Weak::upgrade) {
            file(&mut super::open(&store));
        }
    }

    fn each_store(&self, file: impl Fn(&mut Store)) {
        for store in self.stores.values().filter_map(Weak::upgrade) {
            file(&mut super::open(&store));
        }
    }
}

#[cfg(test)]
mod tests;
