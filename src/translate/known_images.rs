//! What is known of container images by the name of their whole repository: ports, users and data directories.
//!
//! All of it is data, in `known_images/images.yaml`, with its sources; `docs/known-images.md` shows it. The build makes
//! JSON of it, which is read without copies: a command that translates one template reads the whole table. What a name
//! says may add a port to a Service and never leaves one out: an image is known by its whole repository and the flavour
//! of its tag, or not at all. One word of a name is a guess, which link variables alone may use. Images of the public
//! templates of which nothing is known are listed beside the table, each with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::template::{ImageReference, PortNumber, Protocol};

pub use unlisted::{Reason, Unlisted};

mod unlisted;

const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/known-images.json"));

/// The table, read at its first use. A test shows that it can be read.
static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(TEXT).unwrap_or_default());

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Images {
    hub: Hub,
    #[serde(borrow)]
    plain_words: Vec<&'static str>,
    images: Vec<KnownImage>,
    unlisted: Vec<Unlisted>,
}

/// The registry that names without a registry mean, and its namespace of official images.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hub {
    #[serde(borrow)]
    registries: Vec<&'static str>,
    namespace: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test asks for it"))]
    #[serde(borrow)]
    sources: Vec<&'static str>,
}

/// One image of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownImage {
    /// The name of its repository; official images of Docker Hub have no `library/`.
    pub repository: &'static str,
    /// Further repositories with the same image.
    #[serde(borrow, default)]
    pub aliases: Vec<&'static str>,
    /// Words by which its ports are guessed for other repositories.
    #[serde(borrow, default)]
    pub words: Vec<&'static str>,
    /// Where ports and user were read.
    #[serde(borrow)]
    pub sources: Vec<&'static str>,
    /// Every port that the image exposes.
    #[serde(default)]
    pub ports: Vec<KnownPort>,
    /// Whom the container runs as, where the image says so and it is not root.
    #[serde(default)]
    pub user: Option<Owner>,
    /// The directories that it keeps data in.
    #[serde(default)]
    pub data: Vec<DataDirectory>,
    /// What is different under some tags.
    #[serde(default)]
    pub flavours: Vec<Flavour>,
}

/// What is different where a part of the tag is a certain word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flavour {
    /// The part of the tag; dashes separate parts.
    pub tag: &'static str,
    /// Where it was read.
    #[serde(borrow)]
    pub sources: Vec<&'static str>,
    /// All ports of this flavour, if they differ.
    #[serde(default)]
    pub ports: Option<Vec<KnownPort>>,
    /// All data directories of this flavour, if they differ.
    #[serde(default)]
    pub data: Option<Vec<DataDirectory>>,
}

/// One port of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownPort {
    /// Its number in the container.
    pub port: PortNumber,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// What it serves, in a word.
    #[serde(borrow, default)]
    pub name: Option<&'static str>,
    /// Whether clients of the image speak to it, so that a link without it is of no use.
    #[serde(default)]
    pub links: bool,
}

/// A directory in which an image keeps data.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDirectory {
    /// Its path in the container.
    pub path: &'static str,
    /// Whom the image gives it to, if that is known as a number.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// Whether the program refuses to start where the directory is not empty, `lost+found` included.
    #[serde(default)]
    pub empty: bool,
    /// The widest permissions that the program accepts.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Where it was read.
    #[serde(borrow)]
    pub sources: Vec<&'static str>,
}

/// A user by number, and the group if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "&str")]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: Option<u32>,
}

impl TryFrom<&str> for Owner {
    type Error = std::num::ParseIntError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some((uid, gid)) => Ok(Self { uid: uid.parse()?, gid: Some(gid.parse()?) }),
            None => Ok(Self { uid: text.parse()?, gid: None }),
        }
    }
}

/// Permissions, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "&str")]
pub struct Mode(pub u32);

impl TryFrom<&str> for Mode {
    type Error = std::num::ParseIntError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        u32::from_str_radix(text, 8).map(Self)
    }
}

/// What is known of one image under one tag.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The name of its repository in the table.
    pub repository: &'static str,
    /// Every port that it exposes. Empty if it exposes none, and if the reference does not tell which flavour it is.
    pub ports: &'static [KnownPort],
    /// Whom the container runs as, where that is known and not root.
    pub user: Option<Owner>,
    /// The directories that it keeps data in, as far as they are known.
    pub data: &'static [DataDirectory],
}

impl Known {
    /// What the image demands of the directory that is mounted at this path.
    pub fn data_directory(&self, path: &str) -> Option<&'static DataDirectory> {
        let plain = path.trim_end_matches('/');
        self.data.iter().find(|directory| directory.path == plain)
    }
}

/// Every image of the table, in its order.
pub fn all() -> &'static [KnownImage] {
    &TABLE.images.images
}

/// Images of the public templates that have no line in it, in the order of their names.
pub fn unlisted() -> &'static [Unlisted] {
    &TABLE.images.unlisted
}

