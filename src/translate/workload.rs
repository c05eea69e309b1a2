//! An image to the Pod or the ReplicationController that runs it.

use core::net::IpAddr;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fill;
use super::manifest::object;
use super::mounts::Mounts;
use super::service::PlannedService;
use super::{Context, LinkEnvironment, Profile, count, environment, labels, naming};
use crate::artifacts::{Artifact, Kind, ObjectRef};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Image, Interface, Port, PortNumber, Protocol, shown};

/// The key of a container's variables. What is built here has nothing there: they come when it is packed.
pub(super) const ENVIRONMENT: &str = "env";

/// What the other parts of the translation found for one image.
pub(super) struct Parts<'p> {
    /// Whether it has variables, those of links included.
    pub(super) has_environment: bool,
    /// What it mounts.
    pub(super) mounts: &'p Mounts,
    /// The name that its pod has for itself, where that of the pod would not do.
    pub(super) hostname: Option<String>,
}

/// Builds the workload of the image of that index.
pub(super) fn artifact(
    context: &Context<'_>,
    index: usize,
    parts: Parts<'_>,
    findings: &mut Findings,
) -> Option<Artifact> {
    let image = &context.template.images[index];
    let component = &context.names[index];
    tell_nothing_runs(context, index, findings);
    let has_claim = parts.mounts.has_claim();
    let pod_spec = pod_spec(context, index, parts);
    let kind = context.kind_of(index);
    let pod_metadata = object([
        ("annotations", labels::annotations(context, index, None)),
        ("labels", labels::of(context, index)),
    ]);
    let (name, spec) = match kind {
        Kind::Deployment => {
            let mut spec = object([
                ("replicas", count(image).into()),
                ("selector", object([("matchLabels", labels::selector(context, index))])),
                ("template", object([("metadata", pod_metadata), ("spec", pod_spec)])),
            ]);
            let takes_host_port = image.ports.iter().any(|port| port.host.is_some());
            spec["strategy"] = if has_claim {
                json!({ "type": "Recreate" })
            } else {
                // A new pod could not have the node's port before the old one is gone. The other is Kubernetes' own
                // default, written out because nobody could take back later what nobody owns.
                let rolling = match context.keeps_host_ports() && takes_host_port {
                    true => json!({ "maxSurge": 0, "maxUnavailable": 1 }),
                    false => json!({ "maxSurge": "25%", "maxUnavailable": "25%" }),
                };
                json!({ "rollingUpdate": rolling, "type": "RollingUpdate" })
            };
            (component.to_string(), spec)
        }
        Kind::ReplicationController => {
            if count(image) == 1 {
                let message = format!("`{component}` runs as a ReplicationController and stays one");
                findings.report(Code::ControllerKept, image.count_path(index), message);
            }
            let spec = object([
                ("replicas", count(image).into()),
                ("selector", labels::selector(context, index)),
                ("template", object([("metadata", pod_metadata), ("spec", pod_spec)])),
            ]);
            (kind.workload_name(component.as_str()), spec)
        }
        Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => {
            (Kind::Pod.workload_name(component.as_str()), pod_spec)
        }
    };
    let name = naming::object_name(name)?;
    let manifest = object([
        ("apiVersion", kind.api_version().into()),
        ("kind", kind.as_str().into()),
        ("metadata", labels::metadata(context, index, name.as_str())),
        ("spec", spec),
    ]);
    let origin = format!("images[{index}]");
    Some(Artifact { reference: ObjectRef::new(kind, name), component: component.clone(), origin, manifest })
}

/// The pod of an image; it can express no privilege and gets no token of the API server.
fn pod_spec(context: &Context<'_>, index: usize, parts: Parts<'_>) -> Value {
    let image = &context.template.images[index];
    let rules = context.rules();
    let mut container = json!({ "image": image.source.as_str(), "name": context.names[index].as_str() });
    if !image.command.words().is_empty() {
        container["args"] = image.command.words().iter().map(|word| environment::literal(word)).collect();
    }
    if parts.has_environment {
        container[ENVIRONMENT] = Value::Null;
    }
    let ports = container_ports(image, context.keeps_host_ports());
    if !ports.is_empty() {
        container["ports"] = ports.iter().map(ContainerPort::manifest).collect();
    }
    let mut pod = json!({ "automountServiceAccountToken": false });
    parts.mounts.write(&mut pod, &mut container);
    fill::write(context, index, parts.mounts, &mut pod);
    if let Some(hostname) = parts.hostname {
        pod["hostname"] = json!(hostname);
    }
    if rules.link_environment == LinkEnvironment::Declared {
        // Declared links are all there is; the kubelet would add every Service of the namespace.
        pod["enableServiceLinks"] = json!(false);
    }
    if !rules.image_pull_secrets.is_empty() {
        let secrets = rules.image_pull_secrets.iter().map(|name| json!({ "name": name.as_str() }));
        pod["imagePullSecrets"] = secrets.collect();
    }
    if rules.profile == Profile::Modern {
        container["securityContext"] = json!({ "allowPrivilegeEscalation": false });
        pod["securityContext"] = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
        parts.mounts.write_group(&mut pod);
    }
    pod["containers"] = vec![container].into();
    pod
}

