//! Which mounts of the host are files by their names: a directory cannot stand for a file.
//!
//! Names prove nothing, and a file that became a directory breaks the program in silence. So what is likely a file is
//! left out and told, and what may be one is mounted and told; what has no path of the host was a directory in Docker,
//! too.

/// Endings of files that people mount one by one, whatever the other side calls them.
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
/// Endings of directories, so that one says nothing: `site.d`, `repo.git`, and those of hosts that sites are called
/// after, as `example.com`. Endings of hosts that files have, too, are left out, as `pl` and `br`.
const DIRECTORY_ENDINGS: &[&str] = &[
    "app", "at", "au", "be", "biz", "ch", "cloud", "co", "com", "cz", "d", "de", "dev", "dk", "edu", "es",
    "eu", "fi", "fr", "git", "gov", "ie", "info", "internal", "io", "it", "jp", "kr", "lan", "local", "net",
    "nl", "no", "nz", "org", "pt", "ru", "se", "site", "uk", "us",
];
/// The longest ending of a name; what is longer is a part of the name.
const LONGEST_ENDING: usize = 12;
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
/// Files in `/etc`, of a container or of the host.
const ETC_FILES: &[&str] = &[
    "aliases",
    "crontab",
    "environment",
    "fstab",
    "group",
    "gshadow",
    "hostname",
    "hosts",
    "inputrc",
    "issue",
    "localtime",
    "machine-id",
    "motd",
    "os-release",
    "passwd",
    "profile",
    "services",
    "shadow",
    "shells",
    "subgid",
    "subuid",
    "sudoers",
    "timezone",
];
/// Names without an ending that files and directories have.
const DOUBTFUL_NAMES: &[&str] =
    &["cert", "certificate", "cookie", "key", "passphrase", "password", "secret", "token"];
/// Directories in a container in which people mount files: what is in them is one where both sides have its name.
const OF_FILES: &[&str] = &[".aws", ".docker", ".kube", "secrets"];
/// Directories in which there is nothing else than files.
const OF_FILES_ALONE: &[&str] = &[".ssh", "bin", "sbin"];

/// What a mount is of, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likely {
    /// A file, for which no directory can stand.
    File,
    /// A file or a directory.
    Either,
    /// A directory.
    Directory,
}

/// What a mount of the host's path at the container's is of; the container's is normal.
pub(super) fn likely(host: &str, container: &str) -> Likely {
    let (parents, name) = container.rsplit_once('/').unwrap_or_default();
    let parent = parents.rsplit('/').next().unwrap_or_default();
    let is_child_of_d = parent.len() > 2 && parent.ends_with(".d");
    if is_one_of(ending(name), FILE_ENDINGS) || is_child_of_d && says_file(name) {
        return Likely::File;
    }
    // Without a path of the host it was a directory in Docker, and whoever ends it with a slash means one.
    if host.is_empty() || host.ends_with('/') {
        return Likely::Directory;
    }
    let (above, host_name) = host.rsplit_once('/').unwrap_or(("", host));
    let is_in_d = is_child_of_d && ending(name) != Some("d");
    let is_of_etc = |parents: &str, name: &str| parents == "/etc" && ETC_FILES.contains(&name);
    let is_file = DOT_FILES.contains(&name)
        || DOT_FILES.contains(&host_name)
        || is_one_of(ending(host_name), FILE_ENDINGS)
        || is_of_etc(parents, name)
        || is_of_etc(above, host_name)
        || OF_FILES_ALONE.contains(&parent) && ending(name) != Some("d")
        || have_one_ending(host_name, name)
        || host_name == name && (is_in_d || OF_FILES.contains(&parent) || is_likely(name));
    let may_be = |name: &str| is_likely(name) || DOUBTFUL_NAMES.contains(&name.to_ascii_lowercase().as_str());
    let is_loud =
        |name: &str| name.len() > 3 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    match () {
        () if is_file => Likely::File,
        () if may_be(name) || may_be(host_name) => Likely::Either,
        () if is_in_d || OF_FILES.contains(&parent) => Likely::Either,
        () if host_name == name && is_loud(name) => Likely::Either,
        () => Likely::Directory,
    }
}

