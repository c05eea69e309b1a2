//! Whether what the watches show is older than what this process has written or read.

use jiff::Timestamp;

use super::Held;

/// A deployment as of one of our writes: watches that lag behind it, or show another of its name, do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    uid: String,
    created: Timestamp,
    generation: u64,
}

/// How a record that the watches show relates to a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Older: the watches lag.
    Earlier,
    /// No operation has come since.
    Same,
    /// Another operation has come.
    Later,
    /// Another deployment has the name now.
    Replaced,
}

impl Held {
    /// The moment at which this record was written or read.
    pub fn moment(&self) -> Moment {
        Moment { uid: self.uid.clone(), created: self.head.created, generation: self.head.generation }
    }
}

impl Moment {
    /// How a record relates to this moment.
    pub fn standing(&self, held: &Held) -> Standing {
        if held.uid != self.uid {
            // Watches that lag may still show one that was torn down before this one was made.
            let earlier = held.head.created < self.created;
            return if earlier { Standing::Earlier } else { Standing::Replaced };
        }
        match held.head.generation.cmp(&self.generation) {
            std::cmp::Ordering::Less => Standing::Earlier,
            std::cmp::Ordering::Equal => Standing::Same,
            std::cmp::Ordering::Greater => Standing::Later,
        }
    }
}
