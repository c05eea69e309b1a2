//! The live view: a deployment repainted in its place on a terminal, a line for each change elsewhere.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::failure::Failure;
use super::output::{Format, Output, print};
use super::text;
use panamax_kubernetes_adapter_client as proto;

/// The lines of a terminal that does not say how many it has.
const LINES: usize = 24;
/// Erases all that is below, and does not break lines that are too long.
const BEGIN: &str = "\x1b[J\x1b[?7l";
/// Breaks lines again.
const END: &str = "\x1b[?7h";

/// Shows what is seen of deployments while something is waited for.
pub struct View<'o> {
    out: &'o mut dyn Output,
    format: Format,
    /// How many lines the terminal has now; `None`: there is no terminal.
    height: Option<fn() -> usize>,
    painted: usize,
    last: String,
    began: Instant,
    /// Asks standard output whether it leads to nobody any more; `None`: something else is written to.
    is_closed: Option<fn() -> bool>,
}

impl<'o> View<'o> {
    /// A view on standard output, which is asked whether it is a terminal.
    pub fn new(out: &'o mut dyn Output, format: Format) -> Self {
        // Who calls a terminal dumb says that it repaints nothing.
        let repaints = std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        let is_terminal = repaints && std::io::stdout().is_terminal();
        let view = Self::of(out, format, is_terminal.then_some(|| height(std::io::stdout())));
        Self { is_closed: Some(|| is_closed(std::io::stdout())), ..view }
    }

    fn of(out: &'o mut dyn Output, format: Format, height: Option<fn() -> usize>) -> Self {
        Self { out, format, height, painted: 0, last: String::new(), began: Instant::now(), is_closed: None }
    }

    /// Shows a deployment for as long as nothing newer is seen; nothing in forms for programs.
    pub fn show(&mut self, deployment: &proto::Deployment) -> Result<(), Failure> {
        if self.format != Format::Text {
            return Ok(());
        }
        // Objects are told to whoever wants all.
        let is_whole = !deployment.objects.is_empty();
        let block = if is_whole { text::whole(deployment) } else { text::deployment(deployment) };
        // Where nothing can be repainted, each change is a line, and all the rest stands below it.
        let line = text::summary(deployment);
        let rest = if is_whole && self.height.is_none() { block.get(1..).unwrap_or_default() } else { &[] };
        let line = [&[line], rest].concat().join("\n");
        self.paint(&block, line)
    }

    /// The same for several deployments.
    pub fn show_all(&mut self, deployments: &[proto::Deployment], of_all: bool) -> Result<(), Failure> {
        // Two namespaces may have deployments of one name.
        let told = |one| if of_all { text::summary_of_all(one) } else { text::summary(one) };
        let lines: Vec<String> = deployments.iter().map(told).collect();
        let line = if lines.is_empty() { text::NONE.to_owned() } else { lines.join("; ") };
        self.paint(&text::deployments(deployments), line)
    }

