//! Finds the kubeconfig, or the pod's own account, and the proxy on the way to the cluster.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{Context, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::ExposeSecret;

use super::{Refusal, refusal};
use crate::config::Config;
use crate::files;
use crate::template;

/// The most bytes of a kubeconfig, and of each file that it names: 16 MiB.
const MAX_BYTES: u64 = 16 * files::MAX_BYTES;
/// Stands for no proxy until the configuration is read.
const UNUSED: &str = "http://unused";

/// Why a kubeconfig cannot be used: what stands behind its name, or where it was looked for.
type Wrong = String;

/// The configuration of the cluster that is asked for: of the kubeconfig that is named, of those of KUBECONFIG or the
/// usual one, or of the pod that this runs in.
pub(super) async fn kubernetes(config: &Config) -> Result<kube::Config, Refusal> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &config.kubeconfig {
        let wrong = |why: Wrong| refusal(78, format!("--kubeconfig {why}"));
        let kubeconfig = read(path).map_err(wrong)?;
        let found = found(kubeconfig, &options).await;
        return found.map_err(|why| wrong(format!("{} {why}", path.display())));
    }
    let usual = match usual() {
        Ok((kubeconfig, paths)) => {
            let found = found(kubeconfig, &options).await;
            found.map_err(|why| format!("the kubeconfig {} {why}", shown(&paths)))
        }
        Err(why) => Err(why),
    };
    match usual {
        Ok(found) => Ok(found),
        Err(why) if config.context.is_some() => Err(refusal(78, format!("--context: {why}"))),
        Err(why) => {
            let mut found = kube::Config::incluster().map_err(|_| {
                refusal(
                    78,
                    format!(
                        "no cluster found: name one with --kubeconfig, run in a pod with a service account, or try \
                         --sandbox ({why})"
                    ),
                )
            })?;
            usable(&mut found).map_err(|why| refusal(78, format!("the pod's account {why}")))?;
            Ok(found)
        }
    }
}

/// Refuses what the library takes and what then serves nobody, or ends it: it trusts that a header can carry a token.
fn usable(config: &mut kube::Config) -> Result<(), Wrong> {
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err("has a certificate authority that cannot be read".to_owned());
    }
    let auth = &mut config.auth_info;
    if let Some(token) = auth.token.take() {
        let token = token.expose_secret().trim();
        if !is_sendable(token) {
            return Err("has a token that no header can carry".to_owned());
        }
        auth.token = Some(token.into()).filter(|_| !token.is_empty());
    }
    let Some(path) = auth.token_file.as_ref().filter(|_| auth.token.is_none()) else { return Ok(()) };
    let token = std::fs::read_to_string(path)
        .map_err(|error| format!("names the token {path}, which cannot be read: {}", error.kind()))?;
    match token.trim() {
        "" => Err(format!("names the token {path}, which is empty")),
        token if is_sendable(token) => Ok(()),
        _ => Err(format!(
            "names the token {path}, which no header can carry: it has more than one line, or other letters"
        )),
    }
}

fn is_sendable(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The kubeconfigs of KUBECONFIG, merged, or the one in the home directory, with the files that they are. One of a list
/// that is not there is left out, as kubectl leaves it out.
fn usual() -> Result<(Kubeconfig, Vec<PathBuf>), Wrong> {
    let named: Vec<PathBuf> = match std::env::var_os("KUBECONFIG") {
        Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => Vec::new(),
    };
    let paths = if named.is_empty() { in_home()? } else { named };
    let there: Vec<PathBuf> = paths.iter().filter(|path| is_there(path)).cloned().collect();
    let mut merged: Option<Kubeconfig> = None;
    for path in &there {
        let next = read(path).map_err(|why| format!("the kubeconfig {why}"))?;
        let both = match merged {
            Some(before) => before.merge(next),
            None => Ok(next),
        };
        merged = Some(both.map_err(|error| format!("the kubeconfig {} {}", path.display(), told(&error)))?);
    }
    match merged {
        Some(kubeconfig) => Ok((kubeconfig, there)),
        None => Err(format!("there is no kubeconfig {}", shown(&paths))),
    }
}

fn in_home() -> Result<Vec<PathBuf>, Wrong> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or("KUBECONFIG is not set, and there is no home directory")?;
    Ok(vec![home.join(".kube").join("config")])
}

