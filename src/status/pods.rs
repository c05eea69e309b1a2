//! The status of a single pod: whether it is ready, and if not, why.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus as KubernetesPodStatus};

use super::containers::{self, Container};
use super::{Cause, Grade, Reason};
use crate::artifacts::{ComponentName, HoldUp, LABEL_REVISION, Observed};

/// One pod, for callers who ask for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its phase as Kubernetes spells it.
    pub phase: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Why not, if there is a cause.
    pub reason: Option<Reason>,
    /// The same as a sentence.
    pub message: String,
    /// How often its component's container was started again.
    pub restarts: i32,
    /// The exit code of that container's last end.
    pub exit_code: Option<i32>,
    /// The revision it is of.
    pub revision: Option<u32>,
    /// The node it runs on.
    pub node: String,
    /// Its address.
    pub ip: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it is or was to end, if it is being deleted.
    pub deleted: Option<Timestamp>,
}

/// Describes one pod of a component.
pub(super) fn describe(pod: &Pod, component: &ComponentName, observed: &Observed) -> PodStatus {
    let status = pod.status.clone().unwrap_or_default();
    let own = containers::own(&status, component);
    let ready = is_ready(pod, component, observed);
    let cause = cause(pod, component, observed).filter(|_| !ready);
    let labels = pod.metadata.labels.as_ref();
    PodStatus {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        phase: status.phase.clone().unwrap_or_default(),
        ready,
        reason: cause.as_ref().map(|cause| cause.reason),
        message: cause.map(|cause| cause.message).unwrap_or_default(),
        restarts: own.map_or(0, |container| container.restart_count),
        exit_code: own.and_then(containers::exit_code),
        revision: labels.and_then(|labels| labels.get(LABEL_REVISION)?.parse().ok()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        ip: status.pod_ip.clone().unwrap_or_default(),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        deleted: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
    }
}

/// Whether the pod is Ready in its newest form, and stays.
pub(super) fn is_ready(pod: &Pod, component: &ComponentName, observed: &Observed) -> bool {
    is_alive(pod)
        && !is_lost(pod)
        && form(pod, component, observed) == Form::Newest
        && condition(pod, "Ready").is_some_and(|found| found.status == "True")
}

/// Whether the pod runs, or is still to run: one that has ended never does again, and its controller counts it no more.
pub(super) fn is_alive(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !has_ended(pod)
}

/// Whether its containers have ended for good.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether its kubelet says to have seen its newest form; `None` if it says nothing about that.
fn has_been_seen(pod: &Pod) -> Option<bool> {
    let observed = pod.status.as_ref()?.observed_generation.filter(|seen| *seen > 0)?;
    Some(Some(observed) >= pod.metadata.generation)
}

/// What a pod's status speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Its newest form.
    Newest,
    /// An earlier form, in everything.
    Earlier,
    /// Its newest form; but its component's container is shown as it was before its image was changed.
    NewestWithFormerContainer,
}

/// Whether what its status says of its containers speaks of the images that they are to run now.
///
/// A changed image is told by the generation that the kubelet has seen, and by the image that the component's container
/// was started from: a kubelet says that it has seen the change, and only then ends the former container, which is
/// Ready until it has ended. Images have several names, so one that stays another for long enough is the same.
fn form(pod: &Pod, component: &ComponentName, observed: &Observed) -> Form {
    let seen = has_been_seen(pod);
    if seen == Some(false) {
        return Form::Earlier;
    }
    let is_believed = || observed.overdue.contains(&former(pod));
    // Where generations are not counted, a controller's pods are as they were made.
    let is_unchanged = match pod.metadata.generation {
        Some(generation) => generation == 1,
        None => pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true)),
    };
    if is_unchanged || runs_its_image(pod, component) || is_believed() {
        return Form::Newest;
    }
    if seen == Some(true) { Form::NewestWithFormerContainer } else { Form::Earlier }
}

/// Whether the component's container was started from the image that the pod is to run, as far as its status says.
fn runs_its_image(pod: &Pod, component: &ComponentName) -> bool {
    let wanted = pod.spec.as_ref().and_then(|spec| {
        let own = spec.containers.iter().find(|container| container.name == component.as_str());
        own?.image.as_deref()
    });
    let status = pod.status.as_ref();
    let started = status.and_then(|status| containers::own(status, component)).map(|own| own.image.as_str());
    match (wanted, started) {
        (Some(wanted), Some(started)) => containers::is_same_image(wanted, started),
        (None, _) | (_, None) => true,
    }
}

/// What is counted of a pod whose container is of another image.
fn former(pod: &Pod) -> HoldUp {
    HoldUp::Former { pod: pod.metadata.uid.clone().unwrap_or_default() }
}

/// Whether its node does not answer, as far as the pod itself says.
///
/// Kubernetes has several ways to say so. Today's node controller takes back Ready and gives no reason, and leaves what
/// the kubelet has said of the containers, which is the last that it has said; a kubelet always gives a reason. Older
/// ones, and other controllers, give the reason `NodeLost`, a phase or a condition that nobody knows.
fn is_lost(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let holds = |kind: &str, wanted: &str| condition(pod, kind).is_some_and(|found| found.status == wanted);
    let is_taken_back = condition(pod, "Ready").is_some_and(|found| {
        found.status == "False" && found.reason.unwrap_or_default().is_empty() && found.message.is_empty()
    });
    status.reason.as_deref() == Some("NodeLost")
        || status.phase.as_deref() == Some("Unknown")
        || holds("Ready", "Unknown")
        || is_taken_back && holds("ContainersReady", "True")
}

