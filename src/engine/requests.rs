//! Requests that come again: a named one that was carried out is not carried out twice.

use tokio::time::Instant;

use super::{Engine, look};
use crate::artifacts::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Mixed, Named};
use crate::record::{self, Record, Request, RequestOutcome};

/// What is known of a named request.
pub(super) enum Known {
    /// Nothing; the record as it is now.
    New(Option<Record>),
    /// It was carried out, with this outcome.
    Answered(Record, RequestOutcome),
}

/// Looks for a named request in a record as it was read; while another call carries the same one out, waits for it.
///
/// `is_keyed`: it holds values that may be secret. Fails with REQUEST_ID_REUSED if another request had the name.
pub(super) async fn known(
    engine: &Engine,
    target: &Target,
    record: Option<Record>,
    named: &Named,
    is_keyed: bool,
    deadline: Instant,
) -> Result<Known> {
    let mut record = record;
    loop {
        let Some(found) = record else { return Ok(Known::New(None)) };
        if record::check_readable(&found).is_err() {
            return Ok(Known::New(Some(found)));
        }
        if let Some(entry) = found.head.answered(named.id(), engine.clock.now()) {
            check(engine, target, &found, named, &entry.request, is_keyed).await?;
            let outcome = entry.outcome;
            return Ok(Known::Answered(found, outcome));
        }
        let operation = found.head.carries_out(named.id());
        let remaining = operation.map(|operation| operation.remaining(engine.unrenewed_for(&found)));
        match remaining.filter(|remaining| !remaining.is_zero()) {
            Some(remaining) => {
                let until = deadline.min(engine.clock.elapsed() + remaining);
                record = after_it(engine, target, &found, named.id(), until).await?;
                engine.is_in_time(deadline)?;
            }
            // Nobody carries it out, or whoever did has died: it is begun, or begun anew.
            None => return Ok(Known::New(Some(found))),
        }
    }
}

/// Refuses a request that asks for something else than the one of its name did.
async fn check(
    engine: &Engine,
    target: &Target,
    record: &Record,
    named: &Named,
    recorded: &Request,
    is_keyed: bool,
) -> Result<()> {
    let key = match is_keyed {
        true => {
            let revision = look::read_revision(engine, target, record.head.current.as_ref()).await?;
            revision.and_then(|revision| revision.key)
        }
        false => None,
    };
    let mixed = match (&key, is_keyed) {
        (_, false) => Mixed::Plain,
        (Some(key), true) => Mixed::Key(key),
        (None, true) => Mixed::Unknown,
    };
    if named.is(recorded, mixed) { Ok(()) } else { Err(record::reused(named.id())) }
}

/// Waits, until then, for the end of the operation that carries the request out; returns the record after it.
async fn after_it(
    engine: &Engine,
    target: &Target,
    record: &Record,
    id: &str,
    until: Instant,
) -> Result<Option<Record>> {
    let mut subscription = look::subscribe(engine, target, Some(record));
    loop {
        let snapshot = tokio::select! {
            biased;
            snapshot = subscription.next(until) => snapshot?,
            () = engine.shutting_down() => {
                return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down; the work goes on"));
            }
        };
        let is_over = match &snapshot {
            None => true,
            Some(snapshot) => {
                // The watches may lag behind the record that was read.
                let is_behind = snapshot.head.as_ref().is_none_or(|head| head.uid == record.uid);
                let carries_out = |head: &Record| head.head.carries_out(id).is_some();
                !is_behind || !snapshot.head.as_ref().is_some_and(|head| carries_out(head))
            }
        };
        if is_over {
            return look::read(engine, target).await;
        }
    }
}
