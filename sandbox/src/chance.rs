//! Makes what is random in objects, all of it from one seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A source of chance: one seed always gives the same.
pub struct Chance(StdRng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A random (version 4) UUID.
    pub fn uid(&mut self) -> String {
        let bits: u128 = self.0.random();
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// What tells the pods of one controller apart.
    pub fn suffix(&mut self) -> String {
        format!("{:05x}", self.0.random::<u32>() >> 12)
    }
}
