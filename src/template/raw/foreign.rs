//! What people bring along from other programs: whole texts, and single keys, each with what to write instead.

use super::keys::{
    DEPLOYMENT_KEYS, FROM_KEYS, IMAGE_KEYS, Keys, LINK_KEYS, PORT_KEYS, TEMPLATE_KEYS, VOLUME_KEYS,
};
use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Code, Diagnostic};

/// A program whose texts are known by their keys.
struct Format {
    message: &'static str,
    advice: &'static str,
}

const AGENT: Format = Format {
    message: "this is a request that holds a template, and not the template itself",
    advice: "send what stands under `template` as the template, and what stands under `override` as the override",
};
const CHART: Format = Format {
    message: "this is the description of a Helm chart, not a Panamax template",
    advice: "render the chart with `helm template` and apply that with kubectl; a template lists its container images under `images`",
};
const COMPOSE: Format = Format {
    message: "this is a Compose file, not a Panamax template",
    advice: "write each service as an entry of the list `images`: what it is called as `name`, its `image` as `source`, \
             its ports as `{host_port: 8080, container_port: 80}`, its environment as `{variable: NAME, value: text}`",
};
const KUBERNETES: Format = Format {
    message: "this is a manifest of Kubernetes, not a Panamax template",
    advice: "apply it with kubectl; or write each container as an entry of the list `images`, with `name` and `source`",
};
const TASK: Format = Format {
    message: "this is a task definition of Amazon ECS, not a Panamax template",
    advice: "write each container as an entry of the list `images`: its `image` as `source`, and its ports as \
             `{host_port: 8080, container_port: 80}`",
};
const VALUES: Format = Format {
    message: "these are the values of a Helm chart, not a Panamax template",
    advice: "render the chart with `helm template` and apply that with kubectl; or write an entry of the list `images`, with `name` and `source`",
};

/// Tells of a text that another program reads: one finding, at the key that says so, stands for all others.
pub(super) fn recognise(root: &Node) -> Option<Diagnostic> {
    let Value::Mapping(entries) = &root.value else { return None };
    let (entry, format) = format_of(entries)?;
    let is_said = KNOWN_BY.contains(&entry.key.as_str());
    // The name of a service or of a chart's own part is the text's.
    let field = if is_said { entry.key.as_str() } else { "" };
    let found = Diagnostic::new(Code::ForeignFormat, field, format.message);
    Some(found.at(Some(entry.position)).advising(format.advice))
}

/// Keys at the top by which a format is known.
const KNOWN_BY: &[&str] =
    &["apiVersion", "containerDefinitions", "image", "kind", "replicaCount", "services", "template"];

fn format_of(entries: &[Entry]) -> Option<(&Entry, &'static Format)> {
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let under = |entry: &Entry, key: &str| match &entry.value.value {
        Value::Mapping(inner) => inner.iter().any(|inner| inner.key == key),
        Value::Null | Value::Scalar(_) | Value::Sequence(_) => false,
    };
    let is_mapping = |entry: &Entry| matches!(entry.value.value, Value::Mapping(_));
    if of("images").is_some() {
        return None;
    }
    if let Some(entry) = of("template").filter(|entry| under(entry, "images")) {
        return Some((entry, &AGENT));
    }
    if let Some(entry) = of("apiVersion") {
        return match of("kind") {
            Some(kind) => Some((kind, &KUBERNETES)),
            None => of("version").map(|_| (entry, &CHART)),
        };
    }
    if let Some(entry) = of("services").filter(|entry| is_mapping(entry)) {
        return Some((entry, &COMPOSE));
    }
    if let Some(entry) = of("containerDefinitions") {
        return Some((entry, &TASK));
    }
    if let Some(entry) = of("replicaCount").or_else(|| of("image").filter(|entry| under(entry, "repository")))
    {
        return Some((entry, &VALUES));
    }
    // The first form of Compose had its services at the top.
    let is_service = |entry: &&Entry| under(entry, "image") || under(entry, "build");
    entries.iter().find(is_service).filter(|_| entries.iter().all(is_mapping)).map(|entry| (entry, &COMPOSE))
}