/// Whether a name is one of a file where the other side has the same.
fn is_likely(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_dot_file = name.len() > 1
        && name.trim_matches('.').len() == name.len() - 1
        && name.starts_with('.')
        && !DOT_DIRECTORIES.contains(&name);
    let is_key = lower.starts_with("id_");
    let is_build_file = lower.len() > 4 && lower.ends_with("file") && name.starts_with(char::is_uppercase);
    says_file(name)
        || is_dot_file
        || is_key
        || is_build_file
        || lower.contains(".so.")
        || FILE_NAMES.contains(&lower.as_str())
}

/// Whether both names have the same ending of a file: `production.lua` for `settings.lua`.
fn have_one_ending(host: &str, container: &str) -> bool {
    let endings = ending(host).zip(ending(container));
    says_file(host) && endings.is_some_and(|(host, container)| host.eq_ignore_ascii_case(container))
}

/// Whether a name has an ending, and none of a directory's or of a version's.
fn says_file(name: &str) -> bool {
    let is_version = |ending: &str| {
        let number = ending.strip_prefix(['v', 'V', 'x', 'r']).unwrap_or(ending);
        number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_one_word = |ending: &str| {
        ending.len() <= LONGEST_ENDING
            && ending.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    ending(name).is_some_and(|ending| !is_version(ending) && is_one_word(ending))
        && !is_one_of(ending(name), DIRECTORY_ENDINGS)
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
            ("/srv/my.cnf", "/etc/mysql/conf"),
            ("/srv/settings.prod.lua", "/app/settings.lua"),
            ("/srv/production.ex", "/app/config.ex"),
            ("/usr/bin/docker.io", "/usr/bin/docker"),
            ("/srv/start", "/usr/local/bin/start-shop"),
            ("/srv/jobs", "/etc/crontab"),
            ("/etc/machine-id", "/host-id"),
            ("/srv/.env", "/app/environment"),
            ("/srv/keys", "/root/.ssh/authorized_keys"),
        ] {
            assert_eq!(likely(host, container), Likely::File, "{host} {container}");
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
            ("/srv/example.fr", "/var/www/shop.example.fr"),
            ("/srv/example.ch", "/var/www/example.nl"),
            ("/srv/my.app", "/srv/my.app"),
            ("/srv/repo.git", "/srv/repo.git"),
            ("/srv/files/", "/srv/files"),
            ("/srv/logs.old/", "/var/logs.old"),
            ("/srv/vhosts", "/etc/nginx/conf.d"),
            ("/srv/conf.d", "/etc/x.d/conf.d"),
            ("/srv/profile", "/data/userprofile"),
            ("cache", "/tmp/cache"),
            ("/srv/app-1.2-data", "/data"),
            ("/srv/shop.v2", "/shop"),
            ("/var/www/shop.io", "/var/www/html"),
            ("..", "/x"),
            (".", "/y"),
            ("/etc/ssh", "/etc/ssh"),
            ("/srv/UPLOADS", "/uploads"),
            ("/", "/"),
            ("/d", "/.d/x"),
        ] {
            assert_eq!(likely(host, container), Likely::Directory, "{host} {container}");
        }
    }

    #[test]
    fn what_may_be_either_is_doubtful() {
        for (host, container) in [
            ("/srv/production", "/app/settings.ex"),
            ("/srv/shop.pckl", "/app/model"),
            ("/srv/shop.txt", "/shop"),
            ("/srv/unknown", "/app/.unknown"),
            ("/srv/Caddyfile.prod", "/etc/caddy/Caddyfile"),
            ("/srv/pw", "/run/secrets/db_password"),
            ("/srv/jobs", "/etc/cron.d/backup"),
            ("/srv/aws", "/root/.aws/sso"),
            ("/srv/token", "/var/token"),
            ("/srv/shop/id_rsa", "/keys/shop"),
            ("/srv/README", "/usr/share/README"),
        ] {
            assert_eq!(likely(host, container), Likely::Either, "{host} {container}");
            assert_eq!(likely(&format!("{host}/"), container), Likely::Directory, "{host}/ {container}");
        }
    }
}
