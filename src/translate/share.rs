//! How much a template may ask for by a few words: what links and borrowings multiply.
//!
//! One link can ask for hundreds of variables, one borrowing for all volumes of a hundred images. So there is so much of
//! each, and more for a longer template, so that translating never takes much more memory than its text is worth. What
//! is beyond it is refused whole, and never a part of it made.

use crate::facts::Facts;
use crate::template::{Image, Template};

/// What a template may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Variables of all links.
    pub(super) variables: usize,
    /// Variables of the links of one image: a container holds them all at once.
    pub(super) variables_of_image: usize,
    /// The bytes of those of one image.
    pub(super) bytes_of_image: usize,
    /// The bytes of the variables of all links.
    pub(super) bytes: usize,
    /// Ports of the Services of all links.
    pub(super) ports: usize,
    /// Volumes that are borrowed, and what fills them.
    pub(super) mounts: usize,
    /// Volumes that one image borrows, and what fills them.
    pub(super) mounts_of_image: usize,
}

/// The share of a template, and of what its images say of themselves.
pub(super) fn of(template: &Template, facts: &Facts) -> Share {
    let weight = weight(template) + facts.weight();
    Share {
        variables: 1_536 + weight / 16,
        variables_of_image: 640 + weight / 32,
        bytes_of_image: 96 * 1024 + 3 * weight,
        bytes: 192 * 1024 + 5 * weight,
        ports: 1_024 + weight / 32,
        mounts: 512 + weight / 32,
        mounts_of_image: 64 + weight / 64,
    }
}

/// The bytes of what a person has to write in any case: never more than the text has.
fn weight(template: &Template) -> usize {
    let of_image = |image: &Image| {
        let variables = image.environment.iter().map(|one| one.name.in_full().len() + one.value.len());
        let links = image.links.iter().map(|link| link.alias.as_str().len());
        let volumes = image.volumes.iter().map(|one| one.container_path.len());
        let words = image.command.words().iter().map(String::len);
        let lists = image.ports.len() + image.expose.len() + image.volumes_from.len();
        let own = image.name.as_str().len() + image.source.as_str().len() + lists;
        variables.chain(links).chain(volumes).chain(words).sum::<usize>() + own
    };
    template.images.iter().map(of_image).sum()
}
