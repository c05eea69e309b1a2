//! Wire to domain: requests that only look.

use std::time::Duration;

use super::super::faults::{Faults, enumeration};
use super::duration;
use crate::error::Result;
use crate::operations::{ListCall, RevisionsCall, Settings, Target, Until};
use crate::proto;
use crate::status::DeploymentState;

/// Deployments of a page when the caller names no number, and at the most.
pub(in super::super) const PAGE_SIZE: u32 = 100;
pub(in super::super) const MAX_PAGE_SIZE: u32 = 500;
/// The longest label selector, in bytes: it becomes part of an address.
const MAX_SELECTOR: usize = 1024;
/// The longest page token, in bytes: the API server's own names one object. A longer one would make an address that it
/// does not read.
const MAX_TOKEN: usize = 4096;
/// A heartbeat when the caller names none, and its range.
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

fn is_full(view: i32, faults: &mut Faults) -> bool {
    let view: proto::DeploymentView = enumeration(view, "view", faults);
    view == proto::DeploymentView::Full
}

pub(in super::super) fn get(
    request: &proto::GetDeploymentRequest,
    settings: &Settings,
) -> Result<(Target, bool)> {
    let mut faults = Faults::default();
    let target = faults.target(&request.namespace, &request.name, settings);
    let full = is_full(request.view, &mut faults);
    faults.finish(target.map(|target| (target, full)))
}

pub(in super::super) fn list(
    request: proto::ListDeploymentsRequest,
    settings: &Settings,
) -> Result<ListCall> {
    let mut faults = Faults::default();
    let all = request.namespace == "-";
    let namespace = if all { None } else { faults.namespace(&request.namespace, &settings.namespace) };
    let page_size = page_size(request.page_size, &mut faults);
    let states = request
        .states
        .iter()
        .enumerate()
        .filter_map(|(index, state)| {
            let field = format!("states[{index}]");
            if *state == 0 {
                faults.add(field, "must be a state; leave the list empty for all");
                return None;
            }
            let state: proto::DeploymentState = enumeration(*state, &field, &mut faults);
            deployment_state(state)
        })
        .collect();
    if request.label_selector.len() > MAX_SELECTOR {
        faults.add("label_selector", format!("must have {MAX_SELECTOR} bytes at the most"));
    }
    check_token(&request.page_token, &mut faults);
    let full = is_full(request.view, &mut faults);
    faults.finish(Some(ListCall {
        namespace,
        page_size,
        page_token: request.page_token,
        label_selector: request.label_selector,
        states,
        full,
    }))
}

fn check_token(token: &str, faults: &mut Faults) {
    if token.len() > MAX_TOKEN {
        faults.add("page_token", "is longer than any token; send the one that came with the page before");
    }
}

fn page_size(asked: i32, faults: &mut Faults) -> u32 {
    match u32::try_from(asked) {
        Ok(0) => PAGE_SIZE,
        Ok(size) => size.min(MAX_PAGE_SIZE),
        Err(_) => {
            faults.add("page_size", "must not be negative");
            PAGE_SIZE
        }
    }
}

pub(in super::super) fn revisions(
    request: proto::ListRevisionsRequest,
    settings: &Settings,
) -> Result<RevisionsCall> {
    let mut faults = Faults::default();
    let target = faults.target(&request.namespace, &request.name, settings);
    let page_size = page_size(request.page_size, &mut faults);
    check_token(&request.page_token, &mut faults);
    faults.finish(target.map(|target| RevisionsCall { target, page_size, page_token: request.page_token }))
}

fn deployment_state(state: proto::DeploymentState) -> Option<DeploymentState> {
    Some(match state {
        proto::DeploymentState::Unspecified => return None,
        proto::DeploymentState::Deploying => DeploymentState::Deploying,
        proto::DeploymentState::Active => DeploymentState::Active,
        proto::DeploymentState::Degraded => DeploymentState::Degraded,
        proto::DeploymentState::Failed => DeploymentState::Failed,
        proto::DeploymentState::Stopped => DeploymentState::Stopped,
        proto::DeploymentState::Deleting => DeploymentState::Deleting,
    })
}

/// A WatchDeployment, decoded.
pub(in super::super) struct WatchCall {
    pub(in super::super) target: Target,
    pub(in super::super) until: Until,
    pub(in super::super) heartbeat: Duration,
    pub(in super::super) full: bool,
}

pub(in super::super) fn watch(
    request: &proto::WatchDeploymentRequest,
    settings: &Settings,
) -> Result<WatchCall> {
    let mut faults = Faults::default();
    let target = faults.target(&request.namespace, &request.name, settings);
    let until: proto::WatchUntil = enumeration(request.until, "until", &mut faults);
    let until = match until {
        proto::WatchUntil::Unspecified | proto::WatchUntil::Forever => Until::Forever,
        proto::WatchUntil::Ready => Until::Ready,
        proto::WatchUntil::Settled => Until::Settled,
        proto::WatchUntil::Gone => Until::Gone,
    };
    let interval = duration(request.heartbeat_interval.as_ref(), "heartbeat_interval", &mut faults);
    let heartbeat = interval.unwrap_or(HEARTBEAT);
    if !HEARTBEAT_RANGE.contains(&heartbeat) {
        faults.add("heartbeat_interval", "must be from 1 s to 10 min");
    }
    let full = is_full(request.view, &mut faults);
    faults.finish(target.map(|target| WatchCall { target, until, heartbeat, full }))
}