/// What is advised for keys of Compose, of `docker run`, of Kubernetes and of other formats, by where they stand.
const FOREIGN: &[(Keys, &[&str], &str)] = &[
    (TEMPLATE_KEYS, &["title", "app", "id", "project", "stack"], "write `name`"),
    (
        TEMPLATE_KEYS,
        &["services", "containers", "applications", "apps", "components", "pods", "image", "docker_image"],
        "write `images`: a list of entries, each with `name` and `source`",
    ),
    (
        TEMPLATE_KEYS,
        &["version", "apiVersion", "kind", "metadata", "spec"],
        "remove the key: it has no meaning for a template",
    ),
    (TEMPLATE_KEYS, &["author", "maintainer", "maintainers"], "write `authors`: a list of names"),
    (TEMPLATE_KEYS, &["tags", "labels"], "write `keywords`"),
    (TEMPLATE_KEYS, &["summary"], "write `description`"),
    (TEMPLATE_KEYS, &["readme", "docs", "instructions"], "write `documentation`"),
    (
        TEMPLATE_KEYS,
        &["networks"],
        "remove the key: every pod is on the cluster's own network, and images reach each other over `links`",
    ),
    (
        TEMPLATE_KEYS,
        &["secrets", "configs"],
        "write values under `environment` of the image; options.secrets keeps those that look secret in Secrets",
    ),
    (IMAGE_KEYS, &["image", "docker_image", "from"], "write `source`"),
    (IMAGE_KEYS, &["title", "app", "id"], "write `name`"),
    (IMAGE_KEYS, &["cmd", "args", "arguments"], "write `command`"),
    (
        IMAGE_KEYS,
        &["entrypoint"],
        "put arguments under `command`; the image's own entry point runs, so another one needs an image of its own",
    ),
    (
        IMAGE_KEYS,
        &["env", "environments", "variables"],
        "write `environment`: a list of entries with `variable` and `value`",
    ),
    (
        IMAGE_KEYS,
        &["env_file"],
        "write the variables out under `environment`; a template has no files beside it",
    ),
    (
        IMAGE_KEYS,
        &["depends_on", "external_links", "requires", "link"],
        "list what the image talks to under `links`; no image waits for another one to start, so let it try again",
    ),
    (
        IMAGE_KEYS,
        &["restart", "restart_policy", "restartPolicy"],
        "remove the key: the cluster starts ended containers again",
    ),
    (
        IMAGE_KEYS,
        &["healthcheck", "livenessProbe", "readinessProbe"],
        "remove the key: a template has no probes, and a component is ready when its container runs",
    ),
    (
        IMAGE_KEYS,
        &["container_name", "hostname", "domainname"],
        "remove the key: others find the image by its `name`, or by the `alias` of their link to it",
    ),
    (IMAGE_KEYS, &["build", "dockerfile", "context"], "build and push the image, and name it under `source`"),
    (
        IMAGE_KEYS,
        &["replicas", "scale", "instances", "deploy"],
        "write `deployment: {count: 2}`, with a number of your own",
    ),
    (
        IMAGE_KEYS,
        &["networks", "network_mode", "net", "dns", "dns_search", "extra_hosts", "ipc", "pid", "mac_address"],
        "remove the key: every pod is on the cluster's own network, and images reach each other over `links`",
    ),
    (
        IMAGE_KEYS,
        &["privileged", "cap_add", "devices", "group_add", "sysctls"],
        "remove the key: the adapter gives no container more rights than usual",
    ),
    (
        IMAGE_KEYS,
        &["cap_drop", "security_opt", "user", "userns_mode", "tmpfs"],
        "it cannot be kept: build it into the image, or let the cluster's policies see to it",
    ),
    (IMAGE_KEYS, &["working_dir", "stop_signal"], "set it in the image itself"),
    (IMAGE_KEYS, &["init"], "have the image start an init of its own, as tini"),
    (IMAGE_KEYS, &["tty", "stdin_open"], "leave it out: nobody has a terminal of a pod that runs by itself"),
    (IMAGE_KEYS, &["labels", "annotations"], "set options.labels or options.annotations of the request"),
    (
        IMAGE_KEYS,
        &["logging", "log_driver", "log_opt"],
        "remove the key: the cluster collects what containers print",
    ),
    (
        IMAGE_KEYS,
        &["secrets", "configs"],
        "write values under `environment`; options.secrets keeps those that look secret in Secrets",
    ),
    (
        IMAGE_KEYS,
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
        IMAGE_KEYS,
        &[
            "extends",
            "profiles",
            "platform",
            "pull_policy",
            "imagePullPolicy",
            "volume_driver",
            "stop_grace_period",
            "version",
        ],
        "remove the key: it has no meaning for a template",
    ),
    (
        IMAGE_KEYS,
        &["mount", "mounts", "volume", "volumeMounts"],
        "write `volumes`: a list of entries with `container_path`",
    ),
    (IMAGE_KEYS, &["port", "publish"], "write `ports`: a list of entries with `container_port`"),
    (
        PORT_KEYS,
        &["port", "target", "targetPort", "internal", "internal_port", "container"],
        "write `container_port`",
    ),
    (
        PORT_KEYS,
        &["published", "external", "host", "external_port", "public", "nodePort"],
        "write `host_port`",
    ),
    (PORT_KEYS, &["type", "transport"], "write `proto`, with TCP or UDP"),
    (PORT_KEYS, &["name", "app_protocol", "appProtocol"], "remove the key: a port has a number alone"),
    (
        LINK_KEYS,
        &["container", "link", "to", "target", "image", "source"],
        "write `service`: the name of the other image",
    ),
    (LINK_KEYS, &["as", "host", "hostname"], "write `alias`: what the other image is called here"),
    (
        VOLUME_KEYS,
        &["path", "bind", "mount_path", "mountPath", "target", "destination", "dst", "dest", "container"],
        "write `container_path`",
    ),
    (VOLUME_KEYS, &["source", "src", "host", "from"], "write `host_path`, if it is a path of the host"),
    (
        VOLUME_KEYS,
        &["name", "type", "volume", "driver", "size"],
        "remove the key: a volume is known by its `container_path`, and options.volumes says what it becomes",
    ),
    (FROM_KEYS, &["container", "image", "from", "volume"], "write `service`: the name of the other image"),
    (DEPLOYMENT_KEYS, &["replicas", "scale", "instances", "number"], "write `count`"),
    (
        DEPLOYMENT_KEYS,
        &["resources", "restart_policy", "mode", "placement", "update_config"],
        "remove the key: `deployment` holds a `count` alone",
    ),
];

