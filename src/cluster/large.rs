//! An answer of the API server that is larger than is taken, wherever it is wrapped.

use std::error::Error;
use std::fmt;

/// The answer is larger than is taken.
#[derive(Debug)]
pub(super) struct TooLarge {
    /// The most bytes that are taken.
    pub(super) most: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the answer is larger than {} MiB", self.most / 1024 / 1024)
    }
}

impl Error for TooLarge {}

/// The answer that was too large, if that is what went wrong.
pub(super) fn too_large<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TooLarge> {
    // An error of a stream does not count what it wraps among its sources.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error
        .downcast_ref()
        .or_else(|| wrapped.and_then(|inner| too_large(inner)))
        .or_else(|| error.source().and_then(too_large))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_is_wrapped() {
        let wrap = |inner: Box<dyn Error + Send + Sync>| std::io::Error::other(inner);
        let error =
            kube::Error::ReadEvents(wrap(kube::Error::Service(TooLarge { most: 8 << 20 }.into()).into()));
        assert_eq!(too_large(&error).unwrap().to_string(), "the answer is larger than 8 MiB");
        assert!(too_large(&kube::Error::Service("another".into())).is_none());
    }
}
