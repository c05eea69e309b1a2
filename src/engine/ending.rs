//! Who sees to the end of a teardown, which may be long after its caller has left.

use futures::future::BoxFuture;
use tracing::Instrument;

use super::{Engine, ended_early};
use crate::cluster::Terminating;
use crate::error::Result;
use crate::record::Record;

/// The end of a teardown: what is left at last.
pub struct Ending(BoxFuture<'static, Result<Vec<Terminating>>>);

impl Ending {
    /// A task sees to the end, whether or not anybody waits for that. Of the calls that join a teardown only the first
    /// starts a task, and the others look by themselves while they wait: however often somebody tears down a deployment
    /// that does not go, no tasks pile up.
    pub(super) fn new(
        engine: &Engine,
        record: &Record,
        joins: bool,
        seeing: impl Future<Output = Result<Vec<Terminating>>> + Send + 'static,
    ) -> Self {
        let most = if joins { 1 } else { usize::MAX };
        let Some(opened) = engine.endings.open(record.uid.clone(), most) else {
            return Self(Box::pin(seeing));
        };
        let seeing = async move {
            let _opened = opened;
            seeing.await
        };
        let task = engine.tasks.spawn(seeing.in_current_span());
        Self(Box::pin(async move { task.await.map_err(|failure| ended_early("teardown", &failure))? }))
    }

    /// Waits until everything is gone or patience is at its end; returns what is still there.
    pub async fn seen(self) -> Result<Vec<Terminating>> {
        self.0.await
    }
}
