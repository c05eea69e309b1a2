//! One image of a template: what runs, and everything that is said about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::environment::Variable;
use super::links::Link;
use super::names::{check_name, sanitise, text};
use super::ports::{Exposed, Port};
use super::volumes::{Volume, VolumesFrom};
use super::{Fault, Place};
use crate::diagnostic::Code;

/// One entry of `images`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name, unique in the template.
    pub name: ImageName,
    /// The container image.
    pub source: ImageReference,
    /// A word for people: its tier.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// A word for people: its type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it runs instead of its own command.
    #[serde(default)]
    pub command: Command,
    /// `ports`; no two entries say the same.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// `expose`; no port twice.
    #[serde(default)]
    pub expose: Vec<Exposed>,
    /// `links`; none to itself, no alias twice.
    #[serde(default)]
    pub links: Vec<Link>,
    /// `environment`; no name twice.
    #[serde(default)]
    pub environment: Vec<Variable>,
    /// `volumes`; no container path twice.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// `volumes_from`; no image of a cycle.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// `deployment.count`; absent is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// Where `command` was written; empty: in its own place.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub command_field: Place,
    /// Where `deployment.count` was written; empty: in its own place.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub count_field: Place,
}

impl Image {
    /// The path of its command, where it is the image of this index.
    pub fn command_path(&self, index: usize) -> String {
        self.command_field.or(|| format!("images[{index}].command"))
    }

    /// The path of its count, where it is the image of this index.
    pub fn count_path(&self, index: usize) -> String {
        self.count_field.or(|| format!("images[{index}].deployment.count"))
    }
}

impl fmt::Debug for Image {
    /// Shows names and places alone: any other text may hold a value that was put there by mistake.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Image")
            .field("name", &self.name)
            .field("ports", &self.ports)
            .field("links", &self.links)
            .field("environment", &self.environment)
            .field("volumes", &self.volumes)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

text! {
    /// The name of an image: has a letter or a digit, and nothing invisible.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::ImageName;
    /// assert!(ImageName::try_from("DB_1".to_owned()).is_ok());
    /// assert!(ImageName::try_from("___".to_owned()).is_err());
    /// ```
    ImageName
}

impl ImageName {
    /// Takes a name of which sanitising leaves something.
    pub fn new(text: impl Into<String>) -> Result<Self, Fault> {
        let text = text.into();
        check_name(&text)?;
        if sanitise(&text).is_empty() {
            return Err(super::names::nameless(&text, "image"));
        }
        Ok(Self(text))
    }
}

/// The registry of references that name none.
const DOCKER_HUB: &str = "docker.io";

text! {
    /// A container image reference, as `registry:5000/repository:tag` (the grammar of the registry protocol).
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::ImageReference;
    /// assert!(ImageReference::try_from("centurylink/mysql:5.5".to_owned()).is_ok());
    /// assert!(ImageReference::try_from("http://mysql".to_owned()).is_err());
    /// ```
    ImageReference
}

impl ImageReference {
    /// The longest reference: 255 for the name and as much for tag and digest.
    const LIMIT: usize = 512;

    /// Takes a reference that a registry could serve.
    pub fn new(text: impl Into<String>) -> Result<Self, Fault> {
        let text = text.into();
        if text.is_empty() {
            return Err(Fault::new(Code::SourceMissing, "the image has no source"));
        }
        if is_reference(&text) {
            Ok(Self(text))
        } else {
            Err(Fault::new(Code::ImageReference, "the source is not a container image reference"))
        }
    }

