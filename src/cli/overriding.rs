//! A file that overrides a template: read as leniently as a template, and put into the form of a request.

use crate::diagnostic::{Code, Diagnostic};
use crate::template::raw::{self, RawImage, RawPort, RawTemplate};
use panamax_kubernetes_adapter_client as proto;

/// Reads a file that overrides a template; returns the fields that could be read, and what was found, each with its place
/// in the file. A finding refuses the file that is an error, or where the caller is strict a warning.
pub fn read(text: &str, is_strict: bool) -> (Option<proto::Template>, Vec<Diagnostic>) {
    let reading = raw::read(text);
    let mut found = reading.diagnostics;
    let encoded = reading.template.map(|template| encoded(template, &mut found));
    found.iter_mut().for_each(|found| found.strict = is_strict);
    reading.positions.locate(&mut found);
    (encoded, found)
}

fn encoded(template: RawTemplate, found: &mut Vec<Diagnostic>) -> proto::Template {
    let recommended = truth(&template.recommended, "recommended", found);
    let images = template.images.into_iter().enumerate();
    proto::Template {
        images: images.map(|(index, one)| image(one, &format!("images[{index}]"), found)).collect(),
        name: template.name,
        description: template.description,
        keywords: template.keywords,
        r#type: template.kind,
        documentation: template.documentation,
        recommended,
        authors: template.authors,
    }
}

fn image(image: RawImage, path: &str, found: &mut Vec<Diagnostic>) -> proto::Image {
    let count = number(&image.count.value, Code::CountNotANumber, &format!("{path}.deployment.count"), found);
    let ports = image.ports.iter().enumerate();
    let ports = ports.map(|(index, one)| port(one, &format!("{path}.ports[{index}]"), found)).collect();
    let expose = image.expose.iter().enumerate().flat_map(|(index, one)| {
        let words = one.value.split(|letter: char| letter == ',' || letter.is_whitespace());
        words.filter(|word| !word.is_empty()).map(move |word| (index, word.to_owned()))
    });
    let expose = expose
        .filter_map(|(index, word)| exposed(&word, &format!("{path}.expose[{index}]"), found))
        .collect();
    let variables = image.environment.into_iter().enumerate().map(|(index, one)| proto::Environment {
        required: truth(&one.required.value, &format!("{path}.environment[{index}].required"), found)
            .unwrap_or_default(),
        variable: one.variable,
        value: Some(one.value).filter(|value| !value.is_empty()),
    });
    let environment = variables.collect();
    let volumes = image.volumes.into_iter().enumerate().map(|(index, one)| proto::Volume {
        read_only: truth(&one.read_only.value, &format!("{path}.volumes[{index}].read_only"), found),
        host_path: one.host_path,
        container_path: one.container_path,
    });
    let volumes = volumes.collect();
    let lenders = image.volumes_from.into_iter().enumerate().map(|(index, one)| proto::VolumesFrom {
        read_only: truth(&one.read_only, &format!("{path}.volumes_from[{index}].read_only"), found)
            .unwrap_or_default(),
        service: one.service,
    });
    proto::Image {
        volumes_from: lenders.collect(),
        name: image.name,
        source: image.source,
        ports,
        links: image
            .links
            .into_iter()
            .map(|one| proto::Link { service: one.service, alias: one.alias })
            .collect(),
        environment,
        command: image.command.value,
        expose,
        volumes,
        deployment: count.map(|count| proto::DeploymentSettings { count: Some(count) }),
        category: image.category,
        r#type: image.kind,
        description: image.description,
    }
}

fn port(port: &RawPort, path: &str, found: &mut Vec<Diagnostic>) -> proto::PortMapping {
    let host_port = number(&port.host_port, Code::PortNotDecimal, &format!("{path}.host_port"), found);
    proto::PortMapping {
        // The key that was to narrow the port could not be read, so the port is not published.
        host_port: host_port.filter(|_| !port.closed),
        container_port: number(
            &port.container_port,
            Code::PortNotDecimal,
            &format!("{path}.container_port"),
            found,
        ),
        proto: port.proto.clone(),
        host_interface: port.host_interface.value.clone(),
    }
}

/// An exposed port. The contract has a number for it, which is one of TCP.
fn exposed(word: &str, field: &str, found: &mut Vec<Diagnostic>) -> Option<i32> {
    let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    if protocol.eq_ignore_ascii_case("udp") {
        let refused = Diagnostic::new(Code::PortProtocol, field, "an override exposes ports of TCP alone");
        let advice =
            "list it under `ports`, with `container_port` and `proto: UDP`, or expose it in the template";
        found.push(refused.advising(advice));
        return None;
    }
    let port = if protocol.eq_ignore_ascii_case("tcp") { port } else { word };
    number(port, Code::PortNotDecimal, field, found)
}

/// A number that may be absent.
fn number(text: &str, code: Code, field: &str, found: &mut Vec<Diagnostic>) -> Option<i32> {
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok();
    if number.is_none() {
        found.push(Diagnostic::new(code, field, "must be a whole number"));
    }
    number
}

/// Yes or no, or absent.
fn truth(text: &str, field: &str, found: &mut Vec<Diagnostic>) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "" => None,
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => {
            found.push(Diagnostic::new(Code::NotABoolean, field, "must be true or false"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_override_cannot_expose_is_told_with_what_can_be_done() {
        let (template, told) = read("images: [{name: a, expose: [90, '91/tcp 53/UDP', '54/sctp']}]\n", false);
        assert_eq!(template.unwrap().images[0].expose, [90, 91]);
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.code, one.field.as_str(), one.hint().contains("`proto: UDP`")))
            .collect();
        let at = |index: usize| ["images[0].expose[1]", "images[0].expose[2]"][index];
        assert_eq!(told, [(Code::PortProtocol, at(0), true), (Code::PortNotDecimal, at(1), false)]);
    }

    #[test]
    fn what_is_not_read_is_told_and_opens_nothing() {
        let text = "images:\n- name: a\n  enviroment: []\n  ports:\n  - {host_port: 8080, container_port: 80, \
                    host_ip: 127.0.0.1}\n";
        let (template, told) = read(text, false);
        let template = template.unwrap();
        let codes: Vec<_> = told.iter().map(|found| found.code).collect();
        assert_eq!(codes, [Code::UnknownField, Code::UnknownField]);
        assert!(told.iter().all(|found| found.position.is_some()));
        assert_eq!(template.images[0].ports[0].host_port, None, "what was to narrow it is lost");
        let errors =
            |text: &str, is_strict| read(text, is_strict).1.iter().filter(|found| found.is_error()).count();
        assert_eq!((errors(text, false), errors(text, true)), (0, 2), "who is strict takes no warning");
        assert_eq!(errors("images:\n- name: a\n  ports: [{container_port: x}]\n", false), 1);
    }
}
