//! Which paths a volume may lead from and to, and which are never mounted.

use super::VolumeMapping;
use super::files::{Likely, likely};
use crate::template::Volume;

/// Paths of a node that are never mounted, whatever a volume becomes: an empty directory cannot replace them.
const NODE_EXACT: &[&str] = &["/", "/etc", "/run", "/var/run"];
/// Paths of a node that are never mounted, with all that lies in them.
const NODE_WITHIN: &[&str] = &["/dev", "/proc", "/sys"];
/// Further paths that are refused if the node's own directory would be mounted: through them a pod could take its
/// node over, or read others' secrets.
const HOST_WITHIN: &[&str] = &[
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt/cni",
    "/opt/containerd",
    "/root",
    "/run",
    "/sbin",
    "/snap",
    "/usr",
    "/var/cache",
    "/var/lib/calico",
    "/var/lib/cloud",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/crio",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/etcd",
    "/var/lib/k0s",
    "/var/lib/kube-proxy",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/systemd",
    "/var/log",
    "/var/run",
    "/var/snap",
    "/var/spool",
];
/// Parents of those paths, and directories that hold other users' keys.
const HOST_EXACT: &[&str] = &["/home", "/opt", "/var", "/var/lib"];
/// Paths in a container over which nothing is mounted; some belong to the kubelet and the container runtime.
const CONTAINER_EXACT: &[&str] = &[
    "/",
    "/etc",
    "/etc/group",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/shadow",
    "/etc/timezone",
];

/// Why a volume is never mounted.
pub(super) struct Refusal {
    /// The key that is to blame.
    pub(super) key: &'static str,
    /// A sentence.
    pub(super) message: &'static str,
    /// What to do about it, if that is not what is usual.
    pub(super) advice: Option<&'static str>,
}

/// What to do about a file, for which no volume can stand.
const FOR_FILES: &str = "build the file into the image, or give its content to the program in a variable; with options.volumes \
                         VOLUME_MAPPING_HOST_PATH a file of the node is mounted as it is";

/// Why a volume is never mounted; `None` for one that is.
pub(super) fn refusal(mapping: VolumeMapping, volume: &Volume) -> Option<Refusal> {
    of_host(mapping, &volume.host_path).or_else(|| of_container(mapping, volume))
}

fn of_host(mapping: VolumeMapping, path: &str) -> Option<Refusal> {
    let refuse = |message, advice| Some(Refusal { key: "host_path", message, advice });
    let system = || refuse("a system path of the node is never mounted; the volume was left out", None);
    if mapping != VolumeMapping::HostPath {
        // The path is not mounted, so it matters only where nothing else could stand for what is there.
        let is_of_node = |host: &String| is_of_node(host);
        return lexical(path).filter(is_of_node).and_then(|_| system());
    }
    let Some(host) = absolute(path) else {
        let message = "the path on the host is not a plain absolute path; the volume was left out";
        let advice = Some("write an absolute path without `..`, as /srv/data");
        return if path.is_empty() { None } else { refuse(message, advice) };
    };
    let is_of_host = || HOST_EXACT.contains(&host.as_str()) || within(&host, HOST_WITHIN);
    if is_of_node(&host) || is_of_host() { system() } else { None }
}

/// Whether nothing can stand for what the node has at this path: its devices, its sockets, all of it.
fn is_of_node(host: &str) -> bool {
    NODE_EXACT.contains(&host) || within(host, NODE_WITHIN) || is_socket(host)
}

fn of_container(mapping: VolumeMapping, volume: &Volume) -> Option<Refusal> {
    let container = normalised(&volume.container_path);
    let refuse = |message, advice| Some(Refusal { key: "container_path", message, advice });
    if within(&container, NODE_WITHIN) || CONTAINER_EXACT.contains(&container.as_str()) {
        return refuse("the container's system has files of its own there; the volume was left out", None);
    }
    if is_socket(&container) {
        let message = "the path looks like a socket, but a volume is a directory; the volume was left out";
        return refuse(message, Some("let the program call what it needs over a link"));
    }
    // A path of the host may be a file; what else a volume becomes is a directory.
    if mapping != VolumeMapping::HostPath && likely(&volume.host_path, &container) == Likely::File {
        let message = "the path looks like a file, but a volume is a directory; the volume was left out";
        return refuse(message, Some(FOR_FILES));
    }
    None
}

/// Whether a volume that becomes a directory may stand for a file of the host.
pub(super) fn may_be_file(mapping: VolumeMapping, volume: &Volume) -> bool {
    let container = normalised(&volume.container_path);
    mapping != VolumeMapping::HostPath && likely(&volume.host_path, &container) == Likely::Either
}

fn extension(path: &str) -> Option<&str> {
    std::path::Path::new(path).extension().and_then(|extension| extension.to_str())
}

/// Whether the path is a socket by its name, as that of Docker is.
fn is_socket(path: &str) -> bool {
    extension(path).is_some_and(|extension| extension.eq_ignore_ascii_case("sock"))
}

