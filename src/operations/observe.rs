//! Get, list, watch and wait: what is there, without changing it.

mod or_back;
mod pages;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::view::{self, DeploymentView};
use super::{Operations, Target};
use crate::artifacts::{DeploymentState, Happening, Namespace, Observed};
use crate::callers::{Ask, Deed};
use crate::engine::{self, Heads, Page};
use crate::error::{Error, ErrorKind, Result, contract_word};
use crate::plan;
use crate::record::{self, Head, Moment, Phase, Record, Standing};
use crate::status;

pub use watching::{Until, WatchEnd, WatchUpdate};

/// Revisions of a list that are read at a time.
const READS: usize = 16;
/// How long the look before a WAIT_TIMEOUT may take, at the least and at the most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// Says whether what was waited for may still come about: whoever waits longer than one call may take asks that.
pub(super) const GOES_ON: &str = "goes_on";
/// What is said of a failure while it is not yet known whether the revision before is put back.
const TO_BE_PUT_BACK: &str = "; the revision before is to be put back";
/// How long the answer that all is ready waits until that is recorded.
const RECORDING: Duration = Duration::from_secs(1);

/// A ListDeployments, decoded.
#[derive(Clone, Debug)]
pub struct ListCall {
    /// The namespace; `None`: all.
    pub namespace: Option<Namespace>,
    /// Deployments per page.
    pub page_size: u32,
    /// Where to go on; empty: at the start.
    pub page_token: String,
    /// A label selector; empty: all.
    pub label_selector: String,
    /// The states asked for; empty: all.
    pub states: Vec<DeploymentState>,
    /// Whether the workloads are looked at.
    pub full: bool,
}

/// The answer to a ListDeployments.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The deployments of this page.
    pub deployments: Vec<DeploymentView>,
    /// Where the next page starts; empty: there is none.
    pub next_page_token: String,
    /// Where this page starts.
    page: pages::Page,
}

impl Listed {
    /// Leaves all but so many deployments to the next page.
    pub fn cut(&mut self, whole: usize) {
        if whole >= self.deployments.len() {
            return;
        }
        self.deployments.truncate(whole);
        if let Some(last) = self.deployments.last() {
            self.next_page_token = self.page.behind(last.namespace.as_str(), last.name.as_str());
        }
    }
}

impl Operations {
    /// Looks at one deployment as it is now.
    pub async fn get(&self, target: &Target, full: bool) -> Result<DeploymentView> {
        let ask = Ask::new(Deed::Get, Some(&target.namespace)).with_events(full);
        self.looking(&ask, Box::pin(self.got(target, full))).await
    }

    async fn got(&self, target: &Target, full: bool) -> Result<DeploymentView> {
        let record = engine::must_read(&self.engine, target).await?;
        record::check_readable(&record)?;
        engine::wake(&self.engine, &record);
        let happenings = async {
            if !full {
                return Ok(None);
            }
            engine::happenings(&self.engine, &record.namespace).await.map(Some)
        };
        let (observed, happenings) = tokio::try_join!(engine::look_at(&self.engine, &record), happenings)?;
        let mut view = match happenings {
            Some(happenings) => self.full(&record, &observed, &happenings.all).await?,
            None => {
                let view = view::looked(&self.engine, &record, &observed, false).await;
                if view.drift.is_empty() {
                    view
                } else {
                    self.beside_revision(&record, &observed, false).await?.0
                }
            }
        };
        if record.is_deleting() {
            view::tell_held_back(&mut view, &observed, &engine::held_back(&self.engine, target).await?);
        }
        Ok(view)
    }

    /// The FULL view of a deployment that was looked at.
    async fn full(
        &self,
        record: &Record,
        observed: &Observed,
        happenings: &[Happening],
    ) -> Result<DeploymentView> {
        let (view, revision) = self.beside_revision(record, observed, true).await?;
        let events = status::happenings(record, observed, happenings);
        let template = revision.map(|revision| Arc::new(revision.template));
        Ok(DeploymentView { template, events, ..view })
    }

    /// The view of a deployment that was looked at, where what was deployed is compared with it field by field; its Secrets
    /// as well, if it is the full one.
    async fn beside_revision(
        &self,
        record: &Record,
        observed: &Observed,
        full: bool,
    ) -> Result<(DeploymentView, Option<plan::Revision>)> {
        let current = record.head.current.as_ref();
        let target = record.target();
        let revision = engine::read_revision(&self.engine, &target, current);
        let (revision, observed) = if full {
            tokio::try_join!(revision, engine::with_secrets(&self.engine, record, observed))?
        } else {
            (revision.await?, observed.clone())
        };
        let rendered = revision.as_ref().map(|revision| revision.rendered_with(record.head.controllers()));
        let rendered = rendered.unwrap_or_default();
        let mut view = view::looked_beside(&self.engine, record, &observed, full, &rendered).await;
        if let Some(lost) = current.filter(|_| revision.is_none() && !record.is_deleting()) {
            view.tell(record::tell_lost_revision(lost));
        }
        Ok((view, revision))
    }

