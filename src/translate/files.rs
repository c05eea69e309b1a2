//! Which mounts of the host are files by their names: a directory cannot stand for a file.
//!
//! Names prove nothing, and a file that became a directory breaks the program in silence. So what is likely a file is
//! left out and told; what has no path of the host was a directory in Docker, too.

/// Endings of files that people mount one by one, whatever the host calls them.
const FILE_ENDINGS: &[&str] = &[
    "cfg",
    "cnf",
    "conf",
    "crt",
    "env",
    "ini",
    "jar",
    "json",
    "key",
    "pem",
    "php",
    "properties",
    "sh",
    "sock",
    "sql",
    "toml",
    "war",
    "xml",
    "yaml",
    "yml",
];
/// Endings of directories, so that the same one on both sides says nothing: `site.d`, `repo.git`, `example.com`.
const DIRECTORY_ENDINGS: &[&str] = &["com", "d", "git", "net", "org"];
/// Dot files that people mount; a directory may begin with a dot, too.
const DOT_FILES: &[&str] = &[
    ".bash_profile",
    ".bashrc",
    ".dockercfg",
    ".env",
    ".gitconfig",
    ".htaccess",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".profile",
    ".pypirc",
    ".s3cfg",
    ".vimrc",
    ".zshrc",
];
/// Dot directories, so that the same name on both sides says nothing.
const DOT_DIRECTORIES: &[&str] = &[
    ".aws",
    ".cache",
    ".composer",
    ".config",
    ".docker",
    ".git",
    ".gnupg",
    ".gradle",
    ".ivy2",
    ".kube",
    ".local",
    ".m2",
    ".npm",
    ".sbt",
    ".ssh",
];
/// Names of files without an ending, where both sides have them.
const FILE_NAMES: &[&str] = &[
    "authorized_keys",
    "credentials",
    "crontab",
    "group",
    "hostname",
    "hosts",
    "known_hosts",
    "license",
    "passwd",
    "shadow",
    "sudoers",
];
/// Directories in a container in which people mount files: what is in them is one where both sides have its name.
const OF_FILES: &[&str] = &[".aws", ".docker", ".kube", ".ssh", "bin", "sbin", "secrets"];

/// Whether a mount of the host's path at the container's is one of a file by its name; the container's is normal.
pub(super) fn is_file(host: &str, container: &str) -> bool {
    let (parents, name) = container.rsplit_once('/').unwrap_or_default();
    let parent = parents.rsplit('/').next().unwrap_or_default();
    let is_child_of_d = parent.len() > 2 && parent.ends_with(".d");
    if is_one_of(ending(name), FILE_ENDINGS) || is_child_of_d && says_file(name) {
        return true;
    }
    // Without a path of the host it was a directory in Docker, and whoever ends it with a slash means one.
    if host.is_empty() || host.ends_with('/') {
        return false;
    }
    let is_same = host.rsplit('/').next() == Some(name);
    DOT_FILES.contains(&name)
        || is_same && (is_child_of_d && ending(name) != Some("d") || is_likely(parent, name))
}

/// Whether a name is one of a file where the host has the same.
fn is_likely(parent: &str, name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_dot_file = name.len() > 1 && name.starts_with('.') && !DOT_DIRECTORIES.contains(&name);
    let is_key = lower.starts_with("id_");
    let is_build_file = lower.len() > 4 && lower.ends_with("file") && name.starts_with(char::is_uppercase);
    says_file(name)
        || is_dot_file
        || is_key
        || is_build_file
        || lower.contains(".so.")
        || FILE_NAMES.contains(&lower.as_str())
        || OF_FILES.contains(&parent)
}

/// Whether a name has an ending, and none of a directory's or of a version's.
fn says_file(name: &str) -> bool {
    let is_number = |ending: &str| ending.bytes().all(|byte| byte.is_ascii_digit());
    ending(name).is_some_and(|ending| !is_number(ending)) && !is_one_of(ending(name), DIRECTORY_ENDINGS)
}

fn is_one_of(ending: Option<&str>, endings: &[&str]) -> bool {
    ending.is_some_and(|ending| endings.iter().any(|one| one.eq_ignore_ascii_case(ending)))
}

/// What follows the last dot of a name that does not begin with it.
fn ending(name: &str) -> Option<&str> {
    let (before, ending) = name.rsplit_once('.')?;
    (!before.is_empty() && !ending.is_empty()).then_some(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for (host, container) in [
            ("/srv/app/init.sql", "/docker-entrypoint-initdb.d/init.sql"),
            ("", "/docker-entrypoint-initdb.d/10-schema.dump"),
            ("/srv/app/.env", "/app/.env"),
            ("/srv/app/production", "/app/.env"),
            ("/srv/app/my.conf.tmpl", "/etc/mysql/my.conf.tmpl"),
            ("/srv/app/app.jar", "/opt/app.jar"),
            ("./license.lic", "/opt/app/license.lic"),
            ("/srv/app/id_rsa", "/root/.ssh/id_rsa"),
            ("/srv/deploy", "/root/.ssh/deploy.pub.key"),
            ("/home/me/.ssh/deploy", "/root/.ssh/deploy"),
            ("/srv/Caddyfile", "/etc/caddy/Caddyfile"),
            ("/etc/passwd", "/data/passwd"),
            ("/usr/bin/docker", "/usr/bin/docker"),
            ("/srv/db_password", "/run/secrets/db_password"),
            ("/srv/cron/backup", "/etc/cron.d/backup"),
            ("/usr/lib/libx.so.1", "/usr/lib/libx.so.1"),
            ("/srv/.unknown", "/app/.unknown"),
            ("", "/etc/nginx/NGINX.CONF"),
            ("dump", "/data/dump.SQL"),
        ] {
            assert!(is_file(host, container), "{host} {container}");
        }
    }

    #[test]
    fn directories_stay_directories() {
        for (host, container) in [
            ("/srv/app/site.d", "/etc/site.d"),
            ("/srv/db", "/var/lib/mysql"),
            ("/srv/data", "/data"),
            ("/data", "/data"),
            ("", "/app/.cache"),
            ("", "/app/.unknown"),
            ("/root/.ssh", "/root/.ssh"),
            ("/srv/app-1.2", "/opt/app-1.2"),
            ("/srv/www/example.com", "/var/www/example.com"),
            ("/srv/repo.git", "/srv/repo.git"),
            ("/srv/files/", "/srv/files"),
            ("/srv/logs.old/", "/var/logs.old"),
            ("/srv/vhosts", "/etc/nginx/conf.d"),
            ("/srv/conf.d", "/etc/x.d/conf.d"),
            ("/srv/profile", "/data/userprofile"),
            ("cache", "/tmp/cache"),
            ("/", "/"),
            ("/d", "/.d/x"),
        ] {
            assert!(!is_file(host, container), "{host} {container}");
        }
    }
}
