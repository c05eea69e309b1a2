//! The keys of a template, in both spellings, and the forms of its lists.

/// The keys of one kind of mapping.
pub(super) type Keys = &'static [&'static str];

pub(super) const TEMPLATE_KEYS: Keys =
    &["name", "description", "keywords", "type", "documentation", "recommended", "authors", "images"];
pub(super) const IMAGE_KEYS: Keys = &[
    "name",
    "source",
    "repository",
    "tag",
    "category",
    "categories",
    "type",
    "description",
    "command",
    "ports",
    "expose",
    "links",
    "environment",
    "volumes",
    "volumes_from",
    "deployment",
];
pub(super) const PORT_KEYS: Keys = &["host_interface", "host_port", "container_port", "proto"];
pub(super) const LINK_KEYS: Keys = &["service", "alias"];
pub(super) const VARIABLE_KEYS: Keys = &["variable", "value", "required"];
pub(super) const VOLUME_KEYS: Keys = &["host_path", "container_path", "read_only"];
pub(super) const FROM_KEYS: Keys = &["service", "read_only"];
pub(super) const DEPLOYMENT_KEYS: Keys = &["count"];
pub(super) const ALL: [Keys; 8] =
    [TEMPLATE_KEYS, IMAGE_KEYS, PORT_KEYS, LINK_KEYS, VARIABLE_KEYS, VOLUME_KEYS, FROM_KEYS, DEPLOYMENT_KEYS];

/// The other spellings of a key: those of the wire format between the Panamax agent and its adapters.
pub(super) fn spellings(key: &str) -> Keys {
    match key {
        "host_interface" => &["hostInterface"],
        "host_port" => &["hostPort"],
        "container_port" => &["containerPort"],
        "proto" => &["protocol"],
        "host_path" => &["hostPath"],
        "container_path" => &["containerPath"],
        "read_only" => &["readOnly"],
        "volumes_from" => &["volumesFrom"],
        "service" => &["name"],
        _ => &[],
    }
}

/// The documented spelling of a key.
pub(super) fn known_key(key: &str, known: Keys) -> Option<&'static str> {
    known.iter().find(|name| **name == key || spellings(name).contains(&key)).copied()
}

/// How a mapping is written, for who has written something else in its place, as Docker's `8080:80`.
pub(super) fn form(known: Keys) -> Option<&'static str> {
    match known {
        PORT_KEYS => {
            Some("write the entry as `{host_port: 8080, container_port: 80}`, with numbers of your own")
        }
        LINK_KEYS => Some(
            "write the entry as `{service: NAME, alias: name}`: the other image, and what it is called here",
        ),
        VARIABLE_KEYS => Some("write the entry as `{variable: NAME, value: text}`"),
        VOLUME_KEYS => {
            Some("write the entry as `{host_path: /of/the/host, container_path: /in/the/container}`")
        }
        DEPLOYMENT_KEYS => Some("write `deployment: {count: 2}`, with a number of your own"),
        IMAGE_KEYS => Some("write the entry with the keys `name` and `source`"),
        _ => None,
    }
}

/// How the list of a key is written, for who has written no list.
pub(super) fn list_form(key: &str) -> Option<&'static str> {
    match key {
        "images" => Some("write a list: an entry for each image, as `- {name: NAME, source: image:tag}`"),
        "ports" => Some("write a list: an entry for each port, as `- {host_port: 8080, container_port: 80}`"),
        "links" => Some("write a list: an entry for each link, as `- {service: NAME, alias: name}`"),
        "environment" => {
            Some("write a list: an entry for each variable, as `- {variable: NAME, value: text}`")
        }
        "volumes" => {
            Some("write a list: an entry for each volume, as `- {container_path: /in/the/container}`")
        }
        _ => None,
    }
}

/// What a mapping with these keys is, in words.
pub(super) fn place(known: Keys) -> &'static str {
    match known {
        TEMPLATE_KEYS => "the top of the template",
        IMAGE_KEYS => "an entry of `images`",
        PORT_KEYS => "an entry of `ports`",
        LINK_KEYS => "an entry of `links`",
        VARIABLE_KEYS => "an entry of `environment`",
        VOLUME_KEYS => "an entry of `volumes`",
        FROM_KEYS => "an entry of `volumes_from`",
        _ => "`deployment`",
    }
}