    /// What happened in the namespaces of these deployments: one list for each namespace.
    async fn happenings_of(&self, records: &[Record]) -> Result<BTreeMap<Namespace, Arc<Vec<Happening>>>> {
        let namespaces: BTreeSet<&Namespace> = records.iter().map(|record| &record.namespace).collect();
        let looks = namespaces.into_iter().map(|namespace| async move {
            let happenings = engine::happenings(&self.engine, namespace).await?;
            Ok::<_, Error>((namespace.clone(), happenings.all))
        });
        Ok(try_join_all(looks).await?.into_iter().collect())
    }

    /// Lists deployments, a page at a time: their states as last recorded, or, for FULL, as they are now.
    ///
    /// A page holds at most `page_size` deployments; fewer, when states are asked for.
    pub async fn list(&self, call: &ListCall) -> Result<Listed> {
        let ask = Ask::new(Deed::List, call.namespace.as_ref()).with_events(call.full);
        self.looking(&ask, Box::pin(self.listed(call))).await
    }

    async fn listed(&self, call: &ListCall) -> Result<Listed> {
        let begin = pages::Page::of(call)?;
        let page = Page {
            namespace: call.namespace.as_ref(),
            labels: &call.label_selector,
            size: call.page_size,
            token: &begin.token,
        };
        let Heads { mut records, mut unreadable, next } = engine::list(&self.engine, &page).await?;
        records.retain(|record| begin.has(record.namespace.as_str(), record.name.as_str()));
        unreadable.retain(|one| begin.has(one.target.namespace.as_str(), one.target.name.as_str()));
        records.iter().for_each(|record| engine::wake(&self.engine, record));
        let mut views: Vec<DeploymentView> = if call.full {
            let observed = engine::look_at_all(&self.engine, &records).await?;
            let happenings = self.happenings_of(&records).await?;
            let looked = records.into_iter().zip(observed);
            let views = looked.map(|(record, observed)| {
                let happenings = happenings.get(&record.namespace).cloned().unwrap_or_default();
                let own = self.clone();
                async move { own.full(&record, &observed, &happenings).await }
            });
            stream::iter(views).buffered(READS).try_collect().await?
        } else {
            records.iter().map(view::recorded).collect()
        };
        // One that cannot be read hides none of the others, nor itself.
        views.extend(unreadable.into_iter().map(|one| view::unreadable(one, call.full)));
        views.sort_by_cached_key(|view| pages::place(view.namespace.as_str(), view.name.as_str()));
        let deployments = views
            .into_iter()
            .filter(|view| call.states.is_empty() || call.states.contains(&view.status.state))
            .collect();
        Ok(Listed { deployments, next_page_token: begin.next(next), page: begin })
    }

