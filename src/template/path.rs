//! Paths into a template, made without allocating until a finding needs one.

use std::fmt;

/// A place in a template, as `images[1].ports[0]`; the empty path is the template itself.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    /// The template itself.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The value of a key.
    pub(super) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// An item of a list.
    pub(super) fn index(&'p self, index: usize) -> Path<'p> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            fmt::Display::fmt(parent, formatter)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(formatter, "[{index}]"),
            Step::Key(key) => {
                let nested = self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root));
                if nested { write!(formatter, ".{key}") } else { formatter.write_str(key) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn reads_as_people_write_it() {
        let images = Path::ROOT.key("images");
        let image = images.index(1);
        let ports = image.key("ports");
        assert_eq!(ports.index(0).key("host_port").to_string(), "images[1].ports[0].host_port");
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
