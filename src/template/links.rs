//! Links between images: who is meant, and under which alias.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{
    accept, boolean, check_name, did_you_mean, looks_like, sanitise, shown, text, variable_prefix,
};
use super::raw::{RawFrom, RawImage, RawLink};
use super::volumes::{Mode, VolumesFrom, split_mode};
use super::{Fault, Place};
use crate::diagnostic::{Code, Diagnostic, Findings};

/// The most links of one image, and the most entries of `volumes_from`.
pub const MAX_LINKS: usize = 64;

text! {
    /// The alias of a link: has a letter or a digit, and nothing invisible.
    Alias
}

impl Alias {
    /// Takes an alias of which sanitising leaves something.
    pub fn new(text: impl Into<String>) -> Result<Self, Fault> {
        let text = text.into();
        check_name(&text)?;
        if sanitise(&text).is_empty() {
            return Err(super::names::nameless(&text, "alias"));
        }
        Ok(Self(text))
    }
}

/// One link of an image to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which image of the template it leads to.
    pub target: usize,
    /// The name the linking image knows it by.
    pub alias: Alias,
    /// Where it was written, as `images[0].links[1]`.
    pub field: Place,
}

/// The images of a template by name, exact and sanitised.
pub(super) struct Names<'n> {
    exact: BTreeMap<&'n str, usize>,
    /// What is said of images whose name is not there, or could not be read.
    nameless: Option<String>,
    sanitised: BTreeMap<String, Vec<usize>>,
}

impl<'n> Names<'n> {
    pub(super) fn of(images: &'n [RawImage]) -> Self {
        let mut exact = BTreeMap::new();
        let mut sanitised: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, image) in images.iter().enumerate() {
            exact.entry(image.name.as_str()).or_insert(index);
            sanitised.entry(sanitise(&image.name)).or_default().push(index);
        }
        Self { exact, nameless: nameless(images), sanitised }
    }

    /// The first image of exactly this name.
    pub(super) fn exact(&self, name: &str) -> Option<usize> {
        self.exact.get(name).copied()
    }

    /// The image of that name, and whether another spelling had to be assumed.
    fn find(&self, name: &str) -> Option<(usize, bool)> {
        if let Some(index) = self.exact(name) {
            return Some((index, false));
        }
        let plain = sanitise(name);
        match self.sanitised.get(&plain).map(Vec::as_slice) {
            Some([only]) if !plain.is_empty() => Some((*only, true)),
            _ => None,
        }
    }

    /// A name that no image has. Where an image has no name that could be read, that one may be meant, and nobody can say
    /// that it is missing.
    fn missing(&self, code: Code, (field, name): (String, &str), findings: &Findings) -> Diagnostic {
        if name.is_empty() {
            let found = Diagnostic::new(code, field, "the entry names no image");
            return found.advising("write the name of an image of the template");
        }
        let (near, name_shown) = (self.suggestion(name, findings), shown(name));
        if let Some(nameless) = self.nameless.as_ref().filter(|_| near.is_empty()) {
            let found =
                Diagnostic::new(code, field, format!("the template has no image `{name_shown}`; {nameless}"));
            return found.advising("correct that image first: it may be the one that is meant");
        }
        let message = format!("the template has no image `{name_shown}`{near}");
        self.advised(Diagnostic::new(code, field, message), name, findings)
    }

    /// Advises where a name looks like that of an image and has other letters.
    fn advised(&self, found: Diagnostic, name: &str, findings: &Findings) -> Diagnostic {
        let mut names = self.exact.keys().filter(|_| !findings.are_many());
        match names.find(|known| **known != name && looks_like(known, name)) {
            Some(known) => found.advising(format!(
                "it only looks like `{}`: one of the two has letters of another script; copy the name",
                shown(known)
            )),
            None => found,
        }
    }

    /// Says which name may have been meant; nothing where so much is wrong already that it would not help.
    fn suggestion(&self, name: &str, findings: &Findings) -> String {
        if findings.are_many() {
            return String::new();
        }
        did_you_mean(name, self.exact.keys().copied().filter(|known| *known == shown(known)))
    }
}

/// Says that an image has no name, if one has none: nobody knows then that an image of a certain name is missing.
pub(super) fn nameless(images: &[RawImage]) -> Option<String> {
    let mut found =
        images.iter().enumerate().filter(|(_, image)| image.name.is_empty()).map(|(index, _)| index);
    let first = found.next()?;
    Some(match found.next() {
        None => format!("images[{first}] has no name that could be read"),
        Some(_) => format!("images[{first}] and others have no name that could be read"),
    })
}

