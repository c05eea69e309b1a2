//! The ports of an image as its Services see them.

use std::collections::BTreeMap;

use super::{Context, HostPorts, known_ports};
use crate::template::{Image, Protocol};

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
    /// Whether neither template nor image lists a port, so that `linked` was assumed.
    pub(super) assumed: bool,
    /// Ports of `linked` that the image alone lists.
    pub(super) from_image: Vec<(u16, Protocol)>,
}

/// The ports of every image, in the order of the images.
pub(super) fn of_images(context: &Context<'_>) -> Vec<ImagePorts> {
    let drops = context.rules().host_ports == HostPorts::Drop;
    let images = context.template.images.iter().enumerate();
    let of = |(index, image)| {
        let mut ports = of_image(image, drops, context.is_exposed(image));
        add_exposed_by_image(context, index, &mut ports);
        if ports.linked.is_empty() {
            ports.assumed = true;
            for port in known_ports::of(image.source.repository_name()) {
                add(&mut ports.linked, (*port, *port, Protocol::Tcp, ""), &mut ports.shadowed);
            }
        }
        ports.shadowed.sort();
        ports.shadowed.dedup();
        ports
    };
    images.map(of).collect()
}

/// Entries of `ports` and `expose` by container port and protocol, with the host ports they publish.
type Union<'i> = BTreeMap<(u16, Protocol), (&'i str, Vec<(u16, &'i str)>)>;

fn union(image: &Image) -> Union<'_> {
    let mut union = Union::new();
    for port in &image.ports {
        let key = (port.container.get(), port.protocol);
        let (_, hosts) = union.entry(key).or_insert_with(|| (port.field.as_str(), Vec::new()));
        hosts.extend(port.host.map(|host| (host.get(), port.field.as_str())));
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
    ImagePorts { linked, own, shadowed, assumed: false, from_image: Vec::new() }
}

/// Adds what the image itself exposes, for links alone: as with Docker, `EXPOSE` publishes nothing.
///
/// A number that the template gives to another port stays there. What leads to its own number comes first, by number:
/// a link's first variable names the lowest port.
fn add_exposed_by_image(context: &Context<'_>, index: usize, ports: &mut ImagePorts) {
    let Some(facts) = context.rules().facts.of(&context.template.images[index].source) else { return };
    let field = format!("images[{index}].source");
    for (number, protocol) in &facts.ports {
        let known = ports.linked.len();
        add(&mut ports.linked, (number.get(), number.get(), *protocol, &field), &mut ports.shadowed);
        if ports.linked.len() > known {
            ports.from_image.push((number.get(), *protocol));
        }
    }
    if !ports.from_image.is_empty() {
        ports.linked.sort_by_key(|port| {
            let is_moved = port.number != port.target;
            (is_moved, if is_moved { None } else { Some((port.number, port.protocol)) })
        });
    }
}

/// Whether `ports` lists the container's port; `expose` alone does not publish it.
pub(super) fn is_published(image: &Image, container: u16, protocol: Protocol) -> bool {
    image.ports.iter().any(|port| port.container.get() == container && port.protocol == protocol)
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
