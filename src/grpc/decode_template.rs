//! Wire to domain: a structured template, in the lenient form that the reader of texts makes too.

use crate::proto;
use crate::template::raw::{RawFrom, RawImage, RawLink, RawPort, RawTemplate, RawVariable, RawVolume, Text};

/// The template as it was sent; what is absent is empty.
pub(super) fn raw(template: proto::Template) -> RawTemplate {
    RawTemplate {
        name: template.name,
        description: template.description,
        keywords: template.keywords,
        kind: template.r#type,
        documentation: template.documentation,
        recommended: template.recommended.map(|recommended| recommended.to_string()).unwrap_or_default(),
        authors: template.authors,
        images: template.images.into_iter().map(image).collect(),
    }
}

fn image(image: proto::Image) -> RawImage {
    RawImage {
        name: image.name,
        source: image.source,
        category: image.category,
        kind: image.r#type,
        description: image.description,
        command: image.command.into(),
        ports: image.ports.into_iter().map(port).collect(),
        expose: image.expose.iter().map(|port| port.to_string().into()).collect(),
        links: image.links.into_iter().map(link).collect(),
        environment: image.environment.into_iter().map(variable).collect(),
        volumes: image.volumes.into_iter().map(volume).collect(),
        volumes_from: image.volumes_from.into_iter().map(lender).collect(),
        count: number(image.deployment.and_then(|deployment| deployment.count)).into(),
    }
}

fn number(number: Option<i32>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn port(port: proto::PortMapping) -> RawPort {
    RawPort {
        host_interface: port.host_interface.into(),
        host_port: number(port.host_port),
        container_port: number(port.container_port),
        proto: port.proto,
        ..RawPort::default()
    }
}

fn link(link: proto::Link) -> RawLink {
    RawLink { service: link.service, alias: link.alias, field: None }
}

fn variable(variable: proto::Environment) -> RawVariable {
    RawVariable {
        variable: variable.variable,
        value: variable.value.unwrap_or_default(),
        // One that does not say so says nothing: an override keeps what the template says.
        required: if variable.required { "true".into() } else { Text::default() },
        field: None,
    }
}

fn volume(volume: proto::Volume) -> RawVolume {
    RawVolume {
        host_path: volume.host_path,
        container_path: volume.container_path,
        read_only: volume.read_only.map(|read_only| read_only.to_string()).unwrap_or_default().into(),
        field: None,
    }
}

fn lender(from: proto::VolumesFrom) -> RawFrom {
    // What is not so was not said.
    let read_only = if from.read_only { "true".to_owned() } else { String::new() };
    RawFrom { service: from.service, read_only, field: None }
}