/// Whether a path is one of these or lies in one.
fn within(path: &str, parents: &[&str]) -> bool {
    parents
        .iter()
        .any(|parent| path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The normal form of an absolute path that stays where it says; `None` for any other.
pub(super) fn absolute(path: &str) -> Option<String> {
    let plain = path.starts_with('/') && path.split('/').all(|part| part != "..");
    plain.then(|| normalised(path))
}

/// The path of a volume on the host with its `..` resolved by their names alone, so that two can be compared; one that
/// is not absolute begins with a dot. `None` if there is none.
pub(super) fn lexical(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => drop(parts.pop()),
            None if part == ".." && is_absolute => {}
            _ => parts.push(part),
        }
    }
    let below: String = parts.into_iter().flat_map(|part| ["/", part]).collect();
    Some(match (is_absolute, below.is_empty()) {
        (true, true) => "/".to_owned(),
        (true, false) => below,
        (false, _) => format!(".{below}"),
    })
}

/// The path without empty parts and without `.`: two spellings of one place become one.
pub(super) fn normalised(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let path: String = parts.flat_map(|part| ["/", part]).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Place;

    /// The key that is to blame, if the volume is never mounted.
    fn blamed(mapping: VolumeMapping, host: &str, container: &str) -> Option<&'static str> {
        let volume = Volume {
            host_path: host.to_owned(),
            container_path: container.to_owned(),
            read_only: false,
            field: Place::default(),
        };
        refusal(mapping, &volume).map(|refused| refused.key)
    }

    #[test]
    fn paths_have_one_form() {
        for (path, normal) in [("/data//x/.", "/data/x"), ("/", "/"), ("//", "/"), ("/a/", "/a")] {
            assert_eq!(normalised(path), normal);
        }
        assert_eq!(absolute("/a/../etc"), None);
        assert_eq!(absolute("~/x"), None);
    }

    #[test]
    fn paths_of_the_host_are_resolved_by_name() {
        for (path, resolved) in [
            ("/a//b/../c/.", "/a/c"),
            ("/../..", "/"),
            ("data", "./data"),
            ("./data/", "./data"),
            (".", "."),
            ("x/..", "."),
            ("../../data", "./../../data"),
        ] {
            assert_eq!(lexical(path).as_deref(), Some(resolved), "{path}");
        }
        assert_eq!(lexical(""), None);
    }

    #[test]
    fn a_path_lies_in_a_parent_by_whole_parts() {
        assert!(within("/dev", NODE_WITHIN) && within("/dev/mem", NODE_WITHIN));
        assert!(!within("/developers", NODE_WITHIN));
    }

    #[test]
    fn the_node_is_not_taken_over_by_its_paths() {
        for host in [
            "/",
            "/etc/kubernetes",
            "/home",
            "/opt",
            "/opt/cni/bin",
            "/proc/1",
            "/root/.ssh",
            "/run/containerd",
            "/usr/libexec/kubernetes",
            "/usr/local/bin",
            "/var",
            "/var/lib",
            "/var/lib/kubelet/pods",
            "/var/log",
            "/var/run/docker.sock",
            "/var/spool/cron",
            "//var/./log",
            "/data/../etc",
            "relative",
            "~/x",
        ] {
            assert_eq!(blamed(VolumeMapping::HostPath, host, "/data"), Some("host_path"), "{host}");
        }
        for host in [
            "",
            "/data",
            "/home/core/site",
            "/mnt/x",
            "/opt/shop",
            "/srv",
            "/var/lib/mysql",
            "/var/persistence",
        ] {
            assert_eq!(blamed(VolumeMapping::HostPath, host, "/data"), None, "{host}");
        }
    }

    #[test]
    fn what_is_no_directory_is_not_made_one() {
        for mapping in [VolumeMapping::EmptyDir, VolumeMapping::PersistentVolumeClaim] {
            for container in
                ["/etc/localtime", "/var/run/docker.sock", "/etc/nginx/nginx.conf", "/etc", "/sys/fs"]
            {
                assert_eq!(blamed(mapping, "", container), Some("container_path"), "{container}");
            }
            for host in
                ["/var/run/docker.sock", "/", "/dev/sda", "/var/run/../run/docker.sock", "/data/../proc/1"]
            {
                assert_eq!(blamed(mapping, host, "/data"), Some("host_path"), "{host}");
            }
            for (host, container) in [
                ("/etc/ssl", "/etc/nginx/conf.d"),
                ("files", "/data"),
                ("/var/log", "/log"),
                ("../x", "/y"),
                ("/var", "/z"),
            ] {
                assert_eq!(blamed(mapping, host, container), None, "{host} {container}");
            }
        }
        assert_eq!(blamed(VolumeMapping::HostPath, "/data/my.cnf", "/etc/mysql/my.cnf"), None);
    }
}