    /// Waits until every component is ready, by watch events only, or until one has failed for good; nothing older than
    /// the record that was just written counts.
    ///
    /// Fails with WAIT_TIMEOUT at the deadline, or when waiting is in vain, and names the cause; nothing is undone. Before
    /// that it looks once: the watches may lag behind, and show the parts of a deployment one after the other.
    pub(super) async fn wait_ready(&self, written: &Record, until: Instant) -> Result<DeploymentView> {
        let (target, moment) = (&written.target(), &written.moment());
        let mut subscription = engine::subscribe(&self.engine, target, Some(written));
        let mut last: Option<Arc<DeploymentView>> = None;
        // Once it is ready: until when the keeper's record of that is waited for.
        let mut ready: Option<(Arc<DeploymentView>, Instant)> = None;
        let mut again: Option<Instant> = None;
        let began = Instant::now();
        loop {
            let end = ready.as_ref().map_or(until, |(_, recording)| until.min(*recording));
            let wake = again.map_or(end, |again| end.min(again));
            let next = tokio::select! {
                biased;
                next = subscription.next(wake) => next?,
                () = self.shutting_down() => {
                    return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down; the work goes on")
                        .retry_after(Duration::from_secs(1)));
                }
            };
            let Some(snapshot) = next else {
                if let Some((view, _)) = ready.as_ref().filter(|_| Instant::now() >= end) {
                    return Ok(DeploymentView::clone(view));
                }
                if Instant::now() < until {
                    // Nothing has changed: the time to judge it again has come.
                    subscription.replay();
                    again = None;
                    continue;
                }
                return self.at_the_end(written, began, last.as_deref()).await;
            };
            let Some(record) = &snapshot.head else {
                // Before anything was shown, the watches may lag behind what this call has just written.
                if last.is_some() {
                    return Err(record::not_found(target));
                }
                continue;
            };
            match moment.standing(record) {
                Standing::Earlier => continue,
                Standing::Replaced => return Err(record::not_found(target)),
                Standing::Same | Standing::Later => {}
            }
            let Some((view, again_in)) = view::watched(&self.engine, &snapshot, false).await else {
                continue;
            };
            again = again_in.map(|again_in| Instant::now() + again_in);
            // Whoever hears that it is ready finds it so in the list of revisions.
            if view.status.is_ready() && plan::is_recorded(&record.head, &view.status) {
                return Ok(DeploymentView::clone(&view));
            }
            match (ready.as_ref(), view.status.is_ready()) {
                (None, true) => ready = Some((Arc::clone(&view), Instant::now() + RECORDING)),
                // It was ready; what comes after that is no part of the answer.
                (Some((view, _)), false) => return Ok(DeploymentView::clone(view)),
                (Some(_), true) | (None, false) => {}
            }
            if view.is_in_vain()
                && let Some(view) = self.look_once(target, moment, until).await
                && (view.status.is_ready() || view.is_in_vain())
            {
                let head = &record.head;
                return if view.status.is_ready() { Ok(view) } else { Err(hopeless(written, &view, head)) };
            }
            last = Some(view);
        }
    }

    /// The end of a wait at its deadline: a last look decides.
    async fn at_the_end(
        &self,
        written: &Record,
        began: Instant,
        last: Option<&DeploymentView>,
    ) -> Result<DeploymentView> {
        // What is left of the caller's own deadline is for this look and the answer.
        let patience = (began.elapsed() / 20).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        match self.look_once(&written.target(), &written.moment(), Instant::now() + patience).await {
            Some(view) if view.status.is_ready() => Ok(view),
            Some(view) => Err(not_ready(written, Some(&view))),
            None => Err(not_ready(written, last)),
        }
    }

    /// The deployment as it is now; `None` if the cluster does not say so in time, or it is another one by now.
    async fn look_once(&self, target: &Target, moment: &Moment, until: Instant) -> Option<DeploymentView> {
        let look = async {
            let record = engine::must_read(&self.engine, target).await?;
            let observed = engine::look_at(&self.engine, &record).await?;
            let view = view::looked(&self.engine, &record, &observed, false).await;
            Ok::<_, Error>((moment.standing(&record), view))
        };
        match tokio::time::timeout_at(until, look).await {
            Ok(Ok((Standing::Same | Standing::Later, view))) => Some(view),
            Ok(Ok((Standing::Earlier | Standing::Replaced, _)) | Err(_)) | Err(_) => None,
        }
    }
}

/// The end of a wait that more time would not help.
fn hopeless(written: &Record, view: &DeploymentView, head: &Head) -> Error {
    let then = match head.phase {
        _ if head.pledge.is_some() => TO_BE_PUT_BACK,
        Phase::Incomplete => "; correct the cause and deploy again",
        _ => "; everything is written and stays, correct the cause and deploy again",
    };
    let text = format!(
        "deployment {} does not become ready without a change ({}){then}",
        written.name, view.status.message
    );
    waited_for(Error::new(ErrorKind::WaitTimeout, text).with(GOES_ON, "false"), written, Some(view))
}

fn not_ready(written: &Record, last: Option<&DeploymentView>) -> Error {
    let why = match last {
        Some(view) if !view.status.message.is_empty() => view.status.message.clone(),
        _ => "the cluster has shown nothing of it yet".to_owned(),
    };
    let text = format!(
        "deployment {} is not ready yet ({why}); everything is written and the start goes on",
        written.name
    );
    waited_for(Error::new(ErrorKind::WaitTimeout, text).with(GOES_ON, "true"), written, last)
}

/// Adds what was waited for: the revision, the component, its state and the reason.
fn waited_for(error: Error, written: &Record, view: Option<&DeploymentView>) -> Error {
    let error = error.with("applied", "true");
    let error = match &written.head.current {
        Some(current) => error.with("revision", current.number.to_string()),
        None => error,
    };
    let Some(component) = view.and_then(|view| view.status.blocking()) else { return error };
    let error = error.with("component", component.name.to_string());
    let error = error.with("state", contract_word(&component.state));
    match component.reason {
        Some(reason) => error.with("reason", contract_word(&reason)),
        None => error,
    }
}
