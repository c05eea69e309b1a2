//! An override merged into a template, as the Panamax remote agent did it, without its two bugs.

use std::collections::{BTreeMap, BTreeSet};

use super::MAX_IMAGES;
use super::links::nameless;
use super::names::{did_you_mean, shown};
use super::raw::{RawFrom, RawImage, RawPort, RawTemplate, RawVariable, RawVolume, Text};
use super::volumes::{Mode, plain, split_mode};
use crate::diagnostic::{Code, Diagnostic, Findings};

/// Merges an override; both are raw, so that its values are checked like the template's own.
///
/// Images are matched by name, and one that the template lacks is an error. A variable, a port (by container
/// port and protocol) and a volume (by container path) replace those of the template that they match, or are appended.
/// What the override says twice stays twice, and is judged as in a template. Command and count
/// replace; links, exposed ports and volumes_from are added, and an entry of volumes_from that is there gets the
/// `read_only` that the override says. What narrows an entry, an address of the host or read-only, and that
/// a variable is required, stays unless the override says otherwise. Other fields cannot be overridden: where they
/// differ, a warning says so. Faults in what came from the override have paths as `override.images[0].…`.
pub fn merge(mut base: RawTemplate, changes: RawTemplate) -> (RawTemplate, Vec<Diagnostic>) {
    let mut findings = Findings::default();
    for (key, ours, theirs) in [
        ("name", &base.name, &changes.name),
        ("description", &base.description, &changes.description),
        ("keywords", &base.keywords, &changes.keywords),
        ("type", &base.kind, &changes.kind),
        ("documentation", &base.documentation, &changes.documentation),
        ("recommended", &base.recommended, &changes.recommended),
    ] {
        ignored(ours, theirs, || format!("override.{key}"), &mut findings);
    }
    if !changes.authors.is_empty() && changes.authors != base.authors {
        ignored("", "authors", || "override.authors".to_owned(), &mut findings);
    }
    let mut places = BTreeMap::new();
    for (index, image) in base.images.iter().enumerate() {
        places.entry(image.name.clone()).or_insert(index);
    }
    let mut seen = BTreeMap::new();
    for (index, change) in changes.images.into_iter().enumerate() {
        let field = format!("override.images[{index}]");
        let first = *seen.entry(change.name.clone()).or_insert(index);
        if first != index && !change.name.is_empty() {
            let message = format!("override.images[{first}] has the same name `{}`", shown(&change.name));
            let advice = "write what is to change of one image in one entry";
            let found = Diagnostic::new(Code::NameCollision, format!("{field}.name"), message);
            findings.push(found.advising(advice));
        }
        let place = places.get(&change.name).copied().unwrap_or(usize::MAX);
        match base.images.get_mut(place) {
            Some(image) => merge_image(image, change, (&format!("images[{place}]"), &field), &mut findings),
            None => {
                let near = match places.len() > MAX_IMAGES || findings.are_many() {
                    true => String::new(),
                    false => did_you_mean(&change.name, places.keys().map(String::as_str)),
                };
                let near = match nameless(&base.images).filter(|_| near.is_empty()) {
                    Some(nameless) => format!("; {nameless}"),
                    None => near,
                };
                let message = match change.name.as_str() {
                    "" => "the image has no name, which says what it overrides".to_owned(),
                    name => format!("the template has no image `{}`{near}", shown(name)),
                };
                findings.report(Code::OverrideImageMissing, format!("{field}.name"), message);
            }
        }
    }
    (base, findings.into_vec())
}

fn ignored(ours: &str, theirs: &str, field: impl FnOnce() -> String, findings: &mut Findings) {
    if !theirs.is_empty() && theirs != ours {
        findings.report(Code::OverrideFieldIgnored, field(), "an override cannot change this");
    }
}