    fn paint(&mut self, block: &[String], line: String) -> Result<(), Failure> {
        if line == self.last && self.height.is_none() {
            return Ok(());
        }
        let written = if let Some(height) = self.height {
            // The cursor stands on the line below what is painted. What has scrolled out cannot be painted again.
            let room = height().saturating_sub(1).max(1);
            let up = up(self.painted.min(room));
            let shown = fitting(block, room);
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
        let room = self.height.map_or(LINES, |height| height()).saturating_sub(1).max(1);
        let written = write!(self.out, "{}\x1b[J", up(self.painted.min(room)));
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

    /// Whether nobody reads any more: what has nothing to write asks the pipe itself.
    pub fn is_left(&self) -> bool {
        self.out.is_left() || self.is_closed.is_some_and(|is_closed| is_closed())
    }

    /// Whether people read it.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }
}

/// Whether the reader of a pipe has closed it.
fn is_closed(pipe: impl AsFd) -> bool {
    let mut asked = [PollFd::new(&pipe, PollFlags::empty())];
    let answered = poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    answered && asked[0].revents().contains(PollFlags::ERR)
}

/// How many lines a terminal has.
fn height(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    // A terminal that nobody has given a size says 0.
    size.map_or(LINES, |size| if size.ws_row == 0 { LINES } else { size.ws_row.into() })
}

/// Moves the cursor up to the first of so many lines.
fn up(lines: usize) -> String {
    if lines > 0 { format!("\x1b[{lines}A\r") } else { String::new() }
}

/// The lines that are painted; the last one says how many are not.
fn fitting(block: &[String], room: usize) -> Vec<String> {
    if block.len() <= room {
        return block.to_vec();
    }
    let mut shown = block.to_vec();
    shown.truncate(room.saturating_sub(1));
    shown.push(format!("  and {} more", block.len() - shown.len()));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::output::Stream;
    use super::*;

    #[test]
    fn deployments_of_all_namespaces_are_told_apart() {
        let told = |of_all| {
            let mut bytes: Vec<u8> = Vec::new();
            let mut out = Stream::new(&mut bytes);
            let mut view = View::of(&mut out, Format::Text, None);
            let of = |namespace: &str| proto::Deployment {
                namespace: namespace.into(),
                name: "blog".into(),
                ..Default::default()
            };
            assert!(view.show_all(&[of("shop"), of("test")], of_all).is_ok());
            String::from_utf8(bytes).unwrap()
        };
        assert!(told(true).contains("  shop/blog; test/blog"), "{}", told(true));
        assert!(!told(false).contains("shop"), "{}", told(false));
    }

    fn shown(is_terminal: bool) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        let mut out = Stream::new(&mut bytes);
        let mut view = View::of(&mut out, Format::Text, is_terminal.then_some(|| 10));
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
        assert_eq!(fitting(&lines(20), 20), lines(20));
        let shown = fitting(&lines(40), 20);
        assert_eq!((shown.len(), shown.last().unwrap().as_str()), (20, "  and 21 more"));
        assert_eq!(fitting(&lines(3), 1), ["  and 3 more"]);
    }

    /// The lines of a terminal of this height after some bytes: what its first lines were is lost when it scrolls.
    fn screen(bytes: &[u8], height: usize) -> Vec<String> {
        let (mut lines, mut at) = (vec![String::new(); height], 0_usize);
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut rest = text.as_str();
        while let Some(letter) = rest.chars().next() {
            let mut taken = letter.len_utf8();
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
                match (&sequence[..end], &sequence[end..=end]) {
                    (number, "A") => at = at.saturating_sub(number.parse().unwrap()),
                    ("", "J") => lines[at..].iter_mut().for_each(String::clear),
                    (_, "h" | "l") => {}
                    other => panic!("{other:?}"),
                }
                taken = "\x1b[".len() + end + 1;
            } else if letter == '\n' {
                if at + 1 == height {
                    lines.remove(0);
                    lines.push(String::new());
                } else {
                    at += 1;
                }
            } else if letter != '\r' {
                lines[at].push(letter);
            }
            rest = &rest[taken..];
        }
        lines
    }

    #[test]
    fn a_low_terminal_is_painted_within_its_lines() {
        let mut bytes: Vec<u8> = Vec::new();
        let mut out = Stream::new(&mut bytes);
        let mut view = View::of(&mut out, Format::Text, Some(|| 6));
        view.say(&["above".to_owned()]).unwrap_or_else(|failure| panic!("{}", failure.text));
        let component = |index: usize| proto::Component { name: format!("c{index}"), ..Default::default() };
        let mut deployment = proto::Deployment { name: "wp".into(), ..Default::default() };
        deployment.components = (0..10).map(component).collect();
        for revision in 1..4 {
            deployment.revision = revision;
            assert!(view.show(&deployment).is_ok());
        }
        let shown = screen(&bytes, 6);
        assert!(shown[0].contains("revision 3") && shown[4].contains("and 8 more"), "{shown:#?}");
        assert_eq!((shown[1].trim().starts_with("COMPONENT"), shown[5].as_str()), (true, ""), "{shown:#?}");
    }

    #[test]
    fn a_terminal_says_its_height() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
        use rustix::termios::{Winsize, tcsetwinsize};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        assert!(grantpt(&terminal).is_ok() && unlockpt(&terminal).is_ok());
        assert_eq!(height(&terminal), LINES);
        tcsetwinsize(&terminal, Winsize { ws_row: 7, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        assert_eq!(height(&terminal), 7);
        assert_eq!(height(std::fs::File::open("/dev/null").unwrap()), LINES);
    }

    #[test]
    fn elsewhere_each_change_is_one_line() {
        let text = shown(false);
        assert!(!text.contains('\x1b'), "{text:?}");
        let lines: Vec<&str> = text.lines().map(|line| line.split(" s  ").nth(1).unwrap()).collect();
        assert_eq!(lines, ["wp  DEPLOYING", "wp  ACTIVE"]);
    }
}
