//! The ports of an image as its Services see them.

use std::collections::BTreeMap;

use super::known_images::{self, KnownPort};
use super::{Context, HostPorts};
use crate::template::{Image, Port, Protocol};

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServicePort<'t> {
    /// The port that clients use.
    pub(super) number: u16,
    /// The container's port it leads to.
    pub(super) target: u16,
    pub(super) protocol: Protocol,
    /// Where the template says so; empty for a port that only the known image has.
    pub(super) field: &'t str,
    /// Whether clients of the image do not speak to it: a Service offers it, and no declared variable names it.
    pub(super) is_further: bool,
}

impl ServicePort<'_> {
    /// Whether the template does not list it: the image is known to have it.
    pub(super) fn is_added(&self) -> bool {
        self.field.is_empty()
    }

    /// Whether both have one number, and it leads to one port of the container.
    fn leads_as(&self, other: &Self) -> bool {
        let led = |port: &Self| (port.number, port.target, port.protocol);
        led(self) == led(other)
    }
}

/// Who says which ports an image has beside those of its template.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// The image's own configuration.
    Image,
    /// The table of known images, under this repository.
    Table(&'static str),
}

/// A port that an image is known to have and its template does not list.
pub(super) struct Added {
    pub(super) number: u16,
    pub(super) protocol: Protocol,
    /// Whether clients of the image speak to it.
    pub(super) links: bool,
    /// Whether Services of links have room for it: another port may have its number.
    pub(super) fits: bool,
}

/// What Services of one image offer.
pub(super) struct ImagePorts<'t> {
    /// For an alias: the container's ports first, as a Docker link promises them, then host ports that differ, then
    /// what else the image is known to have. Empty if nothing is known: then every port is reached by DNS.
    pub(super) linked: Vec<ServicePort<'t>>,
    /// For the component itself: the published ports, else the container's; where no node's port is taken,
    /// the container's too.
    pub(super) own: Vec<ServicePort<'t>>,
    /// Entries that found their port of a Service taken.
    pub(super) shadowed: Vec<ServicePort<'t>>,
    /// Whether the template lists no port.
    pub(super) unlisted: bool,
    /// Whether links reach what is not published, or not under that number: what the world gets, its own Service offers.
    pub(super) keeps_inside: bool,
    /// What the image is known to have and the template does not list, and who says so.
    pub(super) added: Option<(Origin, Vec<Added>)>,
    /// Ports that the image may have by a word of its name. Only link variables know them.
    pub(super) guessed: Vec<ServicePort<'t>>,
}

impl<'t> ImagePorts<'t> {
    /// The ports that a link gets.
    ///
    /// A Service that can be reached from outside the cluster offers what the template lists, and nothing beside it.
    pub(super) fn of_link(&self, opens_outside: bool) -> impl Iterator<Item = &ServicePort<'t>> {
        self.linked.iter().filter(move |port| !(opens_outside && port.is_added()))
    }
}

/// The ports of every image, in the order of the images.
pub(super) fn of_images<'t>(context: &Context<'t>) -> Vec<ImagePorts<'t>> {
    context.template.images.iter().map(|image| of_image(context, image)).collect()
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

fn of_image<'t>(context: &Context<'_>, image: &'t Image) -> ImagePorts<'t> {
    let drops_host_ports = context.rules().host_ports == HostPorts::Drop;
    let is_exposed = context.is_exposed(image);
    let union = union(image);
    let mut shadowed = Vec::new();
    let mut linked = Vec::with_capacity(union.len());
    let mut own = Vec::with_capacity(union.len());
    for ((target, protocol), (field, hosts)) in &union {
        add(&mut linked, (*target, *target, *protocol, field), &mut shadowed);
        // What is only meant for links is not shown to the world.
        if hosts.is_empty() && (is_published(image, *target, *protocol) || !is_exposed) {
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
    let unlisted = linked.is_empty();
    let keeps_inside = !linked.iter().all(|port| own.iter().any(|one| one.leads_as(port)));
    let added = known(context, image).map(|(origin, ports)| (origin, add_known(&mut linked, ports)));
    let guessed = if linked.is_empty() { guess(image) } else { Vec::new() };
    shadowed.sort_by_key(|port| (port.field, port.number));
    shadowed.dedup();
    ImagePorts { linked, own, shadowed, unlisted, keeps_inside, added, guessed }
}

/// A port beside the template's: number, protocol, and whether clients of the image speak to it.
type Further = (u16, Protocol, bool);

/// What is known of an image beside its template: what it says of itself, or the table where it says nothing.
fn known(context: &Context<'_>, image: &Image) -> Option<(Origin, Vec<Further>)> {
    let facts = context.rules().facts.of(&image.source).filter(|facts| !facts.ports.is_empty());
    if let Some(facts) = facts {
        let ports = facts.ports.iter().map(|(number, protocol)| (number.get(), *protocol, true));
        return Some((Origin::Image, ports.collect()));
    }
    let known = known_images::of(&image.source)?;
    let ports = known.ports.iter().map(|port| (port.port.get(), port.protocol, port.links));
    Some((Origin::Table(known.repository), ports.collect()))
}

/// Adds what an image is known to have and its template does not list: what Docker let through, a Service does, too.
///
/// The lowest port comes first, as in Docker, but for ports that clients do not speak to: these stand at the end, so
/// that they do not become the one that a link's first variable names.
fn add_known<'t>(linked: &mut Vec<ServicePort<'t>>, ports: Vec<Further>) -> Vec<Added> {
    let mut added = Vec::new();
    for (number, protocol, links) in ports {
        let holder = linked.iter().find(|one| one.number == number && one.protocol == protocol);
        if holder.is_some_and(|holder| holder.target == number) {
            continue;
        }
        added.push(Added { number, protocol, links, fits: holder.is_none() });
    }
    let of = |links: bool| added.iter().filter(move |one| one.fits && one.links == links).map(of_known);
    let listed = linked.iter().take_while(|port| port.number == port.target).count();
    linked.splice(listed..listed, of(true));
    let containers = linked.iter().take_while(|port| port.number == port.target).count();
    linked[..containers].sort_by_key(|port| (port.target, port.protocol));
    linked.extend(of(false));
    added
}

/// A port that an image is known to have as one of a Service.
fn of_known<'t>(port: &Added) -> ServicePort<'t> {
    let Added { number, protocol, links, .. } = *port;
    ServicePort { number, target: number, protocol, field: "", is_further: !links }
}

fn guess<'t>(image: &Image) -> Vec<ServicePort<'t>> {
    let port = |port: &KnownPort| {
        of_known(&Added { number: port.port.get(), protocol: port.protocol, links: port.links, fits: true })
    };
    known_images::guess(&image.source).into_iter().map(port).collect()
}

/// Whether `ports` publishes the container's port to all; `expose` does not, and one address of the host does not.
pub(super) fn is_published(image: &Image, container: u16, protocol: Protocol) -> bool {
    let same = |port: &&Port| port.container.get() == container && port.protocol == protocol;
    image.ports.iter().filter(same).any(Port::is_open)
}

/// Adds a port unless its number is there; a taken number that leads elsewhere is noted.
fn add<'t>(
    ports: &mut Vec<ServicePort<'t>>,
    (number, target, protocol, field): (u16, u16, Protocol, &'t str),
    shadowed: &mut Vec<ServicePort<'t>>,
) {
    let port = ServicePort { number, target, protocol, field, is_further: false };
    match ports.iter().find(|known| known.number == number && known.protocol == protocol) {
        None => ports.push(port),
        Some(known) if known.target == target => {}
        Some(_) => shadowed.push(port),
    }
}
