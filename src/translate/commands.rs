//! What the commands of a template seem to mean and do not: options of `docker run`, lists in a text, programs that end.

use crate::diagnostic::{Code, Findings};
use crate::template::Image;

/// Options of `docker run` that people put in front of a command; none is a usual argument of a program.
const DOCKER_FLAGS: &[&str] = &[
    "--add-host",
    "--cap-add",
    "--cap-drop",
    "--device",
    "--env",
    "--expose",
    "--hostname",
    "--link",
    "--name",
    "--net",
    "--network",
    "--pid",
    "--privileged",
    "--publish",
    "--restart",
    "--rm",
    "--volume",
    "--volumes-from",
    "-it",
    "-ti",
];
/// Short options of `docker run` that other programs have, too: what follows tells, with a `:` or `=` in it.
const DOCKER_PAIRS: &[&str] = &["-e", "-p", "-v"];

/// Programs that do nothing: in images that only owned volumes they were run because something had to be.
const NOTHING: &[&str] = &["true", "/bin/true", "/usr/bin/true", ":"];

/// Tells what is odd about an image's command.
pub(super) fn tell(image: &Image, index: usize, findings: &mut Findings) {
    tell_docker_flags(image, index, findings);
    let text = image.command.text().trim();
    if text.starts_with("[\"") && text.ends_with(']') {
        let message = "the command looks like a list but is one text, so it is split at its blanks";
        findings.report(Code::CommandList, format!("images[{index}].command"), message);
    }
    let mut words = image.command.words().iter();
    if words.next().is_some_and(|first| NOTHING.contains(&first.as_str())) && words.next().is_none() {
        let message =
            "the command ends at once without doing anything, and the cluster starts it again for ever";
        findings.report(Code::CommandEnds, format!("images[{index}].command"), message);
    }
}

fn tell_docker_flags(image: &Image, index: usize, findings: &mut Findings) {
    let mut words = image.command.words().iter();
    let (Some(first), second) = (words.next(), words.next()) else { return };
    let flag = first.split('=').next().unwrap_or_default();
    let pair = |second: &String| DOCKER_PAIRS.contains(&flag) && second.contains([':', '=']);
    if DOCKER_FLAGS.contains(&flag) || second.is_some_and(pair) {
        let message = format!("the command begins with `{flag}`, which is an option of `docker run`");
        findings.report(Code::CommandDockerFlags, format!("images[{index}].command"), message);
    }
}
