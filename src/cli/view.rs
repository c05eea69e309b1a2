//! The live view: a deployment repainted in its place on a terminal, a line for each change elsewhere.

use std::io::IsTerminal;
use std::time::Instant;

use super::failure::Failure;
use super::output::{Format, Output, print};
use super::text;
use panamax_kubernetes_adapter_client as proto;

/// The most lines of a view: what has scrolled out of a terminal cannot be painted again.
const MAX_LINES: usize = 20;
/// Erases all that is below, and does not break lines that are too long.
const BEGIN: &str = "\x1b[J\x1b[?7l";
/// Breaks lines again.
const END: &str = "\x1b[?7h";

/// Shows what is seen of deployments while something is waited for.
pub struct View<'o> {
    out: &'o mut dyn Output,
    format: Format,
    is_terminal: bool,
    painted: usize,
    last: String,
    began: Instant,
}

impl<'o> View<'o> {
    /// A view on standard output, which is asked whether it is a terminal.
    pub fn new(out: &'o mut dyn Output, format: Format) -> Self {
        // Who calls a terminal dumb says that it repaints nothing.
        let repaints = std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        Self::of(out, format, repaints && std::io::stdout().is_terminal())
    }

    fn of(out: &'o mut dyn Output, format: Format, is_terminal: bool) -> Self {
        Self { out, format, is_terminal, painted: 0, last: String::new(), began: Instant::now() }
    }

    /// Shows a deployment for as long as nothing newer is seen; nothing in forms for programs.
    pub fn show(&mut self, deployment: &proto::Deployment) -> Result<(), Failure> {
        if self.format != Format::Text {
            return Ok(());
        }
        self.paint(&text::deployment(deployment), text::summary(deployment))
    }

    /// The same for several deployments.
    pub fn show_all(&mut self, deployments: &[proto::Deployment]) -> Result<(), Failure> {
        let lines: Vec<String> = deployments.iter().map(text::summary).collect();
        self.paint(&text::deployments(deployments), lines.join("; "))
    }

    fn paint(&mut self, block: &[String], line: String) -> Result<(), Failure> {
        if line == self.last && !self.is_terminal {
            return Ok(());
        }
        let written = if self.is_terminal {
            let up = if self.painted > 0 { format!("\x1b[{}A\r", self.painted) } else { String::new() };
            let shown = fitting(block);
            self.painted = shown.len();
            write!(self.out, "{up}{BEGIN}{}\n{END}", shown.join("\n"))
        } else {
            writeln!(self.out, "{:>7.2} s  {line}", self.began.elapsed().as_secs_f64())
        };
        self.last = line;
        written.and_then(|()| self.out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Takes away what is shown for a time, so that the answer stands in its place.
    pub fn clear(&mut self) -> Result<(), Failure> {
        if self.painted == 0 {
            return Ok(());
        }
        let written = write!(self.out, "\x1b[{}A\r\x1b[J", self.painted);
        self.painted = 0;
        written.and_then(|()| self.out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Tells what stays: lines for people, the message for programs.
    pub fn tell(
        &mut self,
        message: &impl prost::Message,
        name: &str,
        lines: impl FnOnce() -> Vec<String>,
    ) -> Result<(), Failure> {
        self.clear()?;
        if self.format != Format::Text {
            return print(self.out, message, name, self.format);
        }
        self.say(&lines())
    }

    /// Writes lines that stay.
    pub fn say(&mut self, lines: &[String]) -> Result<(), Failure> {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| Failure::output(&error))
    }

    /// Whether nobody reads any more.
    pub fn is_left(&self) -> bool {
        self.out.is_left()
    }

    /// Whether people read it.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }
}

/// The lines that are painted; the last one says how many are not.
fn fitting(block: &[String]) -> Vec<String> {
    if block.len() <= MAX_LINES {
        return block.to_vec();
    }
    let mut shown = block.to_vec();
    shown.truncate(MAX_LINES - 1);
    shown.push(format!("  … {} more", block.len() - shown.len()));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::output::Stream;
    use super::*;

    fn shown(is_terminal: bool) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        let mut out = Stream::new(&mut bytes);
        let mut view = View::of(&mut out, Format::Text, is_terminal);
        let mut deployment = proto::Deployment { name: "wp".into(), ..Default::default() };
        for revision in [1, 1, 2] {
            deployment.revision = revision;
            deployment.message = if revision == 2 { "more".into() } else { String::new() };
            deployment.state = if revision == 2 { 2 } else { 1 };
            assert!(view.show(&deployment).is_ok());
        }
        assert!(view.clear().is_ok());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_is_painted_again_and_cleared() {
        let text = shown(true);
        assert_eq!(text.matches("\x1b[1A\r\x1b[J").count(), 2, "{text:?}");
        assert!(text.ends_with("\x1b[2A\r\x1b[J"), "{text:?}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = |count: usize| (0..count).map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(fitting(&lines(MAX_LINES)), lines(MAX_LINES));
        let shown = fitting(&lines(MAX_LINES + 20));
        assert_eq!((shown.len(), shown.last().unwrap().as_str()), (MAX_LINES, "  … 21 more"));
    }

    #[test]
    fn elsewhere_each_change_is_one_line() {
        let text = shown(false);
        assert!(!text.contains('\x1b'), "{text:?}");
        let lines: Vec<&str> = text.lines().map(|line| line.split(" s  ").nth(1).unwrap()).collect();
        assert_eq!(lines, ["wp  DEPLOYING", "wp  ACTIVE"]);
    }
}
