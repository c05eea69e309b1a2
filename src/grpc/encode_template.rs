//! Domain to wire: a template with its values masked, and the limits on templates.

use crate::facts::MAX_CONFIG;
use crate::proto;
use crate::template::raw::MAX_TEXT_BYTES;
use crate::template::{
    Image, Interface, MAX_ENVIRONMENT_BYTES, MAX_IMAGES, MAX_LINKS, MAX_PORTS, MAX_VALUE, MAX_VARIABLES,
    MAX_VOLUMES, Template,
};
use crate::translate::{MAX_OBJECT_BYTES, MAX_OBJECTS, MAX_OBJECTS_BYTES};

/// Replaces a value that is not shown.
const MASK: &str = "***";

/// One image, with the values of its variables masked, names cut where one may begin, and its command masked, which
/// often holds one.
pub(super) fn image(template: &Template, image: &Image) -> proto::Image {
    let name_of = |target: usize| {
        template.images.get(target).map(|image| image.name.as_str().to_owned()).unwrap_or_default()
    };
    let masked = |text: &str| if text.is_empty() { String::new() } else { MASK.to_owned() };
    proto::Image {
        name: image.name.as_str().to_owned(),
        source: image.source.as_str().to_owned(),
        ports: image.ports.iter().map(port).collect(),
        links: image
            .links
            .iter()
            .map(|link| proto::Link { service: name_of(link.target), alias: link.alias.as_str().to_owned() })
            .collect(),
        environment: image
            .environment
            .iter()
            .map(|variable| proto::Environment {
                variable: variable.name.open_part(),
                value: Some(masked(&variable.value)),
                required: variable.required,
            })
            .collect(),
        command: masked(image.command.text()),
        expose: image.expose.iter().map(|exposed| i32::from(exposed.container.get())).collect(),
        volumes: image
            .volumes
            .iter()
            .map(|volume| proto::Volume {
                host_path: volume.host_path.clone(),
                container_path: volume.container_path.clone(),
                read_only: volume.read_only.then_some(true),
            })
            .collect(),
        volumes_from: image
            .volumes_from
            .iter()
            .map(|from| proto::VolumesFrom { service: name_of(from.target), read_only: from.read_only })
            .collect(),
        deployment: image
            .count
            .map(|count| proto::DeploymentSettings { count: i32::try_from(count.get()).ok() }),
        category: image.category.clone(),
        r#type: image.kind.clone(),
        description: image.description.clone(),
    }
}

fn port(port: &crate::template::Port) -> proto::PortMapping {
    proto::PortMapping {
        host_port: port.host.map(|host| i32::from(host.get())),
        container_port: Some(i32::from(port.container.get())),
        proto: port.protocol.as_str().to_owned(),
        host_interface: match port.interface {
            Some(Interface::Address(address)) => address.to_string(),
            // The one address that a port is never published on beyond the host itself.
            Some(Interface::Unread) => "127.0.0.1".to_owned(),
            None => String::new(),
        },
    }
}

/// The limits on templates and their objects.
pub(super) fn limits() -> proto::ServerLimits {
    let number = |limit: usize| i32::try_from(limit).unwrap_or(i32::MAX);
    proto::ServerLimits {
        max_template_bytes: number(MAX_TEXT_BYTES),
        max_images: number(MAX_IMAGES),
        max_ports: number(MAX_PORTS),
        max_variables: number(MAX_VARIABLES),
        max_variable_bytes: number(MAX_VALUE),
        max_environment_bytes: number(MAX_ENVIRONMENT_BYTES),
        max_links: number(MAX_LINKS),
        max_volumes: number(MAX_VOLUMES),
        max_objects: number(MAX_OBJECTS),
        max_object_bytes: number(MAX_OBJECT_BYTES),
        max_objects_bytes: number(MAX_OBJECTS_BYTES),
        max_image_config_bytes: number(MAX_CONFIG),
        ..proto::ServerLimits::default()
    }
}
