//! Reading and translating: golden pairs, the seed's own objects, properties, and a collection if there is one.

mod accounting;
mod collection;
mod field;
mod generators;
mod goldens;
pub(crate) mod hostile;
mod memory;
mod overriding;
mod properties;
mod reaching;
mod seed;
pub(crate) mod unseen;
mod unseen_images;
mod wire;