/// Whether there is anything; what may not be looked at is there.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn shown(paths: &[PathBuf]) -> String {
    let mut text = String::new();
    for (index, path) in paths.iter().enumerate() {
        // Writing into a text cannot fail.
        let _ = write!(text, "{}{}", if index == 0 { "" } else { ", " }, path.display());
    }
    text
}

/// Reads one kubeconfig, and looks at the files that it names: the library reads both by their names, to the end.
fn read(path: &Path) -> Result<Kubeconfig, Wrong> {
    files::check(path, MAX_BYTES).map_err(|why| format!("{} {why}", path.display()))?;
    let kubeconfig =
        Kubeconfig::read_from(path).map_err(|error| format!("{} {}", path.display(), told(&error)))?;
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let of_users = users.flat_map(|user| [&user.client_certificate, &user.client_key, &user.token_file]);
    for named in clusters.map(|cluster| &cluster.certificate_authority).chain(of_users).flatten() {
        match files::check(Path::new(named), MAX_BYTES) {
            // What another context needs may be absent.
            Ok(()) | Err(files::Unread::Io(_)) => {}
            Err(why) => return Err(format!("{} names {named}, which {why}", path.display())),
        }
    }
    Ok(kubeconfig)
}

/// What is wrong with a kubeconfig, without a piece of what stands in it: the parsers quote lines and bytes, and these
/// may be tokens and keys.
fn told(error: &KubeconfigError) -> String {
    let which = match error {
        KubeconfigError::Parse(error) => {
            let at = error.location().filter(|at| at.line() > 0);
            let at = at.map(|at| format!(" (line {}, column {})", at.line(), at.column()));
            return format!("is no kubeconfig{}", at.unwrap_or_default());
        }
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "certificate authority"
        }
        KubeconfigError::LoadClientCertificate(_) => "client certificate",
        KubeconfigError::LoadClientKey(_) => "client key",
        KubeconfigError::ParseClusterUrl(_) => "server's address",
        KubeconfigError::ParseProxyUrl(_) => "proxy's address (its own, or HTTPS_PROXY)",
        KubeconfigError::ReadConfig(error, _) => return format!("cannot be read: {}", error.kind()),
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::LoadContext(_)
        | KubeconfigError::LoadClusterOfContext(_)
        | KubeconfigError::FindPath
        | KubeconfigError::MissingClusterUrl => return format!("cannot be used: {error}"),
        // What a library adds later is not known to quote nothing.
        #[allow(unreachable_patterns, reason = "further variants come with features of the library")]
        _ => return "cannot be used".to_owned(),
    };
    format!("has a {which} that cannot be read")
}

/// The configuration of a kubeconfig, with the proxy that the kubeconfig or the environment names, as kubectl reads them.
async fn found(mut kubeconfig: Kubeconfig, options: &KubeConfigOptions) -> Result<kube::Config, Wrong> {
    let names_proxy = names_proxy(&kubeconfig, options);
    if let Some(user) = unknown_user(&kubeconfig, options) {
        return Err(format!("has no user `{}`, whom its context names", template::shown(user)));
    }
    if !names_proxy {
        // Where none is named, the library takes HTTPS_PROXY for every cluster, and holds NO_PROXY against the proxy.
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.proxy_url = Some(UNUSED.to_owned());
        }
    }
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, options).await;
    let mut config = config.map_err(|error| told(&error))?;
    if !names_proxy {
        // The first that is not empty, as Go's clients read them.
        let of = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        };
        let except = of(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let proxy = of(["HTTPS_PROXY", "https_proxy"]).filter(|_| is_proxied(&except, &config.cluster_url));
        let address = proxy.map(|proxy| proxy.parse()).transpose();
        config.proxy_url = address.map_err(|error| told(&KubeconfigError::ParseProxyUrl(error)))?;
    }
    usable(&mut config)?;
    Ok(config)
}

