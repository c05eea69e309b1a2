//! The keys of a template, and those that people bring along from other formats: what may be shown, and what to advise.

use core::net::IpAddr;

use crate::template::names::did_you_mean;

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
const ALL: [Keys; 8] =
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

/// What is advised for keys of Docker Compose, of `docker run` and of Kubernetes that a template does not have.
const FOREIGN: &[(&[&str], &str)] = &[
    (&["image", "docker_image"], "write `source`"),
    (&["title", "app", "id"], "write `name`"),
    (
        &["services", "containers", "applications"],
        "write `images`: a list of entries, each with `name` and `source`",
    ),
    (&["cmd", "args", "arguments"], "write `command`"),
    (
        &["entrypoint"],
        "put arguments under `command`; the image's own entry point runs, so another one needs an image of its own",
    ),
    (
        &["env", "environments", "variables"],
        "write `environment`: a list of entries with `variable` and `value`",
    ),
    (&["env_file"], "write the variables out under `environment`; a template has no files beside it"),
    (
        &["depends_on", "external_links", "requires"],
        "list what the image talks to under `links`; no image waits for another one to start, so let it try again",
    ),
    (
        &["restart", "restart_policy", "restartPolicy"],
        "remove the key: the cluster starts ended containers again",
    ),
    (
        &["healthcheck", "livenessProbe", "readinessProbe"],
        "remove the key: a template has no probes, and a component is ready when its container runs",
    ),
    (
        &["container_name", "hostname", "domainname"],
        "remove the key: others find the image by its `name`, or by the `alias` of their link to it",
    ),
    (&["build", "dockerfile", "context"], "build and push the image, and name it under `source`"),
    (&["replicas", "scale", "instances", "deploy"], "write `deployment: {count: …}`"),
    (
        &["networks", "network_mode", "net", "dns", "dns_search", "extra_hosts", "ipc", "pid", "mac_address"],
        "remove the key: every pod is on the cluster's own network, and images reach each other over `links`",
    ),
    (
        &["privileged", "cap_add", "devices", "group_add", "sysctls"],
        "remove the key: the adapter gives no container more rights than usual",
    ),
    (
        &["cap_drop", "security_opt", "user", "userns_mode", "tmpfs"],
        "it cannot be kept: build it into the image, or let the cluster's policies see to it",
    ),
    (&["working_dir", "stop_signal", "init", "tty", "stdin_open"], "set it in the image itself"),
    (&["labels", "annotations"], "set options.labels or options.annotations of the request"),
    (&["logging", "log_driver", "log_opt"], "remove the key: the cluster collects what containers print"),
    (
        &["secrets", "configs"],
        "write values under `environment`; options.secrets keeps those that look secret in Secrets",
    ),
    (
        &[
            "mem_limit",
            "memswap_limit",
            "memory",
            "cpus",
            "cpu_shares",
            "cpuset",
            "ulimits",
            "resources",
            "shm_size",
        ],
        "remove the key: a template sets no limits; a LimitRange of the namespace does",
    ),
    (
        &["extends", "profiles", "platform", "pull_policy", "volume_driver", "stop_grace_period", "version"],
        "remove the key: it has no meaning for a template",
    ),
    (&["mount", "mounts"], "write `volumes`: a list of entries with `container_path`"),
    (&["port"], "write `container_port`"),
    (&["published", "external", "host", "external_port"], "write `host_port`"),
    (
        &["target", "internal", "internal_port", "destination"],
        "write `container_port`, `container_path` or `service`",
    ),
    (&["path", "bind", "mount_path", "mountPath"], "write `container_path`"),
    (&["container", "link", "to"], "write `service`: the name of the other image"),
];

/// Keys that narrow what their entry opens, in formats that people bring along: an address of the host, read-only.
const NARROWING: &[(&str, &[&str])] = &[
    (
        "host_interface",
        &[
            "host_ip",
            "hostIP",
            "hostIp",
            "host_address",
            "ip",
            "interface",
            "address",
            "bind",
            "bind_address",
            "listen",
            "host_interfaces",
            "addr",
            "iface",
            "nic",
            "publish_address",
            "loopback",
        ],
    ),
    ("read_only", &["readonly", "ro", "mode", "access_mode", "read-only"]),
];

/// Whether a text begins with an address of the host, as Docker and others write one: behind a scheme, in brackets,
/// before a port or a mask.
fn begins_with_address(text: &str) -> bool {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '%']).next().unwrap_or_default();
    let plain = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text,
    };
    let is_address = |text: &str| text == "localhost" || text.parse::<IpAddr>().is_ok();
    is_address(plain) || plain.split(':').next().is_some_and(is_address)
}

/// The known key that a value narrows by itself, whatever key it stands under: an address of the host, read-only.
fn narrowed_by(key: &str, value: &str, known: Keys) -> Option<&'static str> {
    let value = value.trim().to_ascii_lowercase();
    let is_read_only = || {
        let mut words = value.split([',', ' ']);
        let denies = || ["false", "no", "off", "0"].contains(&value.as_str());
        words.any(|word| ["ro", "readonly", "read-only", "read_only"].contains(&word))
            || (["rw", "writable", "writeable", "write"].contains(&key) && denies())
    };
    match () {
        () if known.contains(&"host_interface") && begins_with_address(&value) => Some("host_interface"),
        () if known.contains(&"read_only") && is_read_only() => Some("read_only"),
        () => None,
    }
}

