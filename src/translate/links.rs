//! Links and aliases: which Service each link leads to, when an alias means more than one thing included.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use super::naming::{LIMIT, fit, tell_change, with_hash};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{sanitise, shown};

/// One link and the Service that serves it.
#[derive(Clone, Debug)]
pub(super) struct ResolvedLink<'t> {
    /// The image that has the link.
    pub(super) linker: usize,
    /// The image it leads to.
    pub(super) target: usize,
    /// The alias as written.
    pub(super) alias: &'t str,
    /// Where the link was written.
    pub(super) field: &'t str,
    /// The name of its Service.
    pub(super) service: String,
    /// Whether the Service is this link's alone, because the alias means another thing elsewhere.
    separate: bool,
}

/// Names that a pod's hosts file has for the pod itself: it is asked before DNS, so a Service of that name is never
/// reached.
const HOME: &[&str] = &[
    "localhost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];

/// Resolves every link of the template, in the order of the images.
///
/// The result for a link does not depend on the order of the images.
pub(super) fn resolve<'t>(context: &Context<'t>, findings: &mut Findings) -> Vec<ResolvedLink<'t>> {
    let mut links = Vec::new();
    for (linker, image) in context.template.images.iter().enumerate() {
        for link in &image.links {
            let alias = link.alias.as_str();
            let Some(fitted) = fit(alias, LIMIT) else { continue };
            links.push(ResolvedLink {
                linker,
                target: link.target,
                alias,
                field: &link.field,
                service: fitted.text,
                separate: false,
            });
        }
    }
    separate(context, &mut links, findings);
    for link in links.iter().filter(|link| !link.separate) {
        tell_change(link.alias, &link.service, &format!("{}.alias", link.field), findings);
    }
    links
}

/// Gives links whose alias is ambiguous a Service of their own.
fn separate(context: &Context<'_>, links: &mut [ResolvedLink<'_>], findings: &mut Findings) {
    let images: BTreeMap<&str, usize> =
        context.names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let mut targets: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for link in links.iter() {
        targets.entry(link.service.clone()).or_default().insert(link.target);
    }
    let ambiguous = |service: &str, target: usize| {
        let several = targets.get(service).is_some_and(|targets| targets.len() > 1);
        several || leads_home(service) || images.get(service).is_some_and(|image| *image != target)
    };
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for link in links.iter_mut().filter(|link| ambiguous(&link.service, link.target)) {
        link.separate = true;
        *wanted.entry(own_name(context, link)).or_default() += 1;
    }
    let taken = |name: &str| images.contains_key(name) || targets.contains_key(name);
    for link in links.iter_mut().filter(|link| link.separate) {
        let mut name = own_name(context, link);
        if taken(&name) || wanted.get(&name).is_some_and(|wanted| *wanted > 1) {
            let pair = format!("{}\n{}", context.names[link.linker], sanitise(link.alias));
            name = with_hash(&name, &pair, LIMIT);
        }
        let alias = shown(link.alias);
        let (code, why) = match leads_home(&link.service) {
            true => (Code::HostNameLost, "is what every pod calls itself"),
            false => (Code::AliasAmbiguous, "is used for something else, too"),
        };
        let message = format!(
            "the alias `{alias}` {why}; this link gets Service `{name}` and declared variables of its own"
        );
        let found = Diagnostic::new(code, format!("{}.alias", link.field), message);
        findings.push(match code {
            Code::HostNameLost => {
                found.advising(format!("have the program call `{name}`, or choose another alias"))
            }
            _ => found,
        });
        link.service = name;
    }
}

/// Whether a pod finds itself under that name.
fn leads_home(service: &str) -> bool {
    HOME.contains(&service)
}

/// `<linker>-<alias>`, cut to fit.
fn own_name(context: &Context<'_>, link: &ResolvedLink<'_>) -> String {
    let joined = format!("{}-{}", context.names[link.linker], sanitise(link.alias));
    fit(&joined, LIMIT).map(|fitted| fitted.text).unwrap_or(joined)
}
