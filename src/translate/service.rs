//! Ports, links and aliases to Services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::links::ResolvedLink;
use super::manifest::object;
use super::ports::{ImagePorts, ServicePort, is_published};
use super::share::Share;
use super::{Context, Exposure, known_ports, labels, naming};
use crate::artifacts::{ANNOTATION_ALIAS, Artifact, Kind, ObjectName, ObjectRef};
use crate::diagnostic::{Code, Findings};
use crate::template::{Exposed, Protocol};

/// What the name of a Service ends with that is reached from outside the cluster beside the image's own.
const OUTSIDE: &str = "outside";

/// One Service to be.
pub(super) struct PlannedService<'t> {
    name: ObjectName,
    target: usize,
    /// The aliases it serves, as written.
    aliases: BTreeSet<&'t str>,
    ports: Vec<ServicePort<'t>>,
    /// Whether it is reached from outside the cluster.
    exposed: bool,
    origin: String,
}

/// Plans every Service, by name.
pub(super) fn plan<'t>(
    context: &Context<'t>,
    ports: &[ImagePorts<'t>],
    links: &[ResolvedLink<'t>],
    share: &Share,
    findings: &mut Findings,
) -> Vec<PlannedService<'t>> {
    let mut plans = Plans { services: BTreeMap::new(), findings };
    let mut shown_targets = BTreeSet::new();
    let mut left = share.ports;
    for link in links {
        let image = &ports[link.target];
        let opens = context.opens_outside(link, image);
        if shown_targets.insert((link.target, opens)) {
            known_ports::tell(context, link.target, image, opens, plans.findings);
        }
        let is_shared = plans.services.get(&link.service).is_some_and(|known| known.target == link.target);
        let wanted = if is_shared { 0 } else { image.of_link(opens).count() };
        let Some(fewer) = left.checked_sub(wanted) else {
            let message =
                format!("the Services of all links would have more than {} ports together", share.ports);
            plans.findings.report(Code::LimitExceeded, link.field, message);
            continue;
        };
        left = fewer;
        let offered: Vec<_> = image.of_link(opens).filter(|_| !is_shared).cloned().collect();
        plans.add_linked(link, &offered);
    }
    for (index, image) in context.template.images.iter().enumerate() {
        // Docker resolved the target of a link by its own name as well, whatever its ports come from.
        let is_linked = ports[index].unlisted && links.iter().any(|link| link.target == index);
        let offered = if is_linked { &ports[index].linked } else { &ports[index].own };
        if context.has_own_service(index) && (is_linked || !offered.is_empty()) {
            let name = context.names[index].as_str();
            plans.add(name, index, offered, &format!("images[{index}]"));
            let serves_links = links.iter().any(|link| link.target == index && link.service == name);
            if context.is_exposed(image) && serves_links && ports[index].keeps_inside {
                plans.add_outside(context, links, index, &ports[index].own);
            } else if let Some(service) =
                plans.services.get_mut(name).filter(|service| service.target == index)
            {
                service.exposed = context.is_exposed(image);
            }
        }
    }
    let services: Vec<_> = plans.services.into_values().collect();
    let lost = tell_shadowed(context, ports, &services, findings);
    tell_expose(context, &services, &lost, findings);
    services
}

