//! What the commands of a template seem to mean and do not: options of `docker run`, lists in a text, programs that end.

use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Ending, Image, ending};

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

/// Tells what is odd about an image's command.
pub(super) fn tell(image: &Image, index: usize, findings: &mut Findings) {
    tell_docker_flags(image, index, findings);
    let text = image.command.text().trim();
    if text.starts_with("[\"") && text.ends_with(']') {
        let message = "the command looks like a list but is one text, so it is split at its blanks";
        findings.report(Code::CommandList, image.command_path(index), message);
    }
    let field = || image.command_path(index);
    match ending(image.command.words()) {
        Some(Ending::Idle) => {
            let message =
                "the command ends at once without doing anything, and the cluster starts it again for ever";
            findings.report(Code::CommandEnds, field(), message);
        }
        Some(Ending::Done) => {
            let message =
                "the command ends when it has done its work, and the cluster starts it again for ever";
            let advice = "let the image that needs the work do it, or let the command go on, as `sh -c '…; exec sleep infinity'`";
            findings.push(Diagnostic::new(Code::CommandEnds, field(), message).advising(advice));
        }
        None => {}
    }
}

fn tell_docker_flags(image: &Image, index: usize, findings: &mut Findings) {
    let mut words = image.command.words().iter();
    let (Some(first), second) = (words.next(), words.next()) else { return };
    let flag = first.split('=').next().unwrap_or_default();
    let pair = |second: &String| DOCKER_PAIRS.contains(&flag) && second.contains([':', '=']);
    if DOCKER_FLAGS.contains(&flag) || second.is_some_and(pair) {
        let message = format!("the command begins with `{flag}`, which is an option of `docker run`");
        findings.report(Code::CommandDockerFlags, image.command_path(index), message);
    }
}
