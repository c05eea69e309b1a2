//! The streams of one connection: how many are open, and the end of those whose readers take nothing.
//!
//! hyper asks an answer for its next frame only when its caller has room for it. So an answer that is not asked has a
//! reader that takes nothing; what changes meanwhile is not collected, and a watch goes on with what is newest.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::capacity::Capacity;
use super::cuts::Cuts;
use crate::metrics::{Cut, Limit, Metrics};

tokio::task_local! {
    static CURRENT: Progress;
}

/// Since when there is something for the reader of one stream; `None`: it has taken all there was.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Option<Instant>>>);

impl Progress {
    /// That of the stream whose task this is.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// There is something for the reader.
    pub(super) fn offered(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// The reader asks for more.
    pub(super) fn taken(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out the streams of one connection, each in a task of its own; cheap to clone.
#[derive(Clone)]
pub(super) struct Streams {
    open: watch::Sender<usize>,
    tasks: TaskTracker,
    /// The most that may be open at once.
    most: usize,
    /// How long a reader may take nothing of what there is for it.
    taking: Duration,
    cuts: Cuts,
    metrics: Metrics,
}

impl Streams {
    pub(super) fn new(capacity: &Capacity, cuts: Cuts, metrics: Metrics) -> Self {
        let most = usize::try_from(capacity.streams).unwrap_or(usize::MAX);
        let (open, tasks) = (watch::Sender::new(0), TaskTracker::new());
        Self { open, tasks, most, taking: capacity.taking, cuts, metrics }
    }

    /// Resolves once no stream has been open for so long.
    pub(super) async fn idle(&self, time: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // An ended sender would mean that this very value is gone.
            let _ = open.wait_for(|open| *open == 0).await;
            tokio::select! {
                // A stream that begins at the last moment is seen first.
                biased;
                _ = open.wait_for(|open| *open > 0) => {}
                () = sleep(time) => return,
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut are_all = false;
        self.open.send_modify(|open| {
            *open += 1;
            are_all = *open == self.most;
        });
        // Its client waits with the next one, and nothing comes that could be refused.
        if are_all {
            self.metrics.limit_hit(Limit::StreamsOfConnection);
        }
        let progress = Progress::default();
        let counted = Counted(self.open.clone());
        let watched = Watched {
            stream: Box::pin(CURRENT.scope(progress.clone(), stream)),
            progress,
            deadline: None,
            taking: self.taking,
            cuts: self.cuts.clone(),
            _counted: counted,
        };
        self.tasks.spawn(watched);
    }
}

struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// A stream that ends, with a reset, once its reader has taken nothing for too long.
struct Watched {
    stream: Pin<Box<dyn Future<Output = ()> + Send>>,
    progress: Progress,
    deadline: Option<(Instant, Pin<Box<Sleep>>)>,
    taking: Duration,
    cuts: Cuts,
    _counted: Counted,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = self.progress.since() else {
            self.deadline = None;
            return Poll::Pending;
        };
        if self.deadline.as_ref().is_none_or(|(of, _)| *of != since) {
            self.deadline = Some((since, Box::pin(sleep_until(since + self.taking))));
        }
        if let Some((_, deadline)) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            self.cuts.cut(Cut::SlowReader);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_no_stream_is_open() {
        let streams = Streams::new(&Capacity::default(), Cuts::new(Metrics::default()), Metrics::default());
        let (end, ended) = oneshot::channel::<()>();
        streams.execute(async move {
            let _ = ended.await;
        });
        let begun = Instant::now();
        let ends = async {
            sleep(Duration::from_secs(60)).await;
            let _ = end.send(());
        };
        tokio::join!(streams.idle(Duration::from_secs(10)), ends);
        assert_eq!(begun.elapsed().as_secs(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_and_one_that_waits_is_not() {
        let metrics = Metrics::default();
        let patience = Capacity::default().taking;
        let streams = Streams::new(&Capacity::default(), Cuts::new(metrics.clone()), metrics.clone());
        streams.execute(async {
            Progress::current().unwrap().offered();
            std::future::pending::<()>().await;
        });
        streams.execute(async move {
            let progress = Progress::current().unwrap();
            progress.offered();
            progress.taken();
            sleep(patience * 3).await;
        });
        let begun = Instant::now();
        let mut open = streams.open.subscribe();
        open.wait_for(|open| *open == 1).await.unwrap();
        assert_eq!(begun.elapsed(), patience);
        open.wait_for(|open| *open == 0).await.unwrap();
        assert_eq!(begun.elapsed(), patience * 3);
        assert!(metrics.text().contains("cut_total{reason=\"slow_reader\"} 1"), "{}", metrics.text());
    }
}