/// What is known of the image: its whole repository has to be in the table.
pub fn of(source: &ImageReference) -> Option<Known> {
    let table: &'static Table = &TABLE;
    let image = &table.images.images[*table.by_name.get(table.plain_name(source))?];
    Some(image.under(Tag::of(source)))
}

/// Ports that the image may have if one word of its name means what it does elsewhere.
///
/// Nothing but link variables may rest on it. Every word has to be understood: a name that says more, as
/// `mysql-router` does, is another program's.
pub fn guess(source: &ImageReference) -> Vec<&'static KnownPort> {
    let table: &'static Table = &TABLE;
    if table.by_name.contains_key(table.plain_name(source)) {
        return Vec::new();
    }
    let last = source.repository().rsplit('/').next().unwrap_or_default();
    let mut found = None;
    for word in last.split(['-', '_', '.']).filter(|word| !table.says_nothing(word)) {
        match (table.by_word.get(word), found) {
            (Some(image), None) => found = Some(*image),
            _ => return Vec::new(),
        }
    }
    let image = found.map(|index| &table.images.images[index]);
    let ports = image.map_or(&[][..], |image| image.under(Tag::of(source)).ports);
    ports.iter().filter(|port| port.links).collect()
}

/// What a reference says of its flavour.
#[derive(Clone, Copy)]
enum Tag<'r> {
    /// The tag; empty where there is none, which means `latest`.
    Is(&'r str),
    /// A digest alone tells nothing.
    Unknown,
}

impl<'r> Tag<'r> {
    fn of(source: &'r ImageReference) -> Self {
        match source.tag() {
            None if source.has_digest() => Tag::Unknown,
            tag => Tag::Is(tag.unwrap_or_default()),
        }
    }
}

impl KnownImage {
    /// What is known of it under this tag.
    fn under(&'static self, tag: Tag<'_>) -> Known {
        Known {
            repository: self.repository,
            ports: self.aspect(tag, &self.ports, |flavour| flavour.ports.as_deref()),
            user: self.user,
            data: self.aspect(tag, &self.data, |flavour| flavour.data.as_deref()),
        }
    }

    /// One aspect of the flavour that the tag names; nothing if it names two, or cannot be known.
    fn aspect<T>(
        &'static self,
        tag: Tag<'_>,
        usual: &'static [T],
        of: fn(&'static Flavour) -> Option<&'static [T]>,
    ) -> &'static [T] {
        let Tag::Is(tag) = tag else {
            return if self.flavours.iter().any(|flavour| of(flavour).is_some()) { &[] } else { usual };
        };
        let named = self.flavours.iter().filter(|flavour| tag.split('-').any(|part| part == flavour.tag));
        let mut aspects = named.filter_map(of);
        match (aspects.next(), aspects.next()) {
            (None, _) => usual,
            (Some(only), None) => only,
            (Some(_), Some(_)) => &[],
        }
    }
}

/// The file with what finds an entry.
#[derive(Default)]
struct Table {
    images: Images,
    by_name: BTreeMap<&'static str, usize>,
    by_word: BTreeMap<&'static str, usize>,
}

impl Table {
    /// The table of this text. An image that has a line has no reason for none, and no image has two.
    fn read(text: &'static str) -> Result<Self, String> {
        let table = Self::new(serde_json::from_str(text).map_err(|error| error.to_string())?);
        let mut seen = BTreeSet::new();
        for Unlisted { repository, .. } in &table.images.unlisted {
            if table.by_name.contains_key(repository) || !seen.insert(repository) {
                return Err(format!("{repository} is unlisted, and elsewhere too"));
            }
        }
        Ok(table)
    }

    fn new(images: Images) -> Self {
        let mut by_name = BTreeMap::new();
        let mut by_word = BTreeMap::new();
        for (index, image) in images.images.iter().enumerate() {
            let names = std::iter::once(&image.repository).chain(&image.aliases);
            by_name.extend(names.map(|name| (*name, index)));
            by_word.extend(image.words.iter().map(|word| (*word, index)));
        }
        Self { images, by_name, by_word }
    }

    /// The repository without what every reference to Docker Hub may leave out.
    fn plain_name<'r>(&self, source: &'r ImageReference) -> &'r str {
        let hub = &self.images.hub;
        let whole = source.repository();
        let of_hub = |registry: &&str| whole.strip_prefix(*registry)?.strip_prefix('/');
        let name = hub.registries.iter().find_map(of_hub).unwrap_or(whole);
        let official = name.strip_prefix(hub.namespace).and_then(|rest| rest.strip_prefix('/'));
        official.filter(|rest| !rest.contains('/')).unwrap_or(name)
    }

    /// Whether a word of a name says nothing about the program in the image.
    fn says_nothing(&self, word: &str) -> bool {
        word.bytes().all(|byte| byte.is_ascii_digit()) || self.images.plain_words.contains(&word)
    }
}

#[cfg(test)]
mod tests;