fn merge_image(
    image: &mut RawImage,
    change: RawImage,
    (place, field): (&str, &str),
    findings: &mut Findings,
) {
    for (key, ours, theirs) in [
        ("source", &image.source, &change.source),
        ("category", &image.category, &change.category),
        ("type", &image.kind, &change.kind),
        ("description", &image.description, &change.description),
    ] {
        ignored(ours, theirs, || format!("{field}.{key}"), findings);
    }
    replace(&mut image.command, change.command, || format!("{field}.command"));
    replace(&mut image.count, change.count, || format!("{field}.deployment.count"));
    merge_list(
        &mut image.environment,
        change.environment,
        (&format!("{place}.environment"), &format!("{field}.environment")),
    );
    tell_replaced(&image.ports, &change.ports, &format!("{field}.ports"), findings);
    merge_list(&mut image.ports, change.ports, (&format!("{place}.ports"), &format!("{field}.ports")));
    merge_list(
        &mut image.volumes,
        change.volumes,
        (&format!("{place}.volumes"), &format!("{field}.volumes")),
    );
    for (index, mut link) in change.links.into_iter().enumerate() {
        link.field.get_or_insert_with(|| format!("{field}.links[{index}]"));
        image.links.push(link);
    }
    append(&mut image.expose, change.expose, |index| format!("{field}.expose[{index}]"));
    lend(&mut image.volumes_from, change.volumes_from, |index| format!("{field}.volumes_from[{index}]"));
}

fn replace(ours: &mut Text, mut theirs: Text, field: impl FnOnce() -> String) {
    if !theirs.value.is_empty() {
        theirs.field.get_or_insert_with(field);
        *ours = theirs;
    }
}

/// Adds what the template does not have.
fn append(ours: &mut Vec<Text>, theirs: Vec<Text>, field: impl Fn(usize) -> String) {
    let known: BTreeSet<String> = ours.iter().map(|text| text.value.clone()).collect();
    for (index, mut text) in theirs.into_iter().enumerate() {
        if !known.contains(&text.value) {
            text.field.get_or_insert_with(|| field(index));
            ours.push(text);
        }
    }
}

/// Adds lenders that the template does not have; an entry that says whether it is read-only replaces the one of its lender.
fn lend(ours: &mut Vec<RawFrom>, theirs: Vec<RawFrom>, field: impl Fn(usize) -> String) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (index, from) in ours.iter().enumerate() {
        known.entry(from.service.clone()).or_insert(index);
    }
    let mut replaced = BTreeSet::new();
    for (index, mut from) in theirs.into_iter().enumerate() {
        from.field.get_or_insert_with(|| field(index));
        match known.get(&from.service) {
            Some(_) if from.read_only.is_empty() => {}
            Some(place) if replaced.insert(*place) => ours[*place] = from,
            Some(_) | None => ours.push(from),
        }
    }
}

/// Tells where one port of an override takes the place of several: the template keeps each of them.
fn tell_replaced(ours: &[RawPort], theirs: &[RawPort], field: &str, findings: &mut Findings) {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    ours.iter().for_each(|port| *counts.entry(port.key()).or_default() += 1);
    for (index, port) in theirs.iter().enumerate() {
        // Once for each port, however many entries the override has for it.
        if let Some(count) = counts.remove(&port.key()).filter(|count| *count > 1) {
            let message = format!("it replaces all {count} entries of the template for this container port");
            findings.report(Code::OverrideReplacesSeveral, format!("{field}[{index}]"), message);
        }
    }
}

/// An entry that an override replaces when it has the same key.
trait Keyed {
    fn key(&self) -> (String, String);
    fn field(&mut self) -> &mut Option<String>;
    /// Keeps of the entry that it replaces what is not for values to decide, unless it says itself what is to be: what
    /// narrows it, and what its author demands.
    fn keep(&mut self, before: &Self);
}

/// Where a key of an entry was written that is in its list.
fn place(field: &Option<String>, key: &str) -> String {
    format!("{}.{key}", field.as_deref().unwrap_or_default())
}

impl Keyed for RawVariable {
    fn key(&self) -> (String, String) {
        (self.variable.clone(), String::new())
    }

    fn field(&mut self) -> &mut Option<String> {
        &mut self.field
    }

    fn keep(&mut self, before: &Self) {
        self.required.keep(&before.required, || place(&before.field, "required"));
    }
}

impl Keyed for RawPort {
    fn key(&self) -> (String, String) {
        let proto = self.proto.to_ascii_lowercase();
        (self.container_port.clone(), if proto.is_empty() { "tcp".to_owned() } else { proto })
    }

    fn field(&mut self) -> &mut Option<String> {
        &mut self.field
    }