/// The context that is asked for.
fn context<'k>(kubeconfig: &'k Kubeconfig, options: &'k KubeConfigOptions) -> Option<&'k Context> {
    let name = options.context.as_ref().or(kubeconfig.current_context.as_ref());
    kubeconfig.contexts.iter().find(|one| Some(&one.name) == name)?.context.as_ref()
}

/// The user that the context names, if there is none of this name: the library would call as nobody.
fn unknown_user<'k>(kubeconfig: &'k Kubeconfig, options: &'k KubeConfigOptions) -> Option<&'k str> {
    let user = context(kubeconfig, options)?.user.as_deref().filter(|user| !user.is_empty())?;
    kubeconfig.auth_infos.iter().all(|one| one.name != user).then_some(user)
}

/// Whether a kubeconfig itself names the proxy on the way to its cluster.
fn names_proxy(kubeconfig: &Kubeconfig, options: &KubeConfigOptions) -> bool {
    let cluster = context(kubeconfig, options).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|one| Some(&one.name) == cluster);
    let address = cluster.and_then(|one| one.cluster.as_ref()?.proxy_url.as_ref());
    address.is_some_and(|address| !address.is_empty())
}

/// Whether the environment's proxy is on the way to an address: never to this machine, nor where NO_PROXY says so.
///
/// NO_PROXY lists `*` for everything, addresses, networks, and names with all below them; each may have a port.
fn is_proxied(except: &str, address: &Uri) -> bool {
    let port = address.port_u16().unwrap_or(443).to_string();
    let mut entries: Vec<&str> = except.split(',').map(str::trim).collect();
    for entry in &mut entries {
        *entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
        let (host, behind) = entry.rsplit_once(':').unwrap_or((entry, ""));
        // An address of IPv6 has colons of its own, and brackets where a port follows.
        if !behind.is_empty() && (!host.contains(':') || host.ends_with(']')) {
            *entry = if behind == port { host } else { "" };
        }
        *entry = entry.trim_start_matches('[').trim_end_matches(']');
    }
    if entries.contains(&"*") || address.host().is_some_and(is_loopback) {
        return false;
    }
    let matcher = Matcher::builder().https("http://any").no(entries.join(",")).build();
    matcher.intercept(address).is_some()
}

/// Whether a host is this machine; a name that only looks like an address of it is not.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_is_not_on_every_way() {
        let is_proxied = |except: &str, address: &str| is_proxied(except, &address.parse().unwrap());
        let except = "10.0.0.0/8, .internal.example,192.0.2.7, *.star.example, port.example:6443, \
                      192.0.2.9:6443, [2001:db8::2]:6443, 2001:db8::3";
        let proxied = [
            "https://cluster.example",
            "https://192.0.2.8:6443",
            "https://[2001:db8::1]:6443",
            "https://port.example:443",
            "https://192.0.2.9",
            "https://[2001:db8::2]",
        ];
        for address in proxied {
            assert!(is_proxied(except, address) && is_proxied("", address), "{address}");
            assert!(!is_proxied("*", address) && !is_proxied("a, *", address), "{address}");
        }
        let straight = [
            "https://10.1.2.3:6443",
            "https://a.internal.example",
            "https://192.0.2.7",
            "https://localhost:1",
            "https://b.star.example",
            "https://port.example:6443",
            "https://192.0.2.9:6443",
            "https://[2001:db8::2]:6443",
            "https://[2001:db8::3]:1",
        ];
        for address in straight {
            assert!(!is_proxied(except, address), "{address}");
        }
        assert!(!is_proxied("", "https://127.0.0.1:1"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["127.evil.example", "127.0.0.1.example", "localhost.example", "10.0.0.1", "[::]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