/// Tells of ports that no Service offers because another entry has their number: of a container's port that no number
/// leads to, and of a host's that is reached nowhere else. Returns the fields of their entries.
fn tell_shadowed<'t>(
    context: &Context<'_>,
    ports: &[ImagePorts<'t>],
    services: &[PlannedService<'_>],
    findings: &mut Findings,
) -> BTreeSet<&'t str> {
    let mut told = BTreeSet::new();
    for (index, image) in ports.iter().enumerate() {
        for &ServicePort { number, target, protocol, field, .. } in &image.shadowed {
            let is_kept = services.iter().any(|service| service.leads(index, number, target, protocol));
            // A Service that only links use does not make a port reachable from outside.
            let is_exposed = context.is_exposed(&context.template.images[index]);
            let mut reached = services.iter().filter(|service| service.exposed || !is_exposed);
            let is_offered = reached.any(|service| service.offers(index, target, protocol));
            // On a node is enough where the image needs no Service for what it publishes.
            let on_node = number == target || context.keeps_host_ports() && !context.has_own_service(index);
            let mut offered =
                services.iter().filter(|service| service.target == index).flat_map(|service| &service.ports);
            let holder = offered.find(|port| port.number == number && port.protocol == protocol);
            let Some(holder) = holder.filter(|_| !(is_kept || is_offered && on_node)) else { continue };
            if told.insert(field) {
                let message = format!(
                    "port {number} of the Service leads to port {}: `{}` has it",
                    holder.target, holder.field
                );
                findings.report(Code::PortShadowed, field, message);
            }
        }
    }
    told
}

/// Tells of exposed ports that nothing offers, and of an exposure that exposes nothing.
fn tell_expose(
    context: &Context<'_>,
    services: &[PlannedService<'_>],
    lost: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let images = &context.template.images;
    let offers = |service: &PlannedService<'_>| {
        let target = service.target;
        service.ports.iter().map(move |port| (target, port.target, port.protocol)).collect::<Vec<_>>()
    };
    let offered: BTreeSet<(usize, u16, Protocol)> = services.iter().flat_map(offers).collect();
    for (index, image) in images.iter().enumerate() {
        let unused = |port: &&Exposed| {
            let (number, protocol) = (port.container.get(), port.protocol);
            let is_told = is_published(image, number, protocol) || lost.contains(port.field.as_str());
            !is_told && !offered.contains(&(index, number, protocol))
        };
        for port in image.expose.iter().filter(unused) {
            let message =
                format!("no link leads to `{}`, so no Service offers the port", context.names[index]);
            findings.report(Code::ExposeUnused, port.field.clone(), message);
        }
    }
    if context.rules().exposure != Exposure::ClusterIp && !services.iter().any(|service| service.exposed) {
        findings.report(
            Code::ExposureUnused,
            "options.exposure",
            "no image of the template publishes a port",
        );
    }
}

/// The Services planned so far.
struct Plans<'t, 'f> {
    services: BTreeMap<String, PlannedService<'t>>,
    findings: &'f mut Findings,
}

