//! Whether what the watches show is older than what this process has written or read.

use super::{Record, Version};

/// A deployment as of one of our writes: watches that lag behind it, or show another of its name, do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    uid: String,
    version: Version,
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

impl Record {
    /// The moment at which this record was written or read.
    pub fn moment(&self) -> Moment {
        Moment { uid: self.uid.clone(), version: self.version.clone(), generation: self.head.generation }
    }
}

impl Moment {
    /// How a record relates to this moment.
    pub fn standing(&self, record: &Record) -> Standing {
        if record.uid != self.uid {
            // Watches that lag may still show a record that was deleted before this one was created.
            let is_earlier = record.version.is_before(&self.version);
            return if is_earlier { Standing::Earlier } else { Standing::Replaced };
        }
        match record.head.generation.cmp(&self.generation) {
            std::cmp::Ordering::Less => Standing::Earlier,
            std::cmp::Ordering::Equal => Standing::Same,
            std::cmp::Ordering::Greater => Standing::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::{Head, Version};
    use super::*;
    use crate::artifacts::{DeploymentName, Namespace};

    fn held(uid: &str, version: &str, generation: u64, created: i64) -> Record {
        let mut head = Head::new("Shop".to_owned(), Timestamp::from_second(created).expect("a time"));
        head.generation = generation;
        Record {
            head,
            namespace: Namespace::new("default").expect("a name"),
            name: DeploymentName::new("shop").expect("a name"),
            uid: uid.to_owned(),
            terminating: false,
            version: Version::new(version.to_owned()),
            stored: Default::default(),
        }
    }

    #[test]
    fn records_are_ordered_by_the_cluster_and_not_by_the_clocks_of_their_writers() {
        let moment = held("new", "900", 3, 1_000).moment();
        assert_eq!(moment.standing(&held("new", "850", 2, 1_000)), Standing::Earlier);
        assert_eq!(moment.standing(&held("new", "950", 3, 1_000)), Standing::Same);
        assert_eq!(moment.standing(&held("new", "950", 4, 1_000)), Standing::Later);
        assert_eq!(moment.standing(&held("old", "800", 9, 4_600)), Standing::Earlier, "its clock was ahead");
        assert_eq!(moment.standing(&held("next", "1000", 1, 10)), Standing::Replaced, "its clock is behind");
    }
}
