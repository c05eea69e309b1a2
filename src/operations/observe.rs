//! Get, list, watch and wait: what is there, without changing it.

mod watching;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::view::{self, DeploymentView};
use super::{Operations, Target};
use crate::artifacts::{DeploymentState, Namespace};
use crate::engine::{self, Page};
use crate::error::{Error, ErrorKind, Result};
use crate::plan;
use crate::record::{self, Moment, Standing};

pub use watching::{Until, WatchEnd, WatchUpdate};

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
}

impl Operations {
    /// Looks at one deployment as it is now.
    pub async fn get(&self, target: &Target, full: bool) -> Result<DeploymentView> {
        let held = engine::must_read(&self.engine, target).await?;
        record::check_readable(&held)?;
        engine::wake(&self.engine, &held);
        let observed = engine::look_at(&self.engine, &held).await?;
        let mut view = view::observed(&held, &observed, full);
        if full {
            let revision = engine::read_revision(&self.engine, target, held.head.current.as_ref()).await?;
            view.template = revision.map(|revision| revision.template);
        }
        Ok(view)
    }

    /// Lists deployments, a page at a time: their states as last recorded, or, for FULL, as they are now.
    ///
    /// A page holds at most `page_size` deployments; fewer, when states are asked for.
    pub async fn list(&self, call: &ListCall) -> Result<Listed> {
        let page = Page {
            namespace: call.namespace.as_ref(),
            labels: &call.label_selector,
            size: call.page_size,
            token: &call.page_token,
        };
        let (records, next) = engine::list(&self.engine, &page).await?;
        records.iter().for_each(|held| engine::wake(&self.engine, held));
        let views: Vec<DeploymentView> = if call.full {
            let observed = engine::look_at_all(&self.engine, &records).await?;
            records
                .iter()
                .zip(&observed)
                .map(|(held, observed)| view::observed(held, observed, true))
                .collect()
        } else {
            records.iter().map(view::recorded).collect()
        };
        let deployments = views
            .into_iter()
            .filter(|view| call.states.is_empty() || call.states.contains(&view.status.state))
            .collect();
        Ok(Listed { deployments, next_page_token: next.unwrap_or_default() })
    }

    /// Waits until every component is ready, by watch events only.
    ///
    /// Fails with WAIT_TIMEOUT at the deadline and names the cause; nothing is undone.
    pub(super) async fn wait_ready(
        &self,
        target: &Target,
        until: Instant,
        moment: &Moment,
    ) -> Result<DeploymentView> {
        let mut subscription = engine::subscribe(&self.engine, target);
        let mut last: Option<Arc<DeploymentView>> = None;
        // Once it is ready: until when the keeper's record of that is waited for.
        let mut ready: Option<(Arc<DeploymentView>, Instant)> = None;
        loop {
            let until = ready.as_ref().map_or(until, |(_, recording)| until.min(*recording));
            let next = tokio::select! {
                biased;
                next = subscription.next(until) => next?,
                () = self.shutting_down() => {
                    return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down; the work goes on")
                        .retry_after(Duration::from_secs(1)));
                }
            };
            let Some(snapshot) = next else {
                let ready = ready.map(|(view, _)| DeploymentView::clone(&view));
                return ready.ok_or_else(|| not_ready(target, last.as_deref()));
            };
            let Some(held) = &snapshot.head else {
                // Before anything was shown, the watches may lag behind what this call has just written.
                if last.is_some() {
                    return Err(record::not_found(target));
                }
                continue;
            };
            match moment.standing(held) {
                Standing::Earlier => continue,
                Standing::Replaced => return Err(record::not_found(target)),
                Standing::Same | Standing::Later => {}
            }
            let Some(view) = view::watched(&snapshot, false) else { continue };
            // Whoever hears that it is ready finds it so in the list of revisions.
            if view.status.is_ready() && plan::is_recorded(&held.head, view.status.state) {
                return Ok(DeploymentView::clone(&view));
            }
            match (ready.as_ref(), view.status.is_ready()) {
                (None, true) => ready = Some((Arc::clone(&view), Instant::now() + RECORDING)),
                // It was ready; what comes after that is no part of the answer.
                (Some((view, _)), false) => return Ok(DeploymentView::clone(view)),
                (Some(_), true) | (None, false) => {}
            }
            last = Some(view);
        }
    }
}

fn not_ready(target: &Target, last: Option<&DeploymentView>) -> Error {
    let why = match last {
        Some(view) if !view.status.message.is_empty() => view.status.message.clone(),
        _ => "the cluster has shown nothing of it yet".to_owned(),
    };
    Error::new(
        ErrorKind::WaitTimeout,
        format!(
            "deployment {} is not ready yet ({why}); everything is written and the start goes on, call GetDeployment \
             to follow it",
            target.name
        ),
    )
    .with("applied", "true")
}
