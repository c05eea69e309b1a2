//! Tells of ports that the template does not list: those that a known image has, and those that nobody knows.

use super::Context;
use super::ports::{Added, ImagePorts, Origin, ServicePort};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Protocol, shown};

/// Tells what links to this image get beside what its template lists, and what they do not get.
///
/// A link whose Service can be reached from outside the cluster gets nothing beside the list.
pub(super) fn tell(
    context: &Context<'_>,
    target: usize,
    ports: &ImagePorts<'_>,
    opens_outside: bool,
    findings: &mut Findings,
) {
    let name = shown(context.template.images[target].name.as_str());
    let field = format!("images[{target}].ports");
    if ports.unlisted && ports.linked.is_empty() {
        let variables = match list(ports.guessed.iter().map(number)) {
            guessed if guessed.is_empty() => String::new(),
            guessed => format!("; the variables of its links suppose {guessed}"),
        };
        let message = format!(
            "`{name}` is the target of a link but lists no port; its Service has only a DNS name{variables}"
        );
        findings.report(Code::PortUnknown, field, message);
        return;
    }
    let Some((origin, added)) = &ports.added else { return };
    let of = |wanted: fn(&Added) -> bool| list(added.iter().filter(|one| wanted(one)).map(known_number));
    if let Origin::Image = origin
        && (ports.unlisted || !opens_outside)
    {
        let reached = of(|one| one.fits);
        if !reached.is_empty() {
            let message = format!("links to `{name}` reach what its image exposes: {reached}");
            findings.report(Code::PortFromImage, format!("images[{target}].source"), message);
        }
    } else if let Origin::Table(repository) = origin
        && ports.unlisted
    {
        let all = of(|_| true);
        let message = format!(
            "`{name}` is the target of a link but lists no port; the ports of `{repository}` were assumed: {all}"
        );
        findings.report(Code::PortInferred, field.clone(), message);
    }
    if ports.unlisted {
        return;
    }
    if opens_outside {
        let withheld = of(|_| true);
        if !withheld.is_empty() {
            let message = format!(
                "Service `{}` can be reached from outside the cluster, so it does not offer what the template does not list: {withheld}",
                context.names[target]
            );
            findings.report(Code::PortWithheld, field, message);
        }
        return;
    }
    if let Some((first, listed)) = moved(ports) {
        let [first, listed] = [first, listed].map(|port| list([number(port)].into_iter()));
        let message = format!(
            "the variables of links to `{name}` that name one port, as `…_PORT`, name {first}, which the image has; the template alone would give {listed}"
        );
        findings.report(Code::PortFirst, field.clone(), message);
    }
    let (needed, further, hidden) =
        (of(|one| one.fits && one.links), of(|one| one.fits && !one.links), of(|one| !one.fits));
    if let Origin::Table(repository) = origin {
        if !needed.is_empty() {
            let message = format!(
                "`{name}` does not list {needed}, which clients of `{repository}` use; its links offer it"
            );
            findings.report(Code::PortInferred, field.clone(), message);
        }
        if !further.is_empty() {
            let message =
                format!("`{repository}` also listens on {further}; links to `{name}` offer it, too");
            findings.report(Code::PortAdded, field.clone(), message);
        }
    }
    if !hidden.is_empty() {
        let who = match origin {
            Origin::Image => "the image".to_owned(),
            Origin::Table(repository) => format!("`{repository}`"),
        };
        let message =
            format!("{who} listens on {hidden}, but links to `{name}` lead elsewhere under that number");
        let advice = "give what has that number another host_port, if links are to reach this one";
        findings.push(Diagnostic::new(Code::PortWithheld, field, message).advising(advice));
    }
}

/// The first port of a link, and the one that it would be by the template's lists alone, if these are two.
fn moved<'p, 't>(ports: &'p ImagePorts<'t>) -> Option<(&'p ServicePort<'t>, &'p ServicePort<'t>)> {
    let first = ports.linked.first().filter(|first| first.is_added())?;
    Some((first, ports.linked.iter().find(|port| !port.is_added())?))
}

fn number(port: &ServicePort<'_>) -> (u16, Protocol) {
    (port.target, port.protocol)
}

fn known_number(added: &Added) -> (u16, Protocol) {
    (added.number, added.protocol)
}

/// The ports in words, as `53/UDP, 80`.
fn list(ports: impl Iterator<Item = (u16, Protocol)>) -> String {
    let one = |(number, protocol): (u16, Protocol)| match protocol {
        Protocol::Tcp => number.to_string(),
        Protocol::Udp => format!("{number}/UDP"),
    };
    ports.map(one).collect::<Vec<_>>().join(", ")
}
