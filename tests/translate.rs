//! Reading and translating: golden pairs, the seed's own objects, properties, and a collection if there is one.

mod collection;
mod goldens;
mod properties;
mod seed;
