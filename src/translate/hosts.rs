//! Names of hosts: those that a template uses and a cluster does not know, and those that a pod has for itself.

mod named;

use std::collections::BTreeSet;

use self::named::{names_host, says_other};
use super::Context;
use super::links::ResolvedLink;
use super::secrets::looks_secret;
use super::service::PlannedService;
use crate::artifacts::Kind;
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{VariableName, shown};

/// The longest name of a host (RFC 1123).
const MAX_HOST: usize = 63;

/// A name that Docker's hosts file had in an image's container, and what the cluster has instead.
struct Lost<'t> {
    /// The name as written.
    name: &'t str,
    /// The same in lower case: hosts have no capitals.
    lower: String,
    /// The Service that leads to the same image.
    service: &'t str,
    /// What the cluster has under the name in its place: the image that is meant, and the one that is found.
    other: Option<(&'t str, &'t str)>,
}

/// Tells of values and commands that name a host which the cluster does not know.
///
/// Docker resolved a link's alias and its target's own name, whatever characters they have. A name that is lost counts
/// only where it is used: nearly all templates have aliases as `DB_1`, whose variables are all that is used of them.
pub(super) fn tell(
    context: &Context<'_>,
    links: &[ResolvedLink<'_>],
    services: &[PlannedService<'_>],
    findings: &mut Findings,
) {
    for (index, image) in context.template.images.iter().enumerate() {
        let own: Vec<&ResolvedLink<'_>> = links.iter().filter(|link| link.linker == index).collect();
        let lost = lost(context, &own, services);
        for one in
            own.iter().filter(|link| is_domain(link.alias) && !link.alias.eq_ignore_ascii_case(&link.service))
        {
            let message = told(one.alias, &one.service, None);
            let found = Diagnostic::new(Code::HostNameLost, format!("{}.alias", one.field), message);
            findings.push(found.advising(advice(&one.service)));
        }
        if lost.is_empty() {
            continue;
        }
        for variable in &image.environment {
            let value = variable.value.to_ascii_lowercase();
            let whole = is_host(&variable.name);
            for lost in lost.iter().filter(|lost| names_host(&value, &lost.lower, whole)) {
                report(lost, format!("{}.value", variable.field), findings);
            }
        }
        let words: Vec<String> = image.command.words().iter().map(|word| word.to_ascii_lowercase()).collect();
        let named = |lost: &&Lost<'_>| words.iter().any(|word| names_host(word, &lost.lower, true));
        for lost in lost.iter().filter(named) {
            report(lost, image.command_path(index), findings);
        }
    }
}

fn told(name: &str, service: &str, other: Option<(&str, &str)>) -> String {
    let name = shown(name);
    match other {
        None => format!("no host is called `{name}` on the cluster; Service `{service}` leads there"),
        Some((meant, found)) => format!(
            "host `{name}` leads to image `{}` on the cluster, and not to `{}`; Service `{service}` leads there",
            shown(found),
            shown(meant)
        ),
    }
}

fn advice(service: &str) -> String {
    format!("write `{service}`")
}

fn report(lost: &Lost<'_>, field: String, findings: &mut Findings) {
    let found = Diagnostic::new(Code::HostNameLost, field, told(lost.name, lost.service, lost.other));
    findings.push(found.advising(advice(lost.service)));
}

/// The names that are lost to an image with these links.
fn lost<'t>(
    context: &Context<'t>,
    links: &[&'t ResolvedLink<'t>],
    services: &[PlannedService<'_>],
) -> Vec<Lost<'t>> {
    let mut lost = Vec::new();
    let mut known = BTreeSet::new();
    // An alias is this image's own word; the name of a target may look like that of another link.
    let aliases = links.iter().map(|link| (*link, link.alias));
    let targets = links.iter().map(|link| (*link, context.template.images[link.target].name.as_str()));
    for (link, name) in aliases.chain(targets) {
        // A Service of an alias may have the name and lead elsewhere.
        let named = services.iter().find(|service| service.name().eq_ignore_ascii_case(name));
        let found = named.map(PlannedService::target);
        let lower = name.to_ascii_lowercase();
        if known.insert(lower.clone()) && found != Some(link.target) {
            let image = |index: usize| context.template.images[index].name.as_str();
            let other = found.map(|found| (image(link.target), image(found)));
            lost.push(Lost { name, lower, service: &link.service, other });
        }
    }
    lost
}

/// Whether an alias can only be meant as the name of a host: lower-case labels with dots between them.
fn is_domain(alias: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let last = alias.rsplit('.').next().unwrap_or_default();
    alias.contains('.') && alias.split('.').all(label) && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether all of a variable's value may be the name of a host.
fn is_host(name: &VariableName) -> bool {
    let lower = name.in_full().to_ascii_lowercase();
    lower.contains("host") || !(looks_secret(name.in_full()) || says_other(&lower))
}

/// The name that a bare Pod has for itself, where its own would hide what one of its links leads to: a pod's hosts file
/// has its name and is asked before DNS. `None`: its own name will do.
pub(super) fn hostname(context: &Context<'_>, index: usize, links: &[ResolvedLink<'_>]) -> Option<String> {
    if context.kind_of(index) != Kind::Pod {
        return None;
    }
    let taken: BTreeSet<&str> =
        links.iter().filter(|link| link.linker == index).map(|link| link.service.as_str()).collect();
    let component = context.names[index].as_str();
    let pod = Kind::Pod.workload_name(component);
    if !taken.contains(pod.get(..MAX_HOST).unwrap_or(&pod).trim_end_matches('-')) {
        return None;
    }
    let room = component.get(..MAX_HOST - 6).unwrap_or(component).trim_end_matches('-');
    let others = (0..=taken.len()).map(|number| format!("{room}-self{number}"));
    std::iter::once(component.to_owned()).chain(others).find(|name| !taken.contains(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_databases_and_secrets_are_no_hosts() {
        let of = |name: &str| is_host(&VariableName::new(name).unwrap());
        for name in ["DB_HOST", "database__connection__host", "REPORT_URL", "DB_HOSTNAME", "SERVERS"] {
            assert!(of(name), "{name}");
        }
        for name in ["MYSQL_DATABASE", "DB_NAME", "DB_PASSWORD", "POSTGRES_USER", "TITLE"] {
            assert!(!of(name), "{name}");
        }
    }

    #[test]
    fn only_plain_names_with_dots_are_domains() {
        for alias in ["scscf.sprout", "www.example.com"] {
            assert!(is_domain(alias), "{alias}");
        }
        for alias in ["Drupal_7.28", "drupal-7.28", "db", "DB.1", "a..b", ".a"] {
            assert!(!is_domain(alias), "{alias}");
        }
    }
}
