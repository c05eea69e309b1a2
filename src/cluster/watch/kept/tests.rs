//! What those who follow a deployment are shown of its record, without a watch of their own.

use jiff::Timestamp;

use super::*;
use crate::artifacts::{DeploymentName, DeploymentState};
use crate::record::Head;

/// A record with a version; it is at rest if its state is recorded.
fn held(name: &str, version: u32, state: DeploymentState) -> Arc<Record> {
    let mut head = Head::new("Shop".to_owned(), Timestamp::UNIX_EPOCH);
    head.recorded.state = state;
    Arc::new(Record {
        head,
        namespace: Namespace::new("default").expect("a name"),
        name: DeploymentName::new(name).expect("a name"),
        uid: format!("{name}-uid"),
        terminating: false,
        version: Version::new(version.to_string()),
        stored: Default::default(),
    })
}

fn resting(name: &str, version: u32) -> Arc<Record> {
    held(name, version, DeploymentState::Active)
}

fn busy(name: &str, version: u32) -> Arc<Record> {
    held(name, version, DeploymentState::Deploying)
}

/// The keeper's watch after its list, and the store of the namespace.
fn fed(listed: &[Arc<Record>]) -> (Kept, Arc<Mutex<Store>>) {
    let kept = Kept::default();
    kept.settle(Scope::All, |record| record.head.recorded.state != DeploymentState::Deploying);
    kept.take(0, &Sight::Begin);
    listed.iter().for_each(|record| kept.take(0, &Sight::Listed(Arc::clone(record))));
    kept.take(0, &Sight::Complete);
    let store = Arc::default();
    assert!(kept.feed(&listed[0].namespace, &store));
    (kept, store)
}

/// The version of the record that is shown; `None`: nothing is shown until it was read.
fn shown(store: &Mutex<Store>, record: &Record) -> Option<Option<String>> {
    let mut store = super::super::open(store);
    let head = store.snapshot(&record.name).head.clone();
    (!store.awaits_head(&record.name)).then(|| head.map(|head| head.version.as_str().to_owned()))
}

fn version(version: &str) -> Option<Option<String>> {
    Some(Some(version.to_owned()))
}

#[test]
fn a_record_with_something_left_to_do_is_shown_at_once() {
    let (kept, store) = fed(&[busy("shop", 5)]);
    let shop = busy("shop", 5);
    assert!(!kept.show(&shop.target(), None, &store));
    assert_eq!(shown(&store, &shop), version("5"));
    kept.take(0, &Sight::Now(resting("shop", 6)));
    assert_eq!(shown(&store, &shop), version("6"), "whoever follows it is shown all of it");
    kept.take(0, &Sight::Gone(resting("shop", 7)));
    assert_eq!(shown(&store, &shop), Some(None));
}

#[test]
fn a_record_at_rest_is_read_once() {
    let shop = resting("shop", 5);
    let (kept, store) = fed(&[Arc::clone(&shop)]);
    assert!(kept.show(&shop.target(), None, &store), "somebody must read it");
    assert!(!kept.show(&shop.target(), Some(&resting("shop", 4)), &store), "it is being read");
    assert_eq!(shown(&store, &shop), None, "what is not known is not shown as gone");
    super::super::open(&store).file_head(&shop);
    assert_eq!(shown(&store, &shop), version("5"));
    assert!(!kept.show(&shop.target(), None, &store));
}

#[test]
fn a_record_that_its_caller_has_read_is_not_read_again_and_never_goes_back() {
    let shop = resting("shop", 5);
    let (kept, store) = fed(&[Arc::clone(&shop), resting("blog", 6)]);
    assert!(!kept.show(&shop.target(), Some(&busy("shop", 9)), &store));
    assert_eq!(shown(&store, &shop), version("9"));
    kept.take(0, &Sight::Now(busy("shop", 8)));
    assert_eq!(shown(&store, &shop), version("9"), "the watch lags");
    kept.take(0, &Sight::Now(resting("shop", 10)));
    assert_eq!(shown(&store, &shop), version("10"));
}

#[test]
fn a_record_that_was_just_created_is_shown_and_one_that_is_gone_is_not() {
    let (kept, store) = fed(&[resting("blog", 6)]);
    let shop = busy("shop", 7);
    assert!(kept.is_absent(&shop.target()));
    assert!(!kept.show(&shop.target(), Some(&shop), &store));
    assert_eq!(shown(&store, &shop), version("7"));
    kept.take(0, &Sight::Gone(busy("shop", 8)));
    assert!(!kept.show(&shop.target(), Some(&shop), &store));
    assert_eq!(shown(&store, &shop), Some(None), "it was read before it went");
}