/// One port of a container; no two have number and protocol in common.
struct ContainerPort<'i> {
    number: PortNumber,
    protocol: Protocol,
    host: Option<PortNumber>,
    /// The one address of the node on which it takes that port.
    address: Option<IpAddr>,
    /// Fields whose host port had to be left out.
    dropped: Vec<&'i str>,
}

impl ContainerPort<'_> {
    fn manifest(&self) -> Value {
        let mut port = json!({ "containerPort": self.number.get(), "protocol": self.protocol.as_str() });
        if let Some(host) = self.host {
            port["hostPort"] = json!(host.get());
        }
        if let Some(address) = self.address.filter(|_| self.host.is_some()) {
            port["hostIP"] = json!(address.to_string());
        }
        port
    }
}

/// The entries of `ports` by container port, in their order; a host port is given away once, or never.
fn container_ports(image: &Image, keeps_host_ports: bool) -> Vec<ContainerPort<'_>> {
    let mut ports: Vec<ContainerPort<'_>> = Vec::with_capacity(image.ports.len());
    let mut given = BTreeSet::new();
    for entry in &image.ports {
        let free = |host: &PortNumber| !given.contains(&(*host, entry.protocol));
        let place = ports
            .iter()
            .position(|known| known.number == entry.container && known.protocol == entry.protocol)
            .unwrap_or_else(|| {
                let (number, protocol) = (entry.container, entry.protocol);
                ports.push(ContainerPort {
                    number,
                    protocol,
                    host: None,
                    address: None,
                    dropped: Vec::new(),
                });
                ports.len() - 1
            });
        match entry.host.filter(|_| keeps_host_ports && entry.interface != Some(Interface::Unread)) {
            Some(host) if ports[place].host.is_none() && free(&host) => {
                ports[place].host = Some(host);
                ports[place].address = address_of(entry);
                given.insert((host, entry.protocol));
            }
            Some(_) => ports[place].dropped.push(&entry.field),
            None => {}
        }
    }
    ports
}

/// The one address of the node that an entry of `ports` names.
fn address_of(entry: &Port) -> Option<IpAddr> {
    match entry.interface? {
        Interface::Address(address) => Some(address),
        Interface::Unread => None,
    }
}

/// Tells what became of ports that were published on one address of the host alone.
fn tell_interfaces(context: &Context<'_>, services: &[PlannedService<'_>], findings: &mut Findings) {
    for (index, image) in context.template.images.iter().enumerate() {
        let given = container_ports(image, context.keeps_host_ports());
        for entry in &image.ports {
            let Some(interface) = entry.interface else { continue };
            let container = entry.container;
            let kept = given.iter().find(|port| {
                (port.number, port.protocol) == (container, entry.protocol)
                    && port.host.is_some()
                    && (port.host, port.address) == (entry.host, address_of(entry))
            });
            match (interface, kept.and_then(|port| port.host)) {
                (Interface::Address(address), Some(host)) => {
                    let offers = |service: &&PlannedService<'_>| {
                        service.offers(index, container.get(), entry.protocol)
                    };
                    let beside = match services.iter().find(offers) {
                        Some(service) => format!("Service `{}` offers port {container}", service.name()),
                        None => "no Service offers it".to_owned(),
                    };
                    let message = format!(
                        "host port {host} is taken on {address} of the node that runs the pod; {beside}"
                    );
                    findings.report(Code::HostInterfaceKept, entry.interface_field(), message);
                }
                (Interface::Address(address), None) => {
                    let message = format!(
                        "port {container} was for {address} of the host alone, so it is not published; links reach it"
                    );
                    findings.report(Code::PortNotPublished, entry.interface_field(), message);
                }
                (Interface::Unread, _) => {
                    let message = format!(
                        "port {container} was for one address of the host alone, so it is not published; links reach it"
                    );
                    findings.report(Code::PortNotPublished, entry.interface_field(), message);
                }
            }
        }
    }
}

