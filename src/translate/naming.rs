//! Template names to Kubernetes names: the seed's rule, a length of 63, and no two alike.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::artifacts::{ComponentName, ObjectName};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{ImageName, Template, sanitise, shown};

/// The longest name of a label's value, a container and a Service (RFC 1123).
pub(super) const LIMIT: usize = 63;

/// The one Service name that would change what every pod knows about the API server.
const RESERVED: &str = "kubernetes";

/// A name that fits, and whether it had to be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) text: String,
    pub(super) shortened: bool,
}

/// Sanitises a name and cuts it to the limit; a hash of the whole keeps cut names apart.
///
/// `None` when sanitising leaves nothing.
pub(super) fn fit(name: &str, limit: usize) -> Option<Fitted> {
    let text = sanitise(name);
    if text.is_empty() {
        return None;
    }
    if text.len() <= limit {
        return Some(Fitted { text, shortened: false });
    }
    Some(Fitted { text: with_hash(&text, name, limit), shortened: true })
}

/// Cuts a sanitised name so that `-` and eight digits of the hash of another text fit behind it.
pub(super) fn with_hash(text: &str, hashed: &str, limit: usize) -> String {
    let digest = Sha256::digest(hashed.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept = text.get(..limit.saturating_sub(9).min(text.len())).unwrap_or_default();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// The name of the component that an image of this name becomes; `None` when nothing is left of it.
///
/// ```
/// use panamax_kubernetes_adapter::translate::component_name;
/// assert_eq!(component_name("DB_1").unwrap().as_str(), "db-1");
/// ```
pub fn component_name(image_name: &str) -> Option<ComponentName> {
    fit(image_name, LIMIT).and_then(|fitted| ComponentName::new(fitted.text).ok())
}

/// The components' names, in the order of the images; one is missing where two images want it.
pub(super) struct ComponentNames(Vec<Option<ComponentName>>);

impl ComponentNames {
    /// Every image's name, or `None` when one is missing.
    pub(super) fn all(self) -> Option<Vec<ComponentName>> {
        self.0.into_iter().collect()
    }

    /// The name of each image that has one.
    pub(super) fn per_image(self) -> impl Iterator<Item = Option<ComponentName>> {
        self.0.into_iter()
    }
}

/// Names the components; reports names that collide, are reserved, or were changed beyond letter case.
pub(super) fn component_names(template: &Template, findings: &mut Findings) -> ComponentNames {
    let written: Vec<_> = template.images.iter().map(|image| Some(&image.name)).collect();
    name_all(&written, findings)
}

/// What refuses a template because of the names of its images; an image without one is passed over.
pub fn name_faults(written: &[Option<ImageName>]) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    let written: Vec<_> = written.iter().map(Option::as_ref).collect();
    name_all(&written, &mut findings);
    findings.into_vec().into_iter().filter(Diagnostic::is_error).collect()
}

fn name_all(written: &[Option<&ImageName>], findings: &mut Findings) -> ComponentNames {
    let mut owners: BTreeMap<ComponentName, (usize, &ImageName)> = BTreeMap::new();
    let mut names = Vec::with_capacity(written.len());
    for (index, image) in written.iter().enumerate() {
        let Some(image) = *image else {
            names.push(None);
            continue;
        };
        let field = format!("images[{index}].name");
        let Some(name) = component_name(image.as_str()) else {
            findings.report(Code::NameMissing, field, "the name has no letter and no digit");
            names.push(None);
            continue;
        };
        if let Some((first, other)) = owners.get(&name).copied() {
            findings.push(collision((image, field), (other, first), &name));
            names[first] = None;
            names.push(None);
            continue;
        }
        if name.as_str() == RESERVED {
            findings.report(Code::NameReserved, field, "a Service of that name would hide the API server");
        } else {
            tell_change(image.as_str(), name.as_str(), &field, findings);
        }
        owners.insert(name.clone(), (index, image));
        names.push(Some(name));
    }
    ComponentNames(names)
}

/// The finding that two images want one name.
fn collision(
    (image, field): (&ImageName, String),
    (other, first): (&ImageName, usize),
    name: &ComponentName,
) -> Diagnostic {
    let message = format!(
        "`{}` and `{}` of images[{first}] both become `{name}`",
        shown(image.as_str()),
        shown(other.as_str())
    );
    let advice = match (image.as_str().is_ascii(), other.as_str().is_ascii()) {
        (true, true) => "rename one of the two: capitals and signs do not tell names apart on a cluster",
        _ => "rename one of the two with other letters from a to z: all others become dashes on a cluster",
    };
    Diagnostic::new(Code::NameCollision, field, message).advising(advice)
}

/// Tells that a name was cut, or changed by more than letter case.
pub(super) fn tell_change(written: &str, name: &str, field: &str, findings: &mut Findings) {
    if sanitise(written).len() > LIMIT {
        let message = format!("`{}` was cut to `{name}`", shown(written));
        findings.report(Code::NameShortened, field, message);
    } else if !written.eq_ignore_ascii_case(name) {
        let message = format!("`{}` became `{name}`", shown(written));
        findings.report(Code::NameChanged, field, message);
    }
}

/// Checks the name of a Service that will exist: refuses a reserved one, reports a digit at the start.
pub(super) fn check_service_name(name: &str, field: &str, findings: &mut Findings) {
    if name == RESERVED {
        // An image of that name is refused already.
        if field.ends_with(".alias") {
            findings.report(Code::NameReserved, field, "a Service of that name would hide the API server");
        }
    } else if name.starts_with(|first: char| first.is_ascii_digit()) {
        let message = format!("the Service `{name}` begins with a digit");
        findings.report(Code::ServiceNameDigit, field, message);
    }
}

/// Makes the name of an object from a text that is sanitised already and within its limit.
///
/// `None` never happens for such a text; callers leave the object out, and the check for duplicates reports it.
pub(super) fn object_name(text: impl Into<String>) -> Option<ObjectName> {
    ObjectName::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_with_a_stable_hash() {
        let fits = component_name(&"a".repeat(63)).unwrap();
        assert_eq!(fits.as_str(), "a".repeat(63));
        let cut = component_name(&"a".repeat(64)).unwrap();
        assert_eq!(cut.as_str(), "a".repeat(54) + "-ffe054fe");
        assert_ne!(cut, component_name(&"a".repeat(65)).unwrap());
        let dashed = component_name(&format!("{}{}", "a".repeat(53), "-b".repeat(20))).unwrap();
        assert!(dashed.as_str().len() <= 63 && !dashed.as_str().contains("--"));
    }

    #[test]
    fn names_are_judged_beside_others_that_are_at_fault() {
        let name = |text: &str| ImageName::new(text).ok();
        let written = [name("A_1"), None, name("a-1"), name("Kubernetes"), name("b c")];
        let found: Vec<_> =
            name_faults(&written).into_iter().map(|found| (found.code, found.field)).collect();
        let at = |index: usize| format!("images[{index}].name");
        assert_eq!(found, [(Code::NameCollision, at(2)), (Code::NameReserved, at(3))]);
    }

    #[test]
    fn nothing_left_is_no_name() {
        assert_eq!(component_name("___"), None);
        assert_eq!(component_name(""), None);
    }
}