/// What is to be said about a key that its mapping does not have.
pub(super) struct Unknown {
    /// Whether the key may be shown. All others may be pieces of values.
    pub(super) is_shown: bool,
    /// What to do about it.
    pub(super) advice: Option<&'static str>,
    /// The known key that it seems to mean, for the message.
    pub(super) near: String,
    /// The known key whose narrowing is lost if this one is ignored.
    pub(super) narrows: Option<&'static str>,
}

impl Unknown {
    /// Judges a key that is unknown in its mapping, and the texts that stand under it; suggestions take time, so they
    /// can be spared.
    pub(super) fn of(key: &str, values: &[&str], known: Keys, spares: bool) -> Self {
        let mut named = NARROWING.iter().filter(|(name, _)| known.contains(name));
        let named = named.find(|(_, foreign)| foreign.contains(&key)).map(|(name, _)| *name);
        let by_value = values.iter().find_map(|value| narrowed_by(key, value, known));
        let foreign = FOREIGN.iter().find(|(keys, _)| keys.contains(&key)).map(|(_, advice)| *advice);
        let elsewhere = ALL.iter().any(|keys| known_key(key, keys).is_some());
        let is_shown = named.is_some() || foreign.is_some() || elsewhere;
        let near = match spares || foreign.is_some() || named.or(by_value).is_some() {
            true => String::new(),
            false => did_you_mean(key, known.iter().copied()),
        };
        let narrows = named.or(by_value).or_else(|| {
            let meant = |name: &&str| near.contains(&format!("`{name}`"));
            NARROWING.iter().map(|(name, _)| *name).filter(|name| known.contains(name)).find(meant)
        });
        let advice = match narrows {
            Some("host_interface") => Some("write `host_interface`; until then the port is not published"),
            Some(_) => Some("write `read_only: true` or `false`; until then it is mounted read-only"),
            None if elsewhere => {
                Some("the key belongs to another place of a template; check the indentation")
            }
            None => foreign,
        };
        Self { is_shown, advice, near, narrows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_list_may_be_shown() {
        for key in ["image", "restart", "hostPort", "host_ip", "count"] {
            assert!(Unknown::of(key, &["x"], PORT_KEYS, false).is_shown, "{key}");
        }
        for key in ["imagee", "s3cr3t", "hostport", ""] {
            assert!(!Unknown::of(key, &["x"], PORT_KEYS, false).is_shown, "{key}");
        }
    }

    #[test]
    fn what_narrows_is_never_taken_for_what_opens() {
        for key in ["host_ip", "host_interfce", "hostInterfac", "bind", "host_interface_"] {
            let unknown = Unknown::of(key, &["x"], PORT_KEYS, false);
            assert_eq!(unknown.narrows, Some("host_interface"), "{key}");
            assert!(!unknown.near.contains("host_port"), "{key}");
        }
        assert_eq!(Unknown::of("readonly", &["x"], VOLUME_KEYS, false).narrows, Some("read_only"));
        assert_eq!(Unknown::of("host_prt", &["x"], PORT_KEYS, false).narrows, None);
        assert_eq!(Unknown::of("bind", &["x"], VOLUME_KEYS, false).narrows, None);
    }

    #[test]
    fn what_a_value_narrows_is_not_opened_whatever_its_key_is() {
        for value in [
            "127.0.0.1",
            "LocalHost",
            "::1",
            "[::1]",
            " 10.0.0.1",
            "127.0.0.1:8080",
            "127.0.0.1:8080:80/tcp",
            "localhost:8080",
            "[::1]:8080",
            "tcp://127.0.0.1:8080",
            "10.0.0.0/8",
            "fe80::1%eth0",
        ] {
            for key in ["host", "network", "only", "expose_on"] {
                let unknown = Unknown::of(key, &[value], PORT_KEYS, false);
                assert_eq!(unknown.narrows, Some("host_interface"), "{key}: {value}");
                assert!(unknown.advice.is_some_and(|advice| !advice.contains("host_port")), "{key}");
            }
        }
        assert_eq!(Unknown::of("host", &["8080"], PORT_KEYS, false).advice, Some("write `host_port`"));
        let among = Unknown::of("hosts", &["8080", "127.0.0.1"], PORT_KEYS, false);
        assert_eq!(among.narrows, Some("host_interface"), "one of many is enough");
        for value in ["8080", "8080:80", "example.com", "tcp", "1.2.3", ""] {
            assert_eq!(Unknown::of("host", &[value], PORT_KEYS, false).narrows, None, "{value}");
        }
        for (key, value) in [("access", "ro"), ("flags", "z,RO"), ("options", "readonly"), ("rw", "false")] {
            assert_eq!(Unknown::of(key, &[value], VOLUME_KEYS, false).narrows, Some("read_only"), "{key}");
        }
        for (key, value) in [("access", "rw"), ("rw", "true"), ("name", "rope"), ("options", "z")] {
            assert_eq!(Unknown::of(key, &[value], VOLUME_KEYS, false).narrows, None, "{key}");
        }
    }

    #[test]
    fn no_key_is_advised_twice() {
        let all: Vec<&str> = FOREIGN.iter().flat_map(|(keys, _)| keys.iter().copied()).collect();
        for (index, key) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(key), "{key}");
            assert!(ALL.iter().all(|keys| !keys.contains(key)), "{key} is a template's own");
        }
    }
}
