//! How much an answer of the API server may be: what goes on without end fills no memory.

use http::{Method, Request};

use super::super::large::TooLarge;
use super::verbs::{is_list, is_watch};

const MIB: usize = 1024 * 1024;
/// The most bytes of one object, and of one event of a watch: etcd takes objects of 1.5 MiB, and an answer may hold one
/// twice.
const OBJECT: usize = 8 * MIB;
/// The most bytes of a list. A page has 500 objects, and the pods of one deployment come without pages: 10,000 of them
/// with 10 KiB each are honest.
const LIST: usize = 128 * MIB;

/// What has come of an answer, as it is decompressed.
pub(super) struct Measure {
    come: usize,
    most: usize,
    /// Whether it is counted anew with each line, which is one event.
    by_line: bool,
}

impl Measure {
    /// What the answer to a request may be.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let by_line = is_watch(request.uri());
        let is_list = request.method() == Method::GET && !by_line && is_list(request.uri().path());
        Self { come: 0, most: if is_list { LIST } else { OBJECT }, by_line }
    }

    /// Counts what has come; fails if it is too much.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let largest = if self.by_line {
            self.take_lines(bytes)
        } else {
            self.come += bytes.len();
            self.come
        };
        if largest > self.most { Err(TooLarge { most: self.most }) } else { Ok(()) }
    }

    /// Counts what has come of each line; returns the largest.
    fn take_lines(&mut self, bytes: &[u8]) -> usize {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        self.come += pieces.next().map_or(0, <[u8]>::len);
        let mut largest = self.come;
        for piece in pieces {
            self.come = piece.len();
            largest = largest.max(self.come);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(path: &str) -> Measure {
        Measure::of(&Request::get(path).body(()).unwrap())
    }

    #[test]
    fn an_object_a_list_and_each_event_have_their_size() {
        let mib = vec![b'x'; MIB];
        let come = |path: &str| {
            let mut measure = measure(path);
            (0..).take_while(|_| measure.take(&mib).is_ok()).take(1_000).count()
        };
        assert_eq!(come("/api/v1/namespaces/a/pods/p"), 8);
        assert_eq!(come("/api/v1/namespaces/a/pods?limit=500"), 128);
        assert_eq!(come("/api/v1/namespaces/a/pods?watch=1"), 8);
        let mut events = measure("/api/v1/namespaces/a/pods?watch=true");
        let line = [&mib[1..], b"\n"].concat();
        assert!((0..100).all(|_| events.take(&line).is_ok()), "each of them is small");
        let lines = b"{}\n{}\n{".to_vec();
        assert!(events.take(&lines).is_ok());
        assert!((0..7).all(|_| events.take(&mib).is_ok()));
        assert!(events.take(&mib).is_err(), "one is eight MiB and more");
    }
}