    /// Whether Docker takes it for the id of an image, which is no name in a registry: 64 digits and nothing else.
    pub(super) fn is_id(&self) -> bool {
        self.0.len() == 64
            && self.0.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    /// The reference with the registry, the account and the tag that it leaves out, by which two spellings of one
    /// image are alike: `docker.io/library/mysql:latest` for `mysql`.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::ImageReference;
    /// let whole = |text: &str| ImageReference::new(text).unwrap().whole();
    /// assert_eq!(whole("mysql"), "docker.io/library/mysql:latest");
    /// assert_eq!(whole("localhost:5000/mysql:5.5"), "localhost:5000/mysql:5.5");
    /// ```
    pub fn whole(&self) -> String {
        let (registry, path) = match self.0.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
            _ => (DOCKER_HUB, self.0.as_str()),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let account = if registry == DOCKER_HUB && !path.contains('/') { "library/" } else { "" };
        let last = path.rsplit('/').next().unwrap_or_default();
        let tag = if last.contains([':', '@']) { "" } else { ":latest" };
        format!("{registry}/{account}{path}{tag}")
    }

    /// The repository with its registry and path, as `quay.io/team/mysql` of `quay.io/team/mysql:5.5`.
    pub fn repository(&self) -> &str {
        self.parts().0
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.parts().1
    }

    /// Whether it names a digest.
    pub fn has_digest(&self) -> bool {
        self.0.contains('@')
    }

    /// Repository and tag. A colon before the last slash belongs to the registry.
    fn parts(&self) -> (&str, Option<&str>) {
        let name = self.0.split('@').next().unwrap_or_default();
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        match name[last..].find(':') {
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        }
    }

    /// Whether it names neither a digest nor a tag other than `latest`.
    pub fn is_floating(&self) -> bool {
        let last = self.0.rsplit('/').next().unwrap_or_default();
        !self.0.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
    }
}

fn is_reference(text: &str) -> bool {
    if text.len() > ImageReference::LIMIT {
        return false;
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let start_of_last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[start_of_last..].find(':') {
        Some(colon) => (&rest[..start_of_last + colon], Some(&rest[start_of_last + colon + 1..])),
        None => (rest, None),
    };
    let path = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost") => {
            if !is_registry(first) {
                return false;
            }
            path
        }
        _ => name,
    };
    name.len() <= 255
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

/// A host name or an IPv6 address in brackets, and an optional port.
fn is_registry(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, port)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return has_port && address.parse::<core::net::Ipv6Addr>().is_ok();
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && is_port(port)
}

/// Lower-case letters and digits, parted by one `.`, one or two `_`, or dashes.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separator = |part: &str| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    let ends = text.bytes().next().is_some_and(alphanumeric) && text.bytes().last().is_some_and(alphanumeric);
    ends && text
        .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
        .all(separator)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// How many replicas of an image run; 0 is none, and still something to scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Count(u32);

impl Count {
    /// Reads a plain decimal number up to the limit.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::Count;
    /// assert_eq!(Count::parse("3", 100).unwrap().get(), 3);
    /// assert!(Count::parse("-1", 100).is_err());
    /// ```
    pub fn parse(text: &str, limit: u32) -> Result<Self, Fault> {
        let below = text.strip_prefix('-').unwrap_or_default();
        if !below.is_empty() && below.bytes().all(|byte| byte.is_ascii_digit()) {
            let fault = Fault::new(Code::CountNotANumber, "the count is below 0");
            return Err(fault.advising("write 0 or more; 0 keeps the image and runs nothing of it"));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::new(Code::CountNotANumber, "the count is not a whole number"));
        }
        match text.parse() {
            Ok(count) if count <= limit => Ok(Self(count)),
            _ => {
                let fault = Fault::new(Code::LimitExceeded, format!("the count is above {limit}"));
                Err(fault.advising(format!("write a number from 0 to {limit}")))
            }
        }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_follow_the_registry_grammar() {
        for good in [
            "mysql",
            "mysql:5.5",
            "centurylink/wordpress:3.9.1",
            "localhost/a",
            "LOCALHOST/a",
            "[2001:db8::1]:5000/a:b",
            "[::1]/a",
            "localhost:5000/a/b:c",
            "registry.example.com/a__b/c-d.e:F_1",
            &format!("a@sha256:{}", "0".repeat(64)),
            &format!("a:b@sha256:{}", "f".repeat(64)),
        ] {
            assert!(ImageReference::new(good).is_ok(), "{good}");
        }
        for bad in [
            "UPPER/x",
            "a b",
            "x:y:z",
            "http://a",
            "a@sha256:12",
            "a\0",
            "/a",
            "a/",
            "a//b",
            "a:",
            "-a",
            "a.-b",
            "a:-x",
            "ex_ample.com:80/a",
            "[::1]:/a",
            "[::g]/a",
            "[1.2.3.4]:80/a",
            "[::1]",
            "Ünï",
            &"a".repeat(4_096),
        ] {
            assert_eq!(ImageReference::new(bad).unwrap_err().code, Code::ImageReference, "{bad}");
        }
        assert_eq!(ImageReference::new("").unwrap_err().code, Code::SourceMissing);
    }

    #[test]
    fn a_whole_reference_is_the_same_for_every_spelling() {
        let whole = |text: &str| ImageReference::new(text).unwrap().whole();
        for same in ["a", "a:latest", "library/a", "docker.io/a", "index.docker.io/library/a:latest"] {
            assert_eq!(whole(same), "docker.io/library/a:latest", "{same}");
        }
        let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(64));
        assert_eq!(whole(&digest), digest);
        assert_eq!(whole("localhost/a"), "localhost/a:latest");
        assert_eq!(whole("account/a:1"), "docker.io/account/a:1");
    }

    #[test]
    fn references_know_their_repository_and_whether_they_float() {
        let read = |text: &str| ImageReference::new(text).unwrap();
        let whole = read("localhost:5000/a/mysql:5.5");
        assert_eq!((whole.repository(), whole.tag()), ("localhost:5000/a/mysql", Some("5.5")));
        assert_eq!((read("mysql").repository(), read("mysql").tag()), ("mysql", None));
        let pinned = read(&format!("mysql:8@sha256:{}", "0".repeat(64)));
        assert_eq!((pinned.repository(), pinned.tag(), pinned.has_digest()), ("mysql", Some("8"), true));
        assert!(read("localhost:5000/mysql").is_floating());
        assert!(read("mysql:latest").is_floating());
        assert!(!read("mysql:5.5").is_floating());
        assert!(!read(&format!("mysql@sha256:{}", "0".repeat(64))).is_floating());
    }

    #[test]
    fn counts_are_whole_and_bounded() {
        for text in ["-1", "1.5", "three", " 3", "+3"] {
            assert_eq!(Count::parse(text, 100).unwrap_err().code, Code::CountNotANumber, "{text}");
        }
        for text in ["101", "2147483648", "99999999999999999999"] {
            assert_eq!(Count::parse(text, 100).unwrap_err().code, Code::LimitExceeded, "{text}");
        }
        assert_eq!(Count::parse("0", 100).unwrap().get(), 0);
        let told = |text| Count::parse(text, 100).unwrap_err();
        assert!(told("-1").message.contains("below 0") && told("-1").advice.unwrap().contains("0 or more"));
        assert!(told("101").advice.unwrap().contains("from 0 to 100"));
        assert!(told("-").advice.is_none() && told("-x").advice.is_none());
    }
}
