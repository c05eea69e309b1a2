//! Variables of a container image that links hand on beside those of the template.

use std::collections::BTreeSet;

use super::{Context, LinkEnvironment};
use crate::template::VariableName;

/// Variables of the target that Docker did not hand on: they belong to the target's own file system.
const NOT_INHERITED: [&str; 2] = ["HOME", "PATH"];

/// Whether a link hands a variable of its target on.
pub(super) fn is_handed_on(name: &VariableName) -> bool {
    !NOT_INHERITED.contains(&name.in_full())
}

/// The variables that the configuration of an image sets and its template does not, if links hand them on.
///
/// The container itself has them anyway.
pub(super) fn inherited<'c>(
    context: &'c Context<'_>,
    index: usize,
) -> impl Iterator<Item = (&'c VariableName, &'c str)> {
    let image = &context.template.images[index];
    let declares = context.rules().link_environment == LinkEnvironment::Declared;
    let facts = context.rules().facts.of(&image.source).filter(|_| declares);
    let facts = facts.filter(|_| {
        let mut links = context.template.images.iter().flat_map(|linker| &linker.links);
        links.any(|link| link.target == index)
    });
    let variables = facts.map(|facts| {
        let own: BTreeSet<&VariableName> = image.environment.iter().map(|variable| &variable.name).collect();
        let new = facts.environment.iter().filter(move |(name, _)| is_handed_on(name) && !own.contains(name));
        new.map(|(name, value)| (name, value.as_str()))
    });
    variables.into_iter().flatten()
}