#[test]
fn a_new_list_ends_every_doubt() {
    let shop = resting("shop", 5);
    let (kept, store) = fed(&[Arc::clone(&shop), busy("blog", 6)]);
    assert!(kept.show(&shop.target(), None, &store));
    kept.take(0, &Sight::Begin);
    kept.take(0, &Sight::Complete);
    assert_eq!(shown(&store, &shop), Some(None));
    assert!(kept.is_absent(&shop.target()));
}

#[test]
fn no_watch_shows_another_namespace() {
    let kept = Kept::default();
    let (store, shop) = (Arc::default(), busy("shop", 5));
    assert!(!kept.feed(&shop.namespace, &store), "nothing is settled");
    kept.settle(Scope::Namespaces(vec![Namespace::new("other").expect("a name")]), |_| true);
    assert!(!kept.feed(&shop.namespace, &store) && !kept.is_absent(&shop.target()));
}

#[test]
fn who_comes_in_the_middle_of_a_list_is_shown_all_of_it_at_its_end() {
    let kept = Kept::default();
    let _ = kept.settle(Scope::All, |record| record.head.recorded.state == DeploymentState::Active);
    let namespace = busy("shop", 5).namespace.clone();
    // The first list, and one after it: what is at rest and what is not.
    for round in [5, 7] {
        let store = Arc::default();
        kept.take(0, &Sight::Begin);
        kept.take(0, &Sight::Listed(busy("shop", round)));
        kept.take(0, &Sight::Listed(resting("blog", round)));
        assert!(kept.feed(&namespace, &store));
        kept.take(0, &Sight::Complete);
        for record in [busy("shop", round), resting("blog", round)] {
            assert_eq!(shown(&store, &record), version(&round.to_string()), "{}", record.name);
        }
        // It hears of what comes then.
        kept.take(0, &Sight::Now(busy("shop", round + 1)));
        assert_eq!(shown(&store, &busy("shop", round)), version(&(round + 1).to_string()));
    }
}

#[test]
fn whoever_begins_to_follow_wakes_nobody_who_does() {
    let shop = resting("shop", 5);
    let (kept, store) = fed(&[Arc::clone(&shop)]);
    let follow = |read: &Record| {
        kept.show(&shop.target(), Some(read), &store);
        super::super::open(&store).version(&shop.name)
    };
    let first = follow(&shop);
    assert_eq!(follow(&shop), first);
    assert_ne!(follow(&resting("shop", 6)), first, "what is newer is news");
}

#[test]
fn a_record_that_cannot_be_read_is_neither_gone_nor_shown_as_it_was() {
    let shop = busy("shop", 5);
    let damaged = || {
        let why = crate::record::damaged_record(&shop.name, "is no record");
        Arc::new(Unreadable { target: shop.target(), uid: shop.uid.clone(), created: None, why })
    };
    let is_shown = |store: &Mutex<Store>| super::super::open(store).snapshot(&shop.name).unreadable.is_some();
    let (kept, store) = fed(&[Arc::clone(&shop)]);
    kept.take(0, &Sight::Unreadable(damaged()));
    assert!(is_shown(&store) && !kept.is_absent(&shop.target()));
    // The same where all are listed anew, and for whoever comes then.
    kept.take(0, &Sight::Begin);
    kept.take(0, &Sight::Unreadable(damaged()));
    let joining = Arc::default();
    assert!(kept.feed(&shop.namespace, &joining));
    kept.take(0, &Sight::Complete);
    let later = Arc::default();
    assert!(kept.feed(&shop.namespace, &later));
    assert!(is_shown(&store) && is_shown(&joining) && is_shown(&later) && !kept.is_absent(&shop.target()));
    // Somebody restores it.
    kept.take(0, &Sight::Now(busy("shop", 7)));
    assert!(!is_shown(&later) && shown(&later, &shop) == version("7"));
    kept.take(0, &Sight::Unreadable(damaged()));
    kept.take(0, &Sight::Lost(shop.target()));
    assert!(!is_shown(&later) && kept.is_absent(&shop.target()));
}
