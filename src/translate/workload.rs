//! An image to the Pod or the ReplicationController that runs it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Context, count, environment, labels, naming};
use crate::artifacts::{ANNOTATION_IMAGE, Artifact, Kind, ObjectRef};
use crate::diagnostic::{Code, Findings};
use crate::template::{Image, PortNumber, Protocol, shown};

/// Options of `docker run` that people put in front of a command; none is a usual argument of a program.
const DOCKER_FLAGS: &[&str] = &[
    "--add-host",
    "--cap-add",
    "--cap-drop",
    "--device",
    "--env",
    "--expose",
    "--hostname",
    "--link",
    "--net",
    "--network",
    "--pid",
    "--privileged",
    "--publish",
    "--restart",
    "--volume",
    "--volumes-from",
    "-P",
    "-e",
    "-it",
    "-p",
    "-ti",
    "-v",
];

/// Builds the workload of the image of that index.
pub(super) fn artifact(
    context: &Context<'_>,
    index: usize,
    link_variables: Vec<Value>,
    findings: &mut Findings,
) -> Option<Artifact> {
    let image = &context.template.images[index];
    let component = &context.names[index];
    tell_docker_flags(image, index, findings);
    let pod_spec = pod_spec(context, index, link_variables);
    let annotations = labels::annotations(&[(ANNOTATION_IMAGE, image.name.as_str())]);
    let labels = labels::of(context, index);
    let (kind, name, spec) = if context.is_controlled(index) {
        if count(image) == 1 {
            let message = format!("`{component}` runs as a ReplicationController and stays one");
            findings.report(Code::ControllerKept, format!("images[{index}].deployment.count"), message);
        }
        let spec = json!({
            "replicas": count(image),
            "selector": labels::selector(context, index),
            "template": { "metadata": { "annotations": annotations, "labels": labels }, "spec": pod_spec },
        });
        (Kind::ReplicationController, format!("{component}-replication-controller"), spec)
    } else {
        (Kind::Pod, format!("{component}-pod"), pod_spec)
    };
    let name = naming::object_name(name)?;
    let manifest = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": { "annotations": annotations, "labels": labels, "name": name.as_str() },
        "spec": spec,
    });
    let origin = format!("images[{index}]");
    Some(Artifact { reference: ObjectRef::new(kind, name), component: component.clone(), origin, manifest })
}

/// The pod of an image; it can express no privilege and gets no token of the API server.
fn pod_spec(context: &Context<'_>, index: usize, link_variables: Vec<Value>) -> Value {
    let image = &context.template.images[index];
    let mut container = json!({ "image": image.source.as_str(), "name": context.names[index].as_str() });
    if !image.command.words().is_empty() {
        container["args"] = image.command.words().iter().map(|word| environment::literal(word)).collect();
    }
    let variables: Vec<Value> = environment::own(image).chain(link_variables).collect();
    if !variables.is_empty() {
        container["env"] = variables.into();
    }
    let ports = container_ports(image);
    if !ports.is_empty() {
        container["ports"] = ports.iter().map(ContainerPort::manifest).collect();
    }
    json!({ "automountServiceAccountToken": false, "containers": [container] })
}

/// One port of a container; no two have number and protocol in common.
struct ContainerPort<'i> {
    number: PortNumber,
    protocol: Protocol,
    host: Option<PortNumber>,
    /// Fields whose host port had to be left out.
    dropped: Vec<&'i str>,
}

impl ContainerPort<'_> {
    fn manifest(&self) -> Value {
        let mut port = json!({ "containerPort": self.number.get(), "protocol": self.protocol.as_str() });
        if let Some(host) = self.host {
            port["hostPort"] = json!(host.get());
        }
        port
    }
}

/// The entries of `ports` by container port, in their order; a host port is given away once.
fn container_ports(image: &Image) -> Vec<ContainerPort<'_>> {
    let mut ports: Vec<ContainerPort<'_>> = Vec::with_capacity(image.ports.len());
    let mut given = BTreeSet::new();
    for entry in &image.ports {
        let free = |host: &PortNumber| !given.contains(&(*host, entry.protocol));
        let place = ports
            .iter()
            .position(|known| known.number == entry.container && known.protocol == entry.protocol)
            .unwrap_or_else(|| {
                let (number, protocol) = (entry.container, entry.protocol);
                ports.push(ContainerPort { number, protocol, host: None, dropped: Vec::new() });
                ports.len() - 1
            });
        match entry.host {
            Some(host) if ports[place].host.is_none() && free(&host) => {
                ports[place].host = Some(host);
                given.insert((host, entry.protocol));
            }
            Some(_) => ports[place].dropped.push(&entry.field),
            None => {}
        }
    }
    ports
}

/// Tells what the host ports of a template cost: nodes, or that they cannot be had at all.
pub(super) fn tell_host_ports(context: &Context<'_>, findings: &mut Findings) {
    let mut owners: BTreeMap<(PortNumber, Protocol), usize> = BTreeMap::new();
    for (index, image) in context.template.images.iter().enumerate() {
        let ports = container_ports(image);
        for field in ports.iter().flat_map(|port| &port.dropped) {
            let message = "the host port was left out of the pod";
            findings.report(Code::HostPortDropped, format!("{field}.host_port"), message);
        }
        for (port, host) in ports.iter().filter_map(|port| port.host.map(|host| (port, host))) {
            let field = || host_port_field(image, port, host);
            if count(image) > 1 {
                let message = format!("each of the {} replicas wants host port {host}", count(image));
                findings.report(Code::HostPortPerNode, field(), message);
            }
            match owners.get(&(host, port.protocol)) {
                Some(first) => {
                    let name = shown(context.template.images[*first].name.as_str());
                    let message = format!("host port {host} is wanted by `{name}` too");
                    findings.report(Code::HostPortShared, field(), message);
                }
                None => {
                    owners.insert((host, port.protocol), index);
                }
            }
        }
    }
}

fn host_port_field(image: &Image, port: &ContainerPort<'_>, host: PortNumber) -> String {
    let entry = image.ports.iter().find(|entry| {
        entry.host == Some(host) && entry.container == port.number && entry.protocol == port.protocol
    });
    entry.map(|entry| format!("{}.host_port", entry.field)).unwrap_or_default()
}

fn tell_docker_flags(image: &Image, index: usize, findings: &mut Findings) {
    let Some(first) = image.command.words().first() else {
        return;
    };
    let flag = first.split('=').next().unwrap_or_default();
    if DOCKER_FLAGS.contains(&flag) {
        let message = format!("the command begins with `{flag}`, which is an option of `docker run`");
        findings.report(Code::CommandDockerFlags, format!("images[{index}].command"), message);
    }
}