/// One condition of a pod.
struct Condition<'a> {
    status: &'a str,
    reason: Option<&'a str>,
    message: &'a str,
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<Condition<'a>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(Condition {
        status: &found.status,
        reason: found.reason.as_deref(),
        message: found.message.as_deref().unwrap_or_default(),
    })
}

/// Why the pod is not ready: the gravest cause, that of the component's own container first.
///
/// Composed from reasons, names and exit codes only.
pub(super) fn cause(pod: &Pod, component: &ComponentName, observed: &Observed) -> Option<Cause> {
    let status = pod.status.as_ref()?;
    if has_ended(pod) {
        return Some(ended(status));
    }
    if is_lost(pod) {
        return Some(Cause::waiting(Reason::NodeLost, "the node of its pod does not answer"));
    }
    let form = form(pod, component, observed);
    let containers = containers::all(status, component).into_iter();
    // What a container of the former image has come to is over; that there is none of the new one yet is not.
    let containers = containers.filter(|one| match form {
        Form::Newest => true,
        Form::Earlier => false,
        Form::NewestWithFormerContainer => !one.is_own() || one.is_yet_to_be_created(),
    });
    let of_containers = containers.filter_map(Container::cause).map(|cause| pulling(pod, cause, observed));
    let of_former = (form != Form::Newest && !runs_its_image(pod, component)).then(|| Cause {
        hold_up: Some(former(pod)),
        ..Cause::waiting(Reason::Progressing, "the container of its former image is still shown")
    });
    let placed = placement(pod, observed).filter(|_| form != Form::Earlier);
    of_containers.chain(placed).chain(of_former).min_by_key(|cause| cause.grade)
}

/// The cause with what is counted of it: an image that could not be pulled for long enough is waited for no more.
fn pulling(pod: &Pod, cause: Cause, observed: &Observed) -> Cause {
    if cause.reason != Reason::ImagePullFailed || cause.grade != Grade::Trying {
        return cause;
    }
    let hold_up = HoldUp::Pulling { pod: pod.metadata.uid.clone().unwrap_or_default() };
    let grade = if observed.overdue.contains(&hold_up) { Grade::Failed } else { cause.grade };
    Cause { grade, hold_up: Some(hold_up), ..cause }
}

/// The cause of a pod that never runs again.
fn ended(status: &KubernetesPodStatus) -> Cause {
    // A word of Kubernetes' own, as `Evicted`.
    let word = status.reason.as_deref().filter(|word| word.chars().all(char::is_alphanumeric));
    let word = word.map(|word| format!(" ({word})")).unwrap_or_default();
    let (reason, text) = match status.phase.as_deref() {
        Some("Succeeded") => (Reason::PodSucceeded, "has completed"),
        _ => (Reason::PodFailed, "has failed"),
    };
    Cause::failed(reason, format!("its pod {text}{word} and is not started again"))
}

/// What keeps a pod from getting a node: a wish that no node fulfils, or a volume.
///
/// A claim that is not bound is no cause beside a node: some are bound only once the scheduler has chosen one.
fn placement(pod: &Pod, observed: &Observed) -> Option<Cause> {
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        return None;
    }
    let scheduled = condition(pod, "PodScheduled").filter(|found| found.status == "False");
    let is_refused = scheduled.as_ref().is_some_and(|found| found.reason == Some("Unschedulable"));
    let is_gated = scheduled.as_ref().is_some_and(|found| found.reason == Some("SchedulingGated"));
    let verdict = scheduled.map(|found| found.message.to_ascii_lowercase()).unwrap_or_default();
    let names_volume = ["persistentvolumeclaim", "persistent volume", "volume node affinity"];
    let is_about_volume = verdict.is_empty() || names_volume.iter().any(|word| verdict.contains(word));
    let claim = pending_claim(pod, observed).filter(|_| !is_refused || is_about_volume);
    let (reason, message) = match claim {
        Some(claim) => {
            (Reason::VolumePending, format!("its pod waits for volume claim {claim}, which is not bound"))
        }
        None if is_refused && is_about_volume && !verdict.is_empty() => {
            (Reason::VolumePending, "no node can reach the volumes of its pod".to_owned())
        }
        None if is_refused => (Reason::Unschedulable, "no node can run its pod at the moment".to_owned()),
        None if is_gated => (Reason::Unschedulable, "a scheduling gate holds its pod back".to_owned()),
        None => return None,
    };
    let hold_up = HoldUp::Waiting { pod: pod.metadata.uid.clone().unwrap_or_default() };
    let grade = if observed.overdue.contains(&hold_up) { Grade::Failed } else { Grade::Waiting };
    Some(Cause { reason, message, grade, hold_up: Some(hold_up) })
}

/// The first volume claim of a pod that is not bound.
fn pending_claim<'a>(pod: &'a Pod, observed: &Observed) -> Option<&'a str> {
    let names = pod.spec.as_ref()?.volumes.iter().flatten();
    let mut names =
        names.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()));
    let is_bound = |name: &str| {
        let claim = observed.claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(name));
        claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
    };
    names.find(|name| !is_bound(name))
}
