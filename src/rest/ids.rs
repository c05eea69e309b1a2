//! Names and ids: what the agents' services are called, without anything that has to be remembered.

use sha2::{Digest, Sha256};

use crate::artifacts::{ComponentName, DeploymentName};
use crate::operations::DeploymentView;

/// What the name of every deployment of an agent begins with.
const PREFIX: &str = "agent-";
/// The longest piece of a component's name in it.
const LONGEST: usize = 40;
/// How many letters of a digest and of a uid tell things apart.
const DIGITS: usize = 8;

/// The name of the deployment of these components; `None` if there are none.
///
/// It comes from their names and not from what they contain: the same names are the same objects. So whoever posts again
/// meets what is there, and whoever deploys again finds the volume claims that stayed.
pub(super) fn deployment<'c>(
    components: impl IntoIterator<Item = &'c ComponentName>,
) -> Option<DeploymentName> {
    let mut names: Vec<&str> = components.into_iter().map(ComponentName::as_str).collect();
    names.sort_unstable();
    let digest = Sha256::digest(names.join("\n"));
    let digest: String = digest.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    let first: String = names.first()?.chars().take(LONGEST).collect();
    DeploymentName::new(format!("{PREFIX}{}-{digest}", first.trim_end_matches('-'))).ok()
}

/// Whether a deployment is one of the agents': it has the very name that a POST of its components gives. A name that only
/// begins like one is somebody else's, whose deployment is neither listed nor shown nor deleted here.
pub(super) fn is_agents(view: &DeploymentView) -> bool {
    is_of_these(&view.name, view.status.components.iter().map(|component| &component.name))
}

fn is_of_these<'c>(name: &DeploymentName, components: impl IntoIterator<Item = &'c ComponentName>) -> bool {
    deployment(components).as_ref() == Some(name)
}

/// Whether an agent's deployment can have such a name: what no agent was ever told need not be looked for.
fn may_be_agents(name: &DeploymentName) -> bool {
    let digits = name.as_str().strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-'));
    digits.is_some_and(|(_, digits)| {
        digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What an agent knows a service by: its component, its deployment, and which of all that ever had that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) component: ComponentName,
    pub(super) deployment: DeploymentName,
    uid: String,
}

impl Id {
    /// Reads an id; `None`: it is none that was ever given out.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (Some(component), Some(deployment), Some(uid), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let deployment = DeploymentName::new(deployment).ok().filter(may_be_agents)?;
        let is_uid = uid.len() == DIGITS && uid.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let component = ComponentName::new(component).ok()?;
        is_uid.then(|| Self { component, deployment, uid: uid.to_owned() })
    }

    /// Whether it is of this very deployment: one that was made later has another uid, and is not this service's.
    pub(super) fn is_of(&self, view: &DeploymentView) -> bool {
        view.name == self.deployment
            && is_agents(view)
            && begin(&view.uid) == self.uid
            && view.status.components.iter().any(|component| component.name == self.component)
    }
}

/// The id of a component.
pub(super) fn of(component: &ComponentName, view: &DeploymentView) -> String {
    format!("{component}.{}.{}", view.name, begin(&view.uid))
}

fn begin(uid: &str) -> String {
    uid.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Option<String> {
        let names: Vec<_> = names.iter().map(|name| ComponentName::new(*name).unwrap()).collect();
        deployment(&names).map(|name| name.to_string())
    }

    #[test]
    fn a_name_stays_the_same_for_ever() {
        // An agent's record holds it: another one would leave what is deployed behind.
        assert_eq!(named(&["wp", "db"]).as_deref(), Some("agent-db-d72d60dd"));
        assert_eq!(named(&["db", "wp"]), named(&["wp", "db"]));
        assert_eq!(named(&["a"]).as_deref(), Some("agent-a-ca978112"));
        assert_ne!(named(&["db"]), named(&["db", "wp"]));
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn a_deployment_is_an_agents_by_its_components_and_not_by_how_its_name_begins() {
        let is_agents = |name: &str, components: &[&str]| {
            let components: Vec<_> = components.iter().map(|one| ComponentName::new(*one).unwrap()).collect();
            is_of_these(&DeploymentName::new(name).unwrap(), &components)
        };
        // As earlier versions have recorded it.
        assert!(is_agents("agent-db-d72d60dd", &["wp", "db"]));
        for (name, components) in [
            ("agent-smith", &["wp", "db"][..]),
            ("agent-db-d72d60dd", &["db"]),
            ("agent-db-d72d60dd", &["db", "wp", "more"]),
            ("agent-wp-d72d60dd", &["wp", "db"]),
            ("agent-db-d72d60dd", &[]),
        ] {
            assert!(!is_agents(name, components), "{name} {components:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_where_it_may_end() {
        let long = format!("{}-{}", "a".repeat(39), "b".repeat(23));
        let name = named(&[&long]).unwrap();
        assert!(name.starts_with(&format!("agent-{}-", "a".repeat(39))), "{name}");
        assert_eq!(named(&[&"x".repeat(63)]).unwrap().len(), PREFIX.len() + LONGEST + 1 + DIGITS);
    }

    #[test]
    fn only_ids_of_our_own_are_read() {
        let id = Id::read("wp.agent-db-d72d60dd.f97cf882").unwrap();
        assert_eq!((id.component.as_str(), id.deployment.as_str()), ("wp", "agent-db-d72d60dd"));
        for text in [
            "",
            "wp",
            "wp.agent-db-d72d60dd",
            "wp.agent-db-d72d60dd.f97cf88",
            "wp.agent-db-d72d60dd.f97cf882.x",
            "wp.shop-db-d72d60dd.f97cf882",
            "wp.agent-smith.f97cf882",
            "wp.agent-db-d72d60dg.f97cf882",
            "wp.agent-db-d72d60d.f97cf882",
            "WP.agent-db-d72d60dd.f97cf882",
            "wp.agent-db-d72d60dd.f97cf8%2",
            "..agent",
        ] {
            assert_eq!(Id::read(text), None, "{text}");
        }
    }
}
