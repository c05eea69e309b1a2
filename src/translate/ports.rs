//! The ports of an image as its Services see them.

use std::collections::BTreeMap;

use super::{Context, HostPorts, known_ports};
use crate::template::{Image, Port, Protocol};

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServicePort {
    /// The port that clients use.
    pub(super) number: u16,
    /// The container's port it leads to.
    pub(super) target: u16,
    pub(super) protocol: Protocol,
    /// Where the template says so; empty for a port that was assumed.
    pub(super) field: String,
}

/// What Services of one image offer.
pub(super) struct ImagePorts {
    /// For an alias: the container's ports first, as a Docker link promises them, then host ports that differ.
    pub(super) linked: Vec<ServicePort>,
    /// For the component itself: the published ports, else the container's; where no node's port is taken,
    /// the container's too.
    pub(super) own: Vec<ServicePort>,
    /// Fields of entries that found their port of the Service taken.
    pub(super) shadowed: Vec<String>,
    /// Whether the template lists no port, so that `linked` was assumed.
    pub(super) assumed: bool,
}

/// The ports of every image, in the order of the images.
pub(super) fn of_images(context: &Context<'_>) -> Vec<ImagePorts> {
    let drops = context.rules().host_ports == HostPorts::Drop;
    context.template.images.iter().map(|image| of_image(image, drops, context.is_exposed(image))).collect()
}

/// Entries of `ports` and `expose` by container port and protocol, with the host ports they publish.
type Union<'i> = BTreeMap<(u16, Protocol), (&'i str, Vec<(u16, &'i str)>)>;

fn union(image: &Image) -> Union<'_> {
    let mut union = Union::new();
    for port in &image.ports {
        let key = (port.container.get(), port.protocol);
        let (_, hosts) = union.entry(key).or_insert_with(|| (port.field.as_str(), Vec::new()));
        // No Service can keep what one address of a host had.
        hosts.extend(port.host.filter(|_| port.is_open()).map(|host| (host.get(), port.field.as_str())));
    }
    for port in &image.expose {
        let key = (port.container.get(), port.protocol);
        union.entry(key).or_insert_with(|| (port.field.as_str(), Vec::new()));
    }
    union
}

fn of_image(image: &Image, drops_host_ports: bool, is_exposed: bool) -> ImagePorts {
    let union = union(image);
    let mut shadowed = Vec::new();
    let mut linked = Vec::with_capacity(union.len());
    let mut own = Vec::with_capacity(union.len());
    for ((target, protocol), (field, hosts)) in &union {
        add(&mut linked, (*target, *target, *protocol, field), &mut shadowed);
        // What is only meant for links is not shown to the world.
        let published = !is_exposed || is_published(image, *target, *protocol);
        if hosts.is_empty() && published {
            add(&mut own, (*target, *target, *protocol, field), &mut shadowed);
        }
        for (host, field) in hosts {
            add(&mut own, (*host, *target, *protocol, field), &mut shadowed);
        }
    }
    for ((target, protocol), (field, hosts)) in &union {
        for (host, field) in hosts {
            add(&mut linked, (*host, *target, *protocol, field), &mut shadowed);
        }
        // The world gets what the template publishes, and nothing beside it.
        if drops_host_ports && !is_exposed && !hosts.is_empty() {
            add(&mut own, (*target, *target, *protocol, field), &mut shadowed);
        }
    }
    let assumed = linked.is_empty();
    if assumed {
        for port in known_ports::of(image.source.repository_name()) {
            add(&mut linked, (*port, *port, Protocol::Tcp, ""), &mut shadowed);
        }
    }
    shadowed.sort();
    shadowed.dedup();
    ImagePorts { linked, own, shadowed, assumed }
}

/// Whether `ports` publishes the container's port to all; `expose` does not, and one address of the host does not.
pub(super) fn is_published(image: &Image, container: u16, protocol: Protocol) -> bool {
    let same = |port: &&Port| port.container.get() == container && port.protocol == protocol;
    image.ports.iter().filter(same).any(Port::is_open)
}

/// Adds a port unless its number is there; a taken number that leads elsewhere is noted.
fn add(
    ports: &mut Vec<ServicePort>,
    (number, target, protocol, field): (u16, u16, Protocol, &str),
    shadowed: &mut Vec<String>,
) {
    match ports.iter().find(|known| known.number == number && known.protocol == protocol) {
        None => ports.push(ServicePort { number, target, protocol, field: field.to_owned() }),
        Some(known) if known.target == target => {}
        Some(_) => shadowed.push(field.to_owned()),
    }
}
