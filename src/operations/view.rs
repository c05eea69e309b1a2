//! What callers are told of a deployment: its records and its status, put together.

use jiff::Timestamp;

use super::{Operations, Target};
use crate::artifacts::{DeploymentName, Kind, Namespace, ObjectRef, Observed, Stage};
use crate::cluster::{Held, Member, MemberState, Phase, Recorded, RecordedComponent};
use crate::error::{Error, ErrorKind, Result};
use crate::status::{self, DeploymentState, Expected, ExpectedComponent, Status};
use crate::template::Template;

/// A deployment as callers see it.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: DeploymentName,
    /// Its identity: a deployment of the same name made later has another.
    pub uid: String,
    /// Changes with every operation.
    pub etag: String,
    /// The revision on the cluster; 0 before the first is stored.
    pub revision: u32,
    /// The template's name.
    pub template_name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When an operation last changed it.
    pub updated: Timestamp,
    /// Its state.
    pub status: Status,
    /// Its objects, in the order of applying; filled for the FULL view.
    pub objects: Vec<(ObjectRef, Option<String>)>,
    /// Its template; filled for the FULL view.
    pub template: Option<Template>,
    /// Whether the FULL view was asked for.
    pub full: bool,
}

/// What the records say there should be.
pub(super) fn expected(held: &Held) -> Expected {
    let head = &held.head;
    Expected {
        namespace: held.namespace.clone(),
        components: head
            .recorded
            .components
            .iter()
            .map(|one| expected_component(one, &head.inventory))
            .collect(),
        deleting: held.is_deleting(),
        applying: head.operation.is_some(),
        incomplete: head.phase == Phase::Incomplete,
    }
}

fn expected_component(component: &RecordedComponent, inventory: &[Member]) -> ExpectedComponent {
    let mut workloads: Vec<&Member> = inventory
        .iter()
        .filter(|member| member.component == component.name && member.stage() == Stage::Workload)
        .collect();
    // While a controller takes a pod over, both stand in the inventory: the controller counts. What is to be
    // deleted, or was never made, counts only when nothing else is there.
    workloads.sort_by_key(|member| {
        let is_deleting = member.state == MemberState::Deleting;
        (is_deleting, member.uid.is_none(), !member.reference.kind.is_controller())
    });
    let workload = workloads.first();
    ExpectedComponent {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: component.image.clone(),
        workload: workload.map(|member| member.reference.clone()),
        pod_revision: workload.and_then(|member| member.pod_revision),
        superseded: workloads
            .iter()
            .skip(1)
            .filter(|member| member.state == MemberState::Deleting)
            .map(|member| member.reference.clone())
            .collect(),
        generation: workload.and_then(|member| member.generation),
        replicas: workload.and_then(|member| {
            let is_pod = member.reference.kind == Kind::Pod;
            if is_pod { Some(1) } else { member.scaled_replicas.or(member.template_replicas) }
        }),
    }
}

/// The view with a status concluded from what the cluster showed.
pub(super) fn observed(held: &Held, observed: &Observed, full: bool) -> DeploymentView {
    view(held, status::conclude(&expected(held), observed), full)
}

/// The view as the records have it, without a look at the workloads.
pub(super) fn recorded(held: &Held) -> DeploymentView {
    let expected = expected(held);
    let state = if expected.deleting {
        DeploymentState::Deleting
    } else {
        DeploymentState::from_record(&held.head.recorded.state)
    };
    view(held, status::recorded(&expected, state), false)
}

/// The view of a deployment that a Deploy would make.
pub(super) fn not_made(target: &Target, record: &Recorded, template_name: &str) -> DeploymentView {
    let expected = Expected {
        namespace: target.namespace.clone(),
        components: record.components.iter().map(|component| expected_component(component, &[])).collect(),
        deleting: false,
        applying: false,
        incomplete: false,
    };
    DeploymentView {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        uid: String::new(),
        etag: String::new(),
        revision: 0,
        template_name: template_name.to_owned(),
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
        status: status::recorded(&expected, DeploymentState::Deploying),
        objects: Vec::new(),
        template: None,
        full: false,
    }
}

fn view(held: &Held, status: Status, full: bool) -> DeploymentView {
    let head = &held.head;
    let mut objects: Vec<(ObjectRef, Option<String>)> = Vec::new();
    if full {
        objects =
            head.inventory.iter().map(|member| (member.reference.clone(), member.uid.clone())).collect();
        objects.sort();
    }
    DeploymentView {
        namespace: held.namespace.clone(),
        name: held.name.clone(),
        uid: held.uid.clone(),
        etag: held.etag(),
        revision: head.current.as_ref().map_or(0, |revision| revision.number),
        template_name: head.template_name.clone(),
        created: head.created,
        updated: head.updated,
        status,
        objects,
        template: None,
        full,
    }
}

/// A deployment as of one of our writes: watches that lag behind it, or show another of its name, do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    uid: String,
    created: Timestamp,
    generation: u64,
}

/// How what the watches show stands to a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Older: the watches lag.
    Earlier,
    /// No operation has come since.
    Same,
    /// Another operation has come.
    Later,
    /// Another deployment has the name now.
    Replaced,
}

/// The moment at which a head was written or read.
pub(super) fn moment(held: &Held) -> Moment {
    Moment { uid: held.uid.clone(), created: held.head.created, generation: held.head.generation }
}

impl Moment {
    /// How a head stands to this moment.
    pub(super) fn standing(&self, held: &Held) -> Standing {
        if held.uid != self.uid {
            // Watches that lag may still show one that was torn down before this one was made.
            let earlier = held.head.created < self.created;
            return if earlier { Standing::Earlier } else { Standing::Replaced };
        }
        match held.head.generation.cmp(&self.generation) {
            std::cmp::Ordering::Less => Standing::Earlier,
            std::cmp::Ordering::Equal => Standing::Same,
            std::cmp::Ordering::Greater => Standing::Later,
        }
    }
}

/// The answer when there is no such deployment.
pub(super) fn not_found(target: &Target) -> Error {
    Error::new(
        ErrorKind::DeploymentNotFound,
        format!("there is no deployment {} in namespace {}", target.name, target.namespace),
    )
    .about("Deployment", target.name.as_str())
}

impl Operations {
    /// Reads the head of a deployment that must be there.
    pub(super) async fn must_read(&self, target: &Target) -> Result<Held> {
        let held = self.cluster.read_head(&target.namespace, &target.name).await?;
        held.ok_or_else(|| not_found(target))
    }
}
