//! Which paths a volume may lead from and to, and which are never mounted.

use super::VolumeMapping;
use crate::template::Volume;

/// Paths of a node that are never mounted, whatever a volume becomes: an empty directory cannot replace them.
const NODE_EXACT: &[&str] = &["/", "/etc", "/run", "/var", "/var/run"];
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
const HOST_EXACT: &[&str] = &["/home", "/opt", "/var/lib"];
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
/// Endings of files that people mount one by one. A directory cannot replace such a file.
const FILE_ENDINGS: &[&str] = &[
    "cfg",
    "cnf",
    "conf",
    "crt",
    "env",
    "ini",
    "json",
    "key",
    "pem",
    "php",
    "properties",
    "sh",
    "sock",
    "toml",
    "xml",
    "yaml",
    "yml",
];

/// Why a volume is never mounted: the key that is to blame, and a sentence.
pub(super) fn refusal(mapping: VolumeMapping, volume: &Volume) -> Option<(&'static str, &'static str)> {
    of_host(mapping, &volume.host_path)
        .map(|message| ("host_path", message))
        .or_else(|| of_container(mapping, &volume.container_path).map(|message| ("container_path", message)))
}

fn of_host(mapping: VolumeMapping, path: &str) -> Option<&'static str> {
    let wants_host = mapping == VolumeMapping::HostPath;
    let Some(host) = absolute(path) else {
        let climbs = path.split('/').any(|part| part == "..");
        let message = "the path on the host is not a plain absolute path; the volume was left out";
        return ((wants_host && !path.is_empty()) || climbs).then_some(message);
    };
    let of_node = NODE_EXACT.contains(&host.as_str()) || within(&host, NODE_WITHIN) || is_socket(&host);
    let of_host = HOST_EXACT.contains(&host.as_str()) || within(&host, HOST_WITHIN);
    let message = "a system path of the node is never mounted; the volume was left out";
    (of_node || (wants_host && of_host)).then_some(message)
}

fn of_container(mapping: VolumeMapping, path: &str) -> Option<&'static str> {
    let container = normalised(path);
    if within(&container, NODE_WITHIN) || CONTAINER_EXACT.contains(&container.as_str()) {
        return Some("the container's system has files of its own there; the volume was left out");
    }
    // A path of the host may be a file; what else a volume becomes is a directory.
    let is_no_directory =
        is_socket(&container) || (mapping != VolumeMapping::HostPath && is_file(&container));
    is_no_directory
        .then_some("the path looks like a file, but a volume is a directory; the volume was left out")
}

fn extension(path: &str) -> Option<&str> {
    std::path::Path::new(path).extension().and_then(|extension| extension.to_str())
}

/// Whether the path is a socket by its name, as that of Docker is.
fn is_socket(path: &str) -> bool {
    extension(path).is_some_and(|extension| extension.eq_ignore_ascii_case("sock"))
}

/// Whether the path is a file by its name.
fn is_file(path: &str) -> bool {
    extension(path)
        .is_some_and(|extension| FILE_ENDINGS.iter().any(|end| extension.eq_ignore_ascii_case(end)))
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

/// The path without empty parts and without `.`: two spellings of one place become one.
pub(super) fn normalised(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let path: String = parts.flat_map(|part| ["/", part]).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key that is to blame, if the volume is never mounted.
    fn blamed(mapping: VolumeMapping, host: &str, container: &str) -> Option<&'static str> {
        let volume = Volume {
            host_path: host.to_owned(),
            container_path: container.to_owned(),
            read_only: false,
            field: String::new(),
        };
        refusal(mapping, &volume).map(|(key, _)| key)
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
            for host in ["/var/run/docker.sock", "/", "/dev/sda", "/var/run/../run/docker.sock"] {
                assert_eq!(blamed(mapping, host, "/data"), Some("host_path"), "{host}");
            }
            for (host, container) in
                [("/etc/ssl", "/etc/nginx/conf.d"), ("files", "/data"), ("/var/log", "/log")]
            {
                assert_eq!(blamed(mapping, host, container), None, "{host} {container}");
            }
        }
        assert_eq!(blamed(VolumeMapping::HostPath, "/data/my.cnf", "/etc/mysql/my.cnf"), None);
    }
}