/// Checks `links`; a link to itself is left out, and of equal ones the first stays.
pub(super) fn check(
    raw: Vec<RawLink>,
    (own, image): (usize, &str),
    names: &Names<'_>,
    findings: &mut Findings,
) -> Vec<Link> {
    if raw.len() > MAX_LINKS {
        findings.report(
            Code::LimitExceeded,
            format!("{image}.links"),
            format!("more than {MAX_LINKS} links"),
        );
    }
    let mut links: Vec<Link> = Vec::with_capacity(raw.len());
    let mut aliases: BTreeMap<String, usize> = BTreeMap::new();
    for (index, entry) in raw.into_iter().enumerate().take(MAX_LINKS) {
        let field = entry.field.clone().unwrap_or_else(|| format!("{image}.links[{index}]"));
        let target = resolve(&entry.service, &field, names, findings);
        let alias = if entry.alias.is_empty() { entry.service } else { entry.alias };
        let alias = if alias.is_empty() {
            None
        } else {
            accept(Alias::new(alias), || format!("{field}.alias"), findings)
        };
        let (Some(target), Some(alias)) = (target, alias) else {
            continue;
        };
        if target == own {
            findings.report(Code::LinkSelf, field, "the image links to itself");
            continue;
        }
        match aliases.insert(sanitise(alias.as_str()), target) {
            None => links.push(Link { target, alias, field: field.into() }),
            // Both aliases are one name in DNS, and each has variables of its own.
            Some(known) if known == target && !has_variables(&links, target, &alias) => {
                links.push(Link { target, alias, field: field.into() });
            }
            Some(known) if known == target => {
                let message = format!("the alias `{}` is listed twice", shown(alias.as_str()));
                findings.report(Code::LinkRepeated, field, message);
            }
            Some(_) => {
                let message = format!("the alias `{}` is used for two images", shown(alias.as_str()));
                findings.report(Code::AliasRepeated, format!("{field}.alias"), message);
            }
        }
    }
    links
}

/// Whether a link to the same image sets the same variables.
fn has_variables(links: &[Link], target: usize, alias: &Alias) -> bool {
    let prefix = variable_prefix(alias.as_str());
    links.iter().any(|link| link.target == target && variable_prefix(link.alias.as_str()) == prefix)
}

/// Checks the names in `volumes_from`; cycles are looked for when all images are known.
pub(super) fn check_volumes_from(
    raw: &[RawFrom],
    (own, image): (usize, &str),
    names: &Names<'_>,
    findings: &mut Findings,
) -> Vec<VolumesFrom> {
    if raw.len() > MAX_LINKS {
        let message = format!("more than {MAX_LINKS} entries");
        findings.report(Code::LimitExceeded, format!("{image}.volumes_from"), message);
    }
    let mut sources: Vec<VolumesFrom> = Vec::with_capacity(raw.len());
    for (index, entry) in raw.iter().enumerate().take(MAX_LINKS) {
        let field = entry.field.clone().unwrap_or_else(|| format!("{image}.volumes_from[{index}]"));
        let written = accept(boolean(&entry.read_only), || format!("{field}.read_only"), findings);
        // A name may have a `:` of its own.
        let (name, mode) = match names.exact(&entry.service) {
            Some(_) => (entry.service.as_str(), None),
            None => split_mode(&entry.service),
        };
        let read_only = written.flatten() == Some(true) || mode == Some(Mode::ReadOnly);
        match names.find(name) {
            Some((target, _)) if target == own => {
                findings.report(Code::VolumesFromTarget, field, "the image takes volumes from itself");
            }
            Some((target, assumed)) => {
                if let Some(known) = sources.iter_mut().find(|known| known.target == target) {
                    // Of two the last one counts, as in Docker.
                    let is_other = std::mem::replace(&mut known.read_only, read_only) != read_only;
                    let which = if is_other { "; the last entry says whether it may write" } else { "" };
                    findings.report(
                        Code::LinkRepeated,
                        field,
                        format!("the same image is listed twice{which}"),
                    );
                    continue;
                }
                if assumed {
                    assume(name, &field, findings);
                }
                sources.push(VolumesFrom { target, read_only, field: field.into() });
            }
            None => {
                let found = names.missing(Code::VolumesFromTarget, (field, name), findings);
                findings.push(found);
            }
        }
    }
    sources
}

fn resolve(service: &str, field: &str, names: &Names<'_>, findings: &mut Findings) -> Option<usize> {
    let place = format!("{field}.service");
    if service.is_empty() {
        let found = Diagnostic::new(Code::LinkTargetMissing, place, "the link names no image");
        findings.push(found.advising("add `service` with the name of an image of the template"));
        return None;
    }
    let Some((target, assumed)) = names.find(service) else {
        let found = names.missing(Code::LinkTargetMissing, (place, service), findings);
        findings.push(found);
        return None;
    };
    if assumed {
        assume(service, &place, findings);
    }
    Some(target)
}