impl<'t> Plans<'t, '_> {
    /// Plans the Service of a link; links of one alias to one target share it.
    fn add_linked(&mut self, link: &ResolvedLink<'t>, ports: &[ServicePort<'t>]) {
        let known = self.services.get(&link.service).map(|service| service.target);
        if known != Some(link.target) {
            self.add(&link.service, link.target, ports, link.field);
        }
        if let Some(service) = self.services.get_mut(&link.service) {
            service.aliases.insert(link.alias);
        }
    }

    /// Plans a Service for what the image publishes, beside its own one, which keeps what links reach inside.
    fn add_outside(
        &mut self,
        context: &Context<'_>,
        links: &[ResolvedLink<'_>],
        index: usize,
        ports: &[ServicePort<'t>],
    ) {
        let own = context.names[index].as_str();
        let joined = format!("{own}-{OUTSIDE}");
        let mut name = naming::fit(&joined, naming::LIMIT).map_or(joined, |fitted| fitted.text);
        let is_taken = context.names.iter().any(|other| other.as_str() == name)
            || links.iter().any(|link| link.service == name);
        if is_taken {
            name = naming::with_hash(&name, own, naming::LIMIT);
        }
        self.add(&name, index, ports, &format!("images[{index}]"));
        if let Some(service) = self.services.get_mut(&name).filter(|service| service.target == index) {
            service.exposed = true;
        }
        let message = format!(
            "links to Service `{own}` reach other ports than are published, so Service `{name}` exposes those that are"
        );
        self.findings.report(Code::PublishedApart, format!("images[{index}].ports"), message);
    }

    /// Plans a Service, or adds ports to the one of that name.
    fn add(&mut self, name: &str, target: usize, ports: &[ServicePort<'t>], origin: &str) {
        if let Some(known) = self.services.get_mut(name) {
            if known.target != target {
                let message = format!("two Services would be called `{name}`");
                self.findings.report(Code::NameCollision, name_field(origin), message);
                return;
            }
            for port in ports {
                let same =
                    |known: &ServicePort<'_>| known.number == port.number && known.protocol == port.protocol;
                if !known.ports.iter().any(same) {
                    known.ports.push(port.clone());
                }
            }
            return;
        }
        naming::check_service_name(name, &name_field(origin), self.findings);
        let Some(object_name) = naming::object_name(name) else {
            return;
        };
        let service = PlannedService {
            name: object_name,
            target,
            aliases: BTreeSet::new(),
            ports: ports.to_vec(),
            exposed: false,
            origin: origin.to_owned(),
        };
        self.services.insert(name.to_owned(), service);
    }
}

/// Where the template says what a Service is called.
fn name_field(origin: &str) -> String {
    let key = if origin.contains(".links[") { "alias" } else { "name" };
    format!("{origin}.{key}")
}

impl PlannedService<'_> {
    /// Its name as text.
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The image that it leads to.
    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// Whether it is called after the image or exposes its ports: there a published port is found.
    pub(super) fn publishes(&self, context: &Context<'_>, image: usize) -> bool {
        self.target == image && (self.exposed || self.name.as_str() == context.names[image].as_str())
    }

    /// Whether it is reached from outside the cluster.
    pub(super) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Whether it offers that port of the image, under whatever number.
    pub(super) fn offers(&self, image: usize, target: u16, protocol: Protocol) -> bool {
        self.target == image
            && self.ports.iter().any(|port| (port.target, port.protocol) == (target, protocol))
    }

    /// Whether this port of it leads to that port of the image.
    pub(super) fn leads(&self, image: usize, number: u16, target: u16, protocol: Protocol) -> bool {
        let same =
            |port: &ServicePort<'_>| (port.number, port.target, port.protocol) == (number, target, protocol);
        self.target == image && self.ports.iter().any(same)
    }

    /// Builds the object.
    pub(super) fn artifact(&self, context: &Context<'_>) -> Artifact {
        let alias = self.aliases.first().map(|alias| (ANNOTATION_ALIAS, *alias));
        let mut spec = object([("selector", labels::selector(context, self.target))]);
        if self.ports.is_empty() {
            spec["clusterIP"] = json!("None");
        } else {
            spec["ports"] = self.port_list();
        }
        match context.rules().exposure {
            Exposure::NodePort if self.exposed => spec["type"] = json!("NodePort"),
            Exposure::LoadBalancer if self.exposed => spec["type"] = json!("LoadBalancer"),
            Exposure::ClusterIp | Exposure::NodePort | Exposure::LoadBalancer => {}
        }
        let metadata = object([
            ("annotations", labels::annotations(context, self.target, alias)),
            ("labels", labels::of(context, self.target)),
            ("name", self.name.as_str().into()),
        ]);
        let manifest = object([
            ("apiVersion", Kind::Service.api_version().into()),
            ("kind", Kind::Service.as_str().into()),
            ("metadata", metadata),
            ("spec", spec),
        ]);
        Artifact {
            reference: ObjectRef::new(Kind::Service, self.name.clone()),
            component: context.names[self.target].clone(),
            origin: self.origin.clone(),
            manifest,
        }
    }

    /// Its ports; they need names as soon as there are two.
    fn port_list(&self) -> Value {
        let named = self.ports.len() > 1;
        let port = |port: &ServicePort<'_>| {
            let mut entry = json!({
                "port": port.number,
                "protocol": port.protocol.as_str(),
                "targetPort": port.target,
            });
            if named {
                entry["name"] = json!(format!("{}-{}", port.protocol.lower(), port.number));
            }
            entry
        };
        self.ports.iter().map(port).collect()
    }
}
