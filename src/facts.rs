//! What a container image says of itself, read from its configuration: ports, variables, volumes, user, command.
//!
//! Whoever calls brings the configuration, as `crane config`, `skopeo inspect --config --raw` or `docker image inspect`
//! print it. Nothing here asks a registry.

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Findings};
use crate::template::{ImageReference, PortNumber, Protocol, Template, VariableName, did_you_mean, shown};

/// The most bytes of one configuration.
pub const MAX_CONFIG: usize = 64 * 1024;

/// What one image says of itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFacts {
    /// The ports of `EXPOSE`.
    pub ports: BTreeSet<(PortNumber, Protocol)>,
    /// The variables of `ENV`.
    pub environment: BTreeMap<VariableName, String>,
    /// The paths of `VOLUME`, absolute and plain.
    pub volumes: BTreeSet<String>,
    /// The user and the group of `USER` as they stand there; empty is root.
    pub user: String,
    /// Whether there is an `ENTRYPOINT`, so that a command is only its arguments.
    pub has_entrypoint: bool,
    /// The first word of `CMD`.
    pub command: Option<String>,
    /// Whether what it runs by itself ends at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// Whether there is a `HEALTHCHECK` that does something.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_health_check: bool,
}

impl fmt::Debug for ImageFacts {
    /// Leaves out whatever may hold a value.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImageFacts")
            .field("ports", &self.ports)
            .field("volumes", &self.volumes.len())
            .finish_non_exhaustive()
    }
}

impl ImageFacts {
    /// The numbers of a user that is not root, if both are numbers or the group is absent: user, then group.
    pub fn numeric_user(&self) -> Option<(u32, Option<u32>)> {
        let (user, group) = match self.user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (self.user.as_str(), None),
        };
        let user = user.parse().ok().filter(|user| *user != 0)?;
        match group.filter(|group| !group.is_empty()) {
            Some(group) => Some((user, Some(group.parse().ok()?))),
            None => Some((user, None)),
        }
    }
}

/// The facts of images, by their whole reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, ImageFacts>);

impl Facts {
    /// What is known of an image.
    pub fn of(&self, source: &ImageReference) -> Option<&ImageFacts> {
        if self.0.is_empty() { None } else { self.0.get(&source.whole()) }
    }

    /// The bytes of the variables that they set.
    pub fn weight(&self) -> usize {
        let variables = self.0.values().flat_map(|facts| &facts.environment);
        variables.map(|(name, value)| name.in_full().len() + value.len()).sum()
    }

    /// Whether nothing is known of any image.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The configurations of a request: source to JSON.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Configs(pub BTreeMap<String, String>);

impl fmt::Debug for Configs {
    /// Says how many there are: they hold values of the environment.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Configs").field(&self.0.len()).finish()
    }
}

/// Reads the configurations of a request.
///
/// Reports what cannot be read, what is left out, and each configuration whose image the template does not have.
pub fn read(configs: &Configs, template: Option<&Template>, findings: &mut Findings) -> Facts {
    let mut facts = BTreeMap::new();
    for (source, json) in &configs.0 {
        let field = format!("image_configs[{}]", shown(source));
        let Ok(reference) = ImageReference::new(source.as_str()) else {
            let message = "the key is not a container image reference";
            findings.report(Code::ImageReference, field, message);
            continue;
        };
        let Some(read) = config::read(json, &field, findings) else { continue };
        if facts.insert(reference.whole(), read).is_some() {
            let message = "two keys mean the same image";
            findings.report(Code::ImageConfigRepeated, field.clone(), message);
        }
        tell_unused(&reference, template, &field, findings);
    }
    Facts(facts)
}

/// Tells of a configuration that belongs to no image of the template.
fn tell_unused(
    reference: &ImageReference,
    template: Option<&Template>,
    field: &str,
    findings: &mut Findings,
) {
    let Some(template) = template else { return };
    let sources = || template.images.iter().map(|image| &image.source);
    if sources().any(|source| source.whole() == reference.whole()) {
        return;
    }
    let near = did_you_mean(reference.as_str(), sources().map(ImageReference::as_str));
    let message = format!("no image of the template has this source{near}");
    findings.report(Code::ImageConfigUnused, field, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::validate::{Limits, from_text};

    fn codes(configs: &[(&str, &str)]) -> (Facts, Vec<(Code, String)>) {
        let text =
            "images:\n- {name: a, source: 'docker.io/library/mysql:5.5'}\n- {name: b, source: 'redis'}\n";
        let template = from_text(text, None, &Limits::default()).0.template.unwrap();
        let configs = configs.iter().map(|(key, json)| ((*key).to_owned(), (*json).to_owned()));
        let mut findings = Findings::default();
        let facts = read(&Configs(configs.collect()), Some(&template), &mut findings);
        (facts, findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect())
    }

    #[test]
    fn a_key_means_an_image_in_any_spelling() {
        let exposed = r#"{"config":{"ExposedPorts":{"3306/tcp":{}}}}"#;
        let (facts, found) = codes(&[("mysql:5.5", exposed), ("docker.io/redis:latest", exposed)]);
        assert_eq!(found, []);
        for source in ["index.docker.io/mysql:5.5", "library/redis"] {
            let known = facts.of(&ImageReference::new(source).unwrap()).unwrap();
            assert_eq!(known.ports.first().unwrap().0.get(), 3306, "{source}");
        }
        assert_eq!(facts.of(&ImageReference::new("mysql:5.6").unwrap()), None);
    }

    #[test]
    fn what_is_for_no_image_or_for_one_twice_is_told() {
        let (_, found) = codes(&[("mysql:5.6", "{\"config\":{}}"), ("no image", "{}")]);
        assert_eq!(
            found,
            [
                (Code::ImageConfigUnused, "image_configs[mysql:5.6]".to_owned()),
                (Code::ImageReference, "image_configs[no image]".to_owned())
            ]
        );
        let (_, found) = codes(&[("redis", "{\"config\":{}}"), ("redis:latest", "{\"config\":{}}")]);
        assert_eq!(found, [(Code::ImageConfigRepeated, "image_configs[redis:latest]".to_owned())]);
    }

    #[test]
    fn users_are_numbers_or_not() {
        let of = |user: &str| ImageFacts { user: user.to_owned(), ..ImageFacts::default() }.numeric_user();
        assert_eq!(of("472"), Some((472, None)));
        assert_eq!(of("472:0"), Some((472, Some(0))));
        for none in ["", "0", "root", "0:0", "grafana", "472:staff", "-1", "4294967296"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let (facts, _) = codes(&[("redis", r#"{"config":{"Env":["A=canary"],"Cmd":["canary"]}}"#)]);
        assert!(!format!("{facts:?}").contains("canary"));
        let configs = Configs([("redis".to_owned(), "canary".to_owned())].into());
        assert!(!format!("{configs:?}").contains("canary"));
    }
}