fn assume(name: &str, field: &str, findings: &mut Findings) {
    let message = format!("`{}` was taken as the image of nearly that name", shown(name));
    findings.report(Code::LinkTargetAssumed, field, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Vec<RawImage> {
        names.iter().map(|name| RawImage { name: (*name).into(), ..RawImage::default() }).collect()
    }

    fn run(names: &[&str], links: &[(&str, &str)]) -> (Vec<Link>, Vec<(Code, String)>) {
        let images = images(names);
        let mut findings = Findings::default();
        let raw = links
            .iter()
            .map(|(service, alias)| RawLink {
                service: (*service).into(),
                alias: (*alias).into(),
                field: None,
            })
            .collect();
        let links = check(raw, (0, "images[0]"), &Names::of(&images), &mut findings);
        (links, findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect())
    }

    #[test]
    fn targets_are_found_exactly_or_nearly() {
        let (links, found) = run(&["WP", "DB", "db_x"], &[("DB", "DB_1"), ("DB_X", ""), ("db", "third")]);
        assert_eq!(links.iter().map(|link| link.target).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(links[1].alias.as_str(), "DB_X");
        assert_eq!(
            found,
            [
                (Code::LinkTargetAssumed, "images[0].links[1].service".into()),
                (Code::LinkTargetAssumed, "images[0].links[2].service".into())
            ]
        );
    }

    #[test]
    fn a_missing_target_is_refused_with_a_suggestion() {
        let images = images(&["WP", "MySQL"]);
        let mut findings = Findings::default();
        let raw = vec![RawLink { service: "MySQLL".into(), ..RawLink::default() }];
        check(raw, (0, "images[0]"), &Names::of(&images), &mut findings);
        let found = &findings.into_vec()[0];
        assert_eq!(
            (found.code, found.field.as_str()),
            (Code::LinkTargetMissing, "images[0].links[0].service")
        );
        assert!(found.message.ends_with("did you mean `MySQL`?"), "{}", found.message);
        assert_eq!(run(&["WP"], &[("", "x")]).1[0].0, Code::LinkTargetMissing);
    }

    #[test]
    fn an_image_without_a_name_may_be_the_one_that_is_meant() {
        let told = |names: &[&str], service: &str| {
            let images = images(names);
            let mut findings = Findings::default();
            let raw = vec![RawLink { service: service.into(), ..RawLink::default() }];
            check(raw, (0, "images[0]"), &Names::of(&images), &mut findings);
            let found = findings.into_vec().remove(0);
            let lenders = check_volumes_from(
                &[service.into()],
                (0, "images[0]"),
                &Names::of(&images),
                &mut Findings::default(),
            );
            assert!(lenders.is_empty());
            format!("{} ({})", found.message, found.hint())
        };
        let one = told(&["WP", ""], "DB");
        assert!(
            one.starts_with(
                "the template has no image `DB`; images[1] has no name that could be read (correct"
            ),
            "{one}"
        );
        assert!(told(&["WP", "", ""], "DB").contains("; images[1] and others have no name that"), "{one}");
        // What is nearly there is more likely meant.
        assert!(told(&["WP", "MySQL", ""], "MySQLL").contains("did you mean `MySQL`?"));
    }

    #[test]
    fn two_near_names_are_no_target() {
        assert_eq!(run(&["WP", "D_B", "D.B"], &[("d-b", "")]).1[0].0, Code::LinkTargetMissing);
        // Nor is one of which sanitising leaves nothing, whoever it looks like then.
        assert_eq!(run(&["WP", "___"], &[("!!!", "x")]).1[0].0, Code::LinkTargetMissing);
    }

    #[test]
    fn self_links_repeats_and_clashes_are_told() {
        let (links, found) =
            run(&["WP", "DB", "MQ"], &[("WP", "me"), ("DB", "a"), ("DB", "A"), ("MQ", "a"), ("DB", "___")]);
        assert_eq!(links.len(), 1);
        let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [Code::LinkSelf, Code::LinkRepeated, Code::AliasRepeated, Code::NameMissing]);
        assert_eq!(found[2].1, "images[0].links[3].alias");
    }

    #[test]
    fn volumes_come_from_64_images_at_most() {
        let names: Vec<String> = (0..66).map(|index| format!("i{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let images = images(&names);
        let run = |count: usize| {
            let mut findings = Findings::default();
            let raw: Vec<RawFrom> = names[1..=count].iter().map(|name| (*name).into()).collect();
            let sources = check_volumes_from(&raw, (0, "images[0]"), &Names::of(&images), &mut findings);
            let found = findings.into_vec().into_iter().map(|found| (found.code, found.field));
            (sources.len(), found.collect::<Vec<_>>())
        };
        assert_eq!(run(64), (64, vec![]));
        assert_eq!(run(65), (64, vec![(Code::LimitExceeded, "images[0].volumes_from".into())]));
    }

    #[test]
    fn the_limit_is_64() {
        let links: Vec<_> = (0..65).map(|index| format!("a{index}")).collect();
        let links: Vec<_> = links.iter().map(|alias| ("DB", alias.as_str())).collect();
        assert_eq!(run(&["WP", "DB"], &links).1, [(Code::LimitExceeded, "images[0].links".into())]);
    }
}