/// Whether a key is known of another format, wherever it stands.
pub(super) fn is_foreign(key: &str) -> bool {
    FOREIGN.iter().any(|(_, keys, _)| keys.contains(&key))
}

/// What is advised for a key that stands in a mapping of these. What is to go can go wherever it stands.
pub(super) fn advice(key: &str, known: Keys) -> Option<&'static str> {
    let mut of_key = FOREIGN.iter().filter(|(_, keys, _)| keys.contains(&key));
    let here = of_key.clone().find(|(place, ..)| *place == known);
    here.or_else(|| of_key.find(|(.., advice)| advice.starts_with("remove the key")))
        .map(|(.., advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::raw::keys::{ALL, known_key};
    use crate::template::raw::read;

    /// What a text is recognised as: field, line and a word of the advice.
    fn recognised(text: &str) -> Option<(String, u32, String)> {
        let found = read(text).diagnostics;
        let first = found.first().filter(|first| first.code == Code::ForeignFormat)?;
        assert_eq!(found.len(), 1, "{found:?}");
        Some((first.field.clone(), first.position.map_or(0, |at| at.line), first.hint().to_owned()))
    }

    #[test]
    fn texts_of_other_programs_get_one_helpful_word() {
        for (text, field, line, word) in [
            ("version: '3'\nservices:\n  web: {image: a}\nvolumes: {}\n", "services", 2, "`source`"),
            (
                "version: '3'\nx: &x {a: b}\nservices:\n  web: {image: a, environment: *x}\n",
                "services",
                3,
                "`source`",
            ),
            ("web:\n  image: a\n  links: [db]\ndb:\n  build: .\n", "", 1, "`source`"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "kind", 2, "kubectl"),
            ("apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Service\n", "kind", 2, "kubectl"),
            ("apiVersion: v2\nname: a\nversion: 1.0.0\n", "apiVersion", 1, "helm template"),
            ("replicaCount: 1\nimage:\n  repository: a\n", "replicaCount", 1, "helm template"),
            ("image: {repository: a, tag: b}\n", "image", 1, "helm template"),
            ("{\"template\": {\"images\": []}, \"override\": {}}", "template", 1, "`override`"),
            ("{\"family\": \"a\", \"containerDefinitions\": []}", "containerDefinitions", 1, "`source`"),
        ] {
            let Some((found, at, hint)) = recognised(text) else { panic!("{text}") };
            assert_eq!((found.as_str(), at), (field, line), "{text}");
            assert!(hint.contains(word), "{text}: {hint}");
        }
    }

    #[test]
    fn a_template_with_a_key_of_others_stays_a_template() {
        for text in [
            "version: '3'\nimages: [{name: a, source: b}]\nservices: {web: {image: a}}\n",
            "apiVersion: v1\nkind: Pod\nimages: []\n",
            "name: a\n",
            "services: [{name: a}]\n",
            "name: a\nimage: b\n",
            "[{name: a, source: b}]",
            "a: {b: c}\n",
        ] {
            assert_eq!(recognised(text), None, "{text}");
        }
    }

    #[test]
    fn no_key_is_advised_twice_in_one_place() {
        for (index, (place, keys, advice)) in FOREIGN.iter().enumerate() {
            for key in *keys {
                let again =
                    FOREIGN[index + 1..].iter().any(|(other, keys, _)| other == place && keys.contains(key));
                assert!(!again, "{key}");
                assert!(known_key(key, place).is_none(), "{key} is a key of its place");
                assert_eq!(keys.iter().filter(|one| *one == key).count(), 1, "{key}");
                assert!(!advice.is_empty());
            }
            assert!(ALL.contains(place));
        }
    }

    #[test]
    fn what_is_advised_to_be_written_may_stand_there() {
        for (place, keys, advice) in FOREIGN {
            let Some(rest) = advice.strip_prefix("write `") else { continue };
            let key = rest.split(['`', ':']).next().unwrap();
            assert!(known_key(key, place).is_some(), "{keys:?} {advice}");
        }
    }
}
