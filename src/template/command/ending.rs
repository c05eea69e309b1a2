//! Which commands end by themselves: a cluster starts them again for ever, where Docker let them rest.

use super::Command;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// At once, with nothing done: in images that only owned volumes it was run because something had to be.
    Idle,
    /// When what it was to do is done.
    Done,
}

/// Programs that do nothing but say something.
const IDLE: &[&str] = &[":", "[", "echo", "exit", "false", "printf", "return", "test", "true"];
/// Programs that do one thing and end.
const DONE: &[&str] = &[
    "chgrp", "chmod", "chown", "cp", "date", "hostname", "id", "ln", "ls", "mkdir", "mv", "printenv", "pwd",
    "rm", "rmdir", "stat", "sync", "touch", "uname", "uptime", "whoami",
];
/// Shells. Without a script they read their input, and a container has none.
const SHELLS: &[&str] = &["ash", "bash", "dash", "ksh", "sh", "zsh"];
/// Programs that run the command behind them.
const RUNNERS: &[&str] = &["busybox", "command", "env", "exec", "nice", "nohup", "toybox"];
/// How often a command may be inside of another.
const DEPTH: usize = 4;

/// How the command of these words ends; `None` for one that may go on running.
///
/// ```
/// use panamax_kubernetes_adapter::template::{Ending, ending};
/// let of = |words: &[&str]| ending(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
/// assert_eq!(of(&["sh", "-c", "exit 0"]), Some(Ending::Idle));
/// assert_eq!(of(&["tail", "-f", "/dev/null"]), None);
/// ```
pub fn ending(words: &[String]) -> Option<Ending> {
    of_words(words, DEPTH)
}

fn of_words(words: &[String], depth: usize) -> Option<Ending> {
    let (first, rest) = words.split_first()?;
    let depth = depth.checked_sub(1)?;
    match first.rsplit('/').next().unwrap_or_default() {
        program if IDLE.contains(&program) => Some(Ending::Idle),
        program if DONE.contains(&program) => Some(Ending::Done),
        // Without a file it reads its input, and a container has none.
        "cat" if rest.is_empty() => Some(Ending::Idle),
        "cat" => Some(Ending::Done),
        program if SHELLS.contains(&program) => of_shell(rest, depth),
        program if RUNNERS.contains(&program) => {
            let set = rest.iter().take_while(|word| word.contains('=')).count();
            if set == rest.len() { Some(Ending::Idle) } else { of_words(&rest[set..], depth) }
        }
        _ => None,
    }
}

/// A shell with these arguments.
fn of_shell(arguments: &[String], depth: usize) -> Option<Ending> {
    let options = arguments.iter().take_while(|word| word.starts_with('-')).count();
    let takes_script =
        arguments[..options].iter().any(|option| !option.starts_with("--") && option.ends_with('c'));
    match arguments.get(options) {
        None => Some(Ending::Idle),
        Some(script) if takes_script => of_script(script, depth),
        Some(_) => None,
    }
}

/// A script ends if each of its simple commands does; whatever else a shell can do may go on running.
fn of_script(script: &str, depth: usize) -> Option<Ending> {
    let mut all = Ending::Idle;
    for piece in script.replace("&&", ";").replace("||", ";").split([';', '\n']) {
        if piece.contains(['|', '&', '`', '(', '{', '<']) {
            return None;
        }
        let command = Command::new(piece).ok()?;
        if command.words().is_empty() {
            continue;
        }
        all = all.max(of_words(command.words(), depth)?);
        // What follows is never reached.
        if command.words().first().is_some_and(|first| first == "exit") {
            break;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Ending> {
        ending(Command::new(text).unwrap().words())
    }

    #[test]
    fn what_only_owns_volumes_ends_at_once() {
        for text in [
            "true",
            "/bin/true",
            ":",
            "exit 0",
            "echo Data-only container",
            "/bin/echo x",
            "sh -c true",
            "/bin/sh -c \"exit 0\"",
            "sh -c 'echo data; exit 0; mysqld'",
            "bash -ec 'true && true'",
            "sh",
            "/bin/bash -l",
            "busybox true",
            "env A=1 true",
            "exec true",
            "cat",
            "false",
            "sh -c ''",
            "sh -c 'echo > /data/ready'",
        ] {
            assert_eq!(of(text), Some(Ending::Idle), "{text}");
        }
    }

    #[test]
    fn what_does_one_thing_ends_then() {
        for text in [
            "chown -R 1000 /data",
            "ls /",
            "sh -c 'mkdir -p /data && chown 1000 /data'",
            "cat /etc/hosts",
            "/bin/busybox touch /data/x",
        ] {
            assert_eq!(of(text), Some(Ending::Done), "{text}");
        }
    }

    #[test]
    fn what_may_run_on_is_left_alone() {
        for text in [
            "",
            "mysqld",
            "tail -f /dev/null",
            "sleep infinity",
            "sleep 3600",
            "sh -c 'while true; do sleep 1; done'",
            "sh -c 'echo go; exec mysqld'",
            "sh -c 'true | tee'",
            "sh -c '(mysqld)'",
            "sh -c 'mysqld & true'",
            "sh -c \"echo 'a; b\"",
            "sh /start.sh",
            "env A=1 mysqld",
            "/true/run",
            "sh -c 'sh -c \"sh -c sh\"; mysqld'",
            "cat-server",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        let deep = "exec ".repeat(1_000) + "true";
        assert_eq!(of(&deep), None);
    }
}