/// Tells what the host ports of a template cost: nodes, or that they cannot be had at all.
pub(super) fn tell_host_ports(
    context: &Context<'_>,
    services: &[PlannedService<'_>],
    findings: &mut Findings,
) {
    tell_interfaces(context, services, findings);
    if !context.keeps_host_ports() {
        return tell_moved(context, services, findings);
    }
    let mut owners: Vec<(PortNumber, Protocol, Option<IpAddr>, usize)> = Vec::new();
    for (index, image) in context.template.images.iter().enumerate() {
        let ports = container_ports(image, true);
        for field in ports.iter().flat_map(|port| &port.dropped) {
            let message = "another entry has this port of the container or of the host already, so the pod takes no host port for it";
            findings.report(Code::HostPortDropped, format!("{field}.host_port"), message);
        }
        for (port, host) in ports.iter().filter_map(|port| port.host.map(|host| (port, host))) {
            let field = || host_port_field(image, port, host);
            if count(image) > 1 {
                let message = format!("each of the {} replicas needs host port {host}", count(image));
                findings.report(Code::HostPortPerNode, field(), message);
            }
            // Two addresses of one node do not get in each other's way.
            let needs = |owner: &&(PortNumber, Protocol, Option<IpAddr>, usize)| {
                let apart = matches!((owner.2, port.address), (Some(one), Some(other)) if one != other);
                (owner.0, owner.1) == (host, port.protocol) && !apart
            };
            match owners.iter().find(needs) {
                Some((.., first)) => {
                    let name = shown(context.template.images[*first].name.as_str());
                    let message = format!("`{name}` needs host port {host}, too");
                    findings.report(Code::HostPortShared, field(), message);
                }
                None => owners.push((host, port.protocol, port.address, index)),
            }
        }
    }
}

/// Tells where each host port is found now, or that another entry has it.
fn tell_moved(context: &Context<'_>, services: &[PlannedService<'_>], findings: &mut Findings) {
    for (index, image) in context.template.images.iter().enumerate() {
        let open = image.ports.iter().filter(|port| port.is_open());
        for (port, host) in open.filter_map(|port| port.host.map(|host| (port, host))) {
            let field = format!("{}.host_port", port.field);
            let name = &context.names[index];
            let leads = |service: &&PlannedService<'_>| {
                service.publishes(context, index)
                    && service.leads(index, host.get(), port.container.get(), port.protocol)
            };
            // The Service that the world reaches comes first.
            if let Some(service) = services.iter().filter(leads).max_by_key(|service| service.is_exposed()) {
                let message = format!("host port {host} is port {host} of Service `{}`", service.name());
                findings.report(Code::HostPortMoved, field, message);
            } else {
                let message = format!("port {host} of Service `{name}` leads elsewhere");
                let found = Diagnostic::new(Code::HostPortDropped, field, message);
                findings.push(found.advising("choose another host_port for it"));
            }
        }
    }
}

/// Tells what of a template the Pod Security level `baseline` refuses, where the profile promises to pass it.
pub(super) fn tell_baseline(context: &Context<'_>, mounts: &[Mounts], findings: &mut Findings) {
    if context.rules().profile != Profile::Modern {
        return;
    }
    let has_host_port = |image: &Image| image.ports.iter().any(|port| port.host.is_some());
    if context.keeps_host_ports() && context.template.images.iter().any(has_host_port) {
        let message = "pods with host ports do not pass Pod Security level baseline";
        findings.report(Code::PodSecurityBaseline, "options.host_ports", message);
    }
    if mounts.iter().any(Mounts::has_host_path) {
        let message = "pods with paths of the node do not pass Pod Security level baseline";
        findings.report(Code::PodSecurityBaseline, "options.volumes", message);
    }
}

fn host_port_field(image: &Image, port: &ContainerPort<'_>, host: PortNumber) -> String {
    let entry = image.ports.iter().find(|entry| {
        entry.host == Some(host) && entry.container == port.number && entry.protocol == port.protocol
    });
    entry.map(|entry| format!("{}.host_port", entry.field)).unwrap_or_default()
}

/// Tells of an image that is known to start nothing, or only what ends at once.
fn tell_nothing_runs(context: &Context<'_>, index: usize, findings: &mut Findings) {
    let image = &context.template.images[index];
    // What the template says is judged with its other words.
    let facts = match context.rules().facts.of(&image.source) {
        Some(facts) if image.command.words().is_empty() => facts,
        _ => return,
    };
    let message = match facts.ends {
        true => "the image's command ends at once, so its container is started again and again",
        // An entry point runs by itself.
        false if facts.command.is_none() && !facts.has_entrypoint => {
            "neither the template nor the image has a command, so its container cannot start"
        }
        false => return,
    };
    findings.report(Code::NothingRuns, image.command_path(index), message);
}