    fn keep(&mut self, before: &Self) {
        if self.host_interface.value.is_empty() && before.closed {
            self.closed = true;
            let at = || before.field.clone().unwrap_or_default();
            self.host_interface.field = Some(before.host_interface.place(at));
        }
        self.host_interface.keep(&before.host_interface, || place(&before.field, "host_interface"));
    }
}

impl Keyed for RawVolume {
    fn key(&self) -> (String, String) {
        (plain(split_mode(&self.container_path).0), String::new())
    }

    fn keep(&mut self, before: &Self) {
        if !self.read_only.value.is_empty() || split_mode(&self.container_path).1.is_some() {
            return;
        }
        match split_mode(&before.container_path).1 {
            Some(Mode::ReadOnly) => self.read_only = "true".into(),
            _ => self.read_only.keep(&before.read_only, || place(&before.field, "read_only")),
        }
    }

    fn field(&mut self) -> &mut Option<String> {
        &mut self.field
    }
}

/// Puts the new entries of a key at the place of the first one that the template has for it, and drops the others of that
/// key, or appends them. What the new ones say twice stays twice: whoever judges a template judges that.
fn merge_list<T: Keyed>(ours: &mut Vec<T>, theirs: Vec<T>, (place, field): (&str, &str)) {
    if theirs.is_empty() {
        return;
    }
    let mut slots: Vec<Vec<T>> = Vec::with_capacity(ours.len() + theirs.len());
    let mut known: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, mut entry) in std::mem::take(ours).into_iter().enumerate() {
        entry.field().get_or_insert_with(|| format!("{place}[{index}]"));
        known.entry(entry.key()).or_default().push(slots.len());
        slots.push(vec![entry]);
    }
    let mut placed: BTreeMap<usize, Vec<T>> = BTreeMap::new();
    let mut appended = Vec::new();
    for (index, mut entry) in theirs.into_iter().enumerate() {
        entry.field().get_or_insert_with(|| format!("{field}[{index}]"));
        let same = known.get(&entry.key()).map(Vec::as_slice).unwrap_or_default();
        for before in same.iter().flat_map(|slot| &slots[*slot]) {
            entry.keep(before);
        }
        match same.first() {
            Some(first) => placed.entry(*first).or_default().push(entry),
            None => appended.push(entry),
        }
    }
    for same in known.values().filter(|same| placed.contains_key(&same[0])) {
        same.iter().for_each(|slot| slots[*slot].clear());
    }
    for (slot, entries) in placed {
        slots[slot] = entries;
    }
    ours.extend(slots.into_iter().flatten().chain(appended));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> RawVariable {
        RawVariable { variable: name.into(), value: value.into(), ..RawVariable::default() }
    }

    fn image(name: &str, environment: Vec<RawVariable>) -> RawImage {
        RawImage { name: name.into(), environment, ..RawImage::default() }
    }

    fn template(images: Vec<RawImage>) -> RawTemplate {
        RawTemplate { images, ..RawTemplate::default() }
    }

    fn values(image: &RawImage) -> Vec<(&str, &str)> {
        image.environment.iter().map(|one| (one.variable.as_str(), one.value.as_str())).collect()
    }

    #[test]
    fn a_variable_replaces_or_is_appended() {
        let base = template(vec![image("WP", vec![variable("A", "1"), variable("B", "2")])]);
        let change =
            template(vec![image("WP", vec![variable("B", "3"), variable("C", "4"), variable("C", "5")])]);
        let (merged, found) = merge(base, change);
        assert_eq!(values(&merged.images[0]), [("A", "1"), ("B", "3"), ("C", "4"), ("C", "5")]);
        assert_eq!(
            merged.images[0].environment[1].field.as_deref(),
            Some("override.images[0].environment[0]")
        );
        assert!(found.is_empty());
    }

    #[test]
    fn a_variable_that_the_template_repeats_is_replaced_wholly_and_its_neighbours_keep_their_paths() {
        let base =
            template(vec![image("WP", vec![variable("A", "1"), variable("A", "2"), variable("B", "3")])]);
        let change = template(vec![image("WP", vec![variable("A", "9")])]);
        let merged = merge(base, change).0;
        assert_eq!(values(&merged.images[0]), [("A", "9"), ("B", "3")]);
        assert_eq!(merged.images[0].environment[1].field.as_deref(), Some("images[0].environment[2]"));
    }

    #[test]
    fn other_images_and_other_lists_stay() {
        let base =
            template(vec![image("WP", vec![variable("A", "1")]), image("DB", vec![variable("A", "2")])]);
        let (merged, _) = merge(base.clone(), template(vec![image("DB", vec![variable("A", "3")])]));
        assert_eq!(merged.images[0], base.images[0]);
        assert_eq!(values(&merged.images[1]), [("A", "3")]);
    }

    #[test]
    fn count_and_command_replace_and_ports_match_by_container_port() {
        let port = |host: &str, container: &str| RawPort {
            host_port: host.into(),
            container_port: container.into(),
            ..RawPort::default()
        };
        let mut ours = image("WP", vec![]);
        ours.ports = vec![port("8000", "80"), port("", "443")];
        ours.count = "1".into();
        let mut theirs = image("WP", vec![]);
        theirs.ports = vec![port("9000", "80"), port("21", "21")];
        theirs.count = "3".into();
        theirs.command = "run".into();
        let merged = merge(template(vec![ours]), template(vec![theirs])).0;
        let ports: Vec<_> = merged.images[0].ports.iter().map(|port| port.host_port.as_str()).collect();
        assert_eq!(ports, ["9000", "", "21"]);
        assert_eq!(merged.images[0].count.value, "3");
        assert_eq!(merged.images[0].count.field.as_deref(), Some("override.images[0].deployment.count"));
        assert_eq!(merged.images[0].command.value, "run");
    }

    #[test]
    fn an_override_opens_nothing_wider_unless_it_says_so() {
        let port = |interface: &str| RawPort {
            host_interface: interface.into(),
            host_port: "8080".into(),
            container_port: "80".into(),
            ..RawPort::default()
        };
        let volume = |path: &str, read_only: &str| RawVolume {
            container_path: path.into(),
            read_only: read_only.into(),
            ..RawVolume::default()
        };
        let merged = |ports: [RawPort; 2], volumes: [RawVolume; 2]| {
            let [ours, theirs] = [0, 1].map(|index: usize| RawImage {
                ports: vec![ports[index].clone()],
                volumes: vec![volumes[index].clone()],
                ..image("A", vec![])
            });
            let (merged, _) = merge(template(vec![ours]), template(vec![theirs]));
            let image = &merged.images[0];
            (image.ports[0].host_interface.value.clone(), image.volumes[0].read_only.value.clone())
        };
        let narrow = merged([port("127.0.0.1"), port("")], [volume("/x:ro", ""), volume("/x/", "")]);
        assert_eq!(narrow, ("127.0.0.1".to_owned(), "true".to_owned()));
        let wide =
            merged([port("127.0.0.1"), port("0.0.0.0")], [volume("/x", "true"), volume("/x", "false")]);
        assert_eq!(wide, ("0.0.0.0".to_owned(), "false".to_owned()));
    }

    #[test]
    fn a_lender_that_is_there_lends_as_the_override_says() {
        let merged = |ours: &str, theirs: &str| {
            let from =
                |read_only: &str| RawFrom { service: "DB".into(), read_only: read_only.into(), field: None };
            let [ours, theirs] =
                [ours, theirs].map(|mode| RawImage { volumes_from: vec![from(mode)], ..image("A", vec![]) });
            let merged = merge(template(vec![ours]), template(vec![theirs])).0;
            let all = merged.images[0].volumes_from.iter().map(|from| from.read_only.clone());
            all.collect::<Vec<_>>()
        };
        assert_eq!(merged("", "true"), ["true"]);
        assert_eq!(merged("true", ""), ["true"], "who says nothing of it widens nothing");
        assert_eq!(merged("true", "false"), ["false"]);
    }

    #[test]
    fn an_unknown_image_is_refused_and_an_unmergeable_field_told() {
        let base = template(vec![image("WP", vec![])]);
        let mut change = image("WP", vec![]);
        change.source = "other".into();
        let (_, found) = merge(base, template(vec![image("WPP", vec![]), change]));
        let found: Vec<_> = found.iter().map(|one| (one.code, one.field.as_str())).collect();
        assert_eq!(
            found,
            [
                (Code::OverrideImageMissing, "override.images[0].name"),
                (Code::OverrideFieldIgnored, "override.images[1].source")
            ]
        );
    }
}
