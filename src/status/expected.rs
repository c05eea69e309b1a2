//! What the records say there should be: what a status is concluded against.

use crate::artifacts::{ComponentName, Kind, Namespace, ObjectRef};
use crate::record::{
    self, Cause, Makers, MemberState, NotPutBack, Phase, Record, RecordedComponent, RefusedObject,
};

/// What the records say there should be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The namespace, for host names.
    pub namespace: Namespace,
    /// The components, in the template's order.
    pub components: Vec<ExpectedComponent>,
    /// Whether it is being torn down.
    pub deleting: bool,
    /// Whether an operation is writing objects.
    pub applying: bool,
    /// Whether the last update failed at some objects.
    pub incomplete: bool,
    /// Whether the record was restored from a backup, and the objects with it: they have other uids than it says.
    pub restored: bool,
    /// What the cluster refuses to delete or to write.
    pub refused: Vec<RefusedObject>,
    /// Why a revision was not put back that was promised for a failure.
    pub not_put_back: Option<NotPutBack>,
    /// Why the current revision has failed, as it was written down.
    pub cause: Option<Cause>,
    /// Who makes its objects.
    pub makers: Makers,
}

/// One component as the records have it.
#[derive(Clone, Debug)]
pub struct ExpectedComponent {
    /// Its name.
    pub name: ComponentName,
    /// The image's name in the template.
    pub image_name: String,
    /// The container image.
    pub image: String,
    /// What runs it; `None` if the records do not know one.
    pub workload: Option<ObjectRef>,
    /// The uid of what is there of that, whatever an operation is writing.
    pub workload_uid: Option<String>,
    /// What ran it before and is to be deleted.
    pub superseded: Vec<ObjectRef>,
    /// The uid of what runs it, once it was created.
    pub uid: Option<String>,
    /// The revision its pods must be of; `None`: that which its workload says.
    pub pod_revision: Option<u32>,
    /// The generation of its controller that we last wrote, of the object with that uid.
    pub generation: Option<i64>,
    /// The replicas last asked for, if the records know.
    pub replicas: Option<i32>,
}

/// What the records say there should be.
pub fn expected(record: &Record) -> Expected {
    let head = &record.head;
    Expected {
        namespace: record.namespace.clone(),
        components: head.recorded.components.iter().map(|one| expected_component(one, record)).collect(),
        deleting: record.is_deleting(),
        applying: head.operation.is_some(),
        incomplete: head.phase == Phase::Incomplete,
        restored: record.is_restored(),
        refused: head.refused.clone(),
        not_put_back: head.not_put_back.clone(),
        cause: head.current.as_ref().and_then(|current| head.cause_of(current)).cloned(),
        makers: Makers::of(&record.name, head),
    }
}

/// While an operation is applying, nobody knows whether a planned workload is written: it is judged by the form that it
/// has.
fn expected_component(component: &RecordedComponent, record: &Record) -> ExpectedComponent {
    let (workload, superseded) = record::serving(&record.head.inventory, &component.name);
    let applying = record.head.operation.is_some();
    let written = workload.filter(|member| !applying || member.state != MemberState::Planned);
    ExpectedComponent {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: component.image.clone(),
        workload: workload.map(|member| member.reference.clone()),
        // What was restored has other uids.
        workload_uid: workload.filter(|_| !record.is_restored()).and_then(|member| member.uid.clone()),
        uid: written.and_then(|member| member.uid.clone()),
        pod_revision: written.and_then(|member| member.pod_revision),
        superseded: superseded.into_iter().map(|member| member.reference.clone()).collect(),
        generation: written.and_then(|member| member.generation),
        replicas: workload.and_then(|member| {
            let is_pod = member.reference.kind == Kind::Pod;
            if is_pod { Some(1) } else { member.scaled_replicas.or(member.template_replicas) }
        }),
    }
}
