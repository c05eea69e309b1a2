//! The lines of a text that may be shown to its author's screen or log: those that hold no value.

use super::keys::{
    DEPLOYMENT_KEYS, FROM_KEYS, IMAGE_KEYS, Keys, LINK_KEYS, PORT_KEYS, TEMPLATE_KEYS, VARIABLE_KEYS,
    VOLUME_KEYS, known_key,
};
use super::tree::{Entry, Node, Read, Value};

use super::positions::Positions;
use crate::diagnostic::Position;
use crate::template::open_part;

/// Keys whose values may be anything, a password of a command line included; of others, what has the form of what belongs
/// there is shown.
const CLOSED: [&str; 8] =
    ["value", "command", "description", "documentation", "keywords", "authors", "recommended", "categories"];

/// The longest line that is shown, in characters.
const MAX_LINE: usize = 120;

impl Positions {
    /// The line of a place, if all that it holds is one key of a template with nothing behind it, or with a text that is
    /// never a value of a variable: a name, a port, a path.
    ///
    /// `None` for every other line, and for texts that could not be read: nobody knows what stands there.
    pub fn open_line<'t>(&self, text: &'t str, at: Position) -> Option<&'t str> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // What else ends a line for a reader of YAML would move the count.
        let breaks = |letter: char| matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
        if text.contains(breaks) {
            return None;
        }
        let line = lines(text).nth(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let is_bare = line.chars().count() <= MAX_LINE && !line.contains(char::is_control);
        let found = self.root().is_some_and(|root| {
            // The images of a template without a name are a list.
            let is_list = matches!(root.value, Value::Sequence(_));
            holds_only(root, if is_list { IMAGE_KEYS } else { TEMPLATE_KEYS }, line, at.line)
        });
        (found && is_bare).then_some(line)
    }
}

/// The lines of a text, each of which ends with CR, LF or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let begun = rest?;
        let Some((line, behind)) = begun.split_once(['\n', '\r']) else {
            rest = None;
            return Some(begun);
        };
        let is_both = begun[line.len()..].starts_with("\r\n");
        rest = Some(if is_both { &behind[1..] } else { behind });
        Some(line)
    })
}

/// Whether a line of this tree holds one open entry and nothing else.
fn holds_only(node: &Node, keys: Keys, line: &str, number: u32) -> bool {
    match &node.value {
        // What was refused may mean anything.
        _ if node.read == Read::Nothing => false,
        Value::Null | Value::Scalar(_) => false,
        Value::Sequence(items) => items.iter().any(|item| holds_only(item, keys, line, number)),
        Value::Mapping(entries) => entries.iter().any(|entry| {
            let Some(key) = known_key(&entry.key, keys) else { return false };
            if entry.position.line == number {
                return is_open(entry, key, line);
            }
            below(key).is_some_and(|keys| holds_only(&entry.value, keys, line, number))
        }),
    }
}

/// The keys of the entries of a list, or of a mapping.
fn below(key: &str) -> Option<Keys> {
    Some(match key {
        "images" => IMAGE_KEYS,
        "ports" => PORT_KEYS,
        "links" => LINK_KEYS,
        "environment" => VARIABLE_KEYS,
        "volumes" => VOLUME_KEYS,
        "volumes_from" => FROM_KEYS,
        "deployment" => DEPLOYMENT_KEYS,
        _ => return None,
    })
}

/// Whether the line is `key: text`, behind nothing but spaces and dashes, with a text that is never a value.
fn is_open(entry: &Entry, key: &str, line: &str) -> bool {
    let begin = usize::try_from(entry.position.column).unwrap_or(usize::MAX).saturating_sub(1);
    let Some((byte, _)) = line.char_indices().nth(begin) else { return false };
    let (before, rest) = line.split_at(byte);
    let written = rest.strip_prefix(entry.key.as_str()).and_then(|rest| rest.strip_prefix(':'));
    let Some(written) = written.filter(|_| before.chars().all(|letter| matches!(letter, ' ' | '-'))) else {
        return false;
    };
    if CLOSED.contains(&key) || entry.value.read == Read::Nothing {
        return false;
    }
    match &entry.value.value {
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => written.trim().is_empty(),
        Value::Scalar(text) => {
            let written = written.trim();
            let quoted = |mark| written.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
            let is_whole = written == text || quoted('"').or(quoted('\'')) == Some(text.as_str());
            is_whole && has_form(key, text)
        }
    }
}

/// Whether a text looks like what belongs under a key: whatever else somebody writes there may be a value.
fn has_form(key: &str, text: &str) -> bool {
    // An account, a variable's value and an option, behind which another value may stand.
    let is_option = |word: &str| word.starts_with('-') && word.len() > 1;
    let is_plain = |text: &str| {
        !text.contains(['@', '=']) && !text.contains("--") && !text.split_whitespace().any(is_option)
    };
    let is_word = |text: &str| is_plain(text) && !text.contains(char::is_whitespace);
    match key {
        "required" | "read_only" => ["true", "false", "yes", "no", "on", "off"].contains(&text),
        "variable" => open_part(text) == text,
        "source" | "repository" => is_word(text.split_once("@sha256:").map_or(text, |(name, _)| name)),
        "name" | "service" | "alias" | "type" | "category" => is_plain(text),
        // Where a list or a mapping belongs, and where a number does.
        "expose" | "host_port" | "container_port" | "count" => is_number(text),
        _ if below(key).is_some() => is_number(text),
        _ => is_word(text),
    }
}

/// Whether it is made of ports and what stands between them.
fn is_number(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ':' | '.' | '/' | ',' | '-' | '+'))
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    /// The numbers of the lines of a text that may be shown.
    fn shown(text: &str) -> Vec<u32> {
        let reading = read(text);
        let lines = u32::try_from(text.lines().count()).unwrap();
        let at = |line| Position { line, column: 1 };
        (1..=lines).filter(|line| reading.positions.open_line(text, at(*line)).is_some()).collect()
    }

    #[test]
    fn keys_names_and_ports_are_shown() {
        let text = "name: shop\nimages:\n- name: WP\n  source: \"a:1\"\n  ports:\n  - host_port: 80\n    \
            container_port: 0\n  links:\n  - service: DB\n  environment:\n  - variable: A\n  deployment:\n    count: '-1'\n";
        assert_eq!(shown(text), (1..=13).collect::<Vec<_>>());
        assert_eq!(shown("- name: a\n  expose: '80'\n"), [1, 2]);
    }

    #[test]
    fn what_may_be_a_value_is_not() {
        for text in [
            "images:\n- environment:\n  - variable: A\n    value: canary\n",
            "images:\n- environment:\n  - variable: A\n    value: first\n      name: canary\n",
            "images:\n- environment:\n  - variable: A\n    value: |\n      name: canary\n",
            "images:\n- environment:\n  - {variable: A, value: canary}\n",
            "images:\n- environment:\n  - variable: A=canary\n",
            "images:\n- environment:\n  - variable: A\n    name: canary\n",
            "images:\n- command: canary\n",
            "images:\n- description: canary\n",
            "images:\n- name: a # canary\n",
            "images:\n- {name: canary}\n",
            "images:\n- name: a\n  canary: b\n",
            "images:\n- name: |\n    canary\n",
            "images:\n- name: a\n    canary\n",
            "images:\n- name: 'a\n    canary'\n",
            "images:\n- source: user:canary@host/image\n",
            "images:\n- source: user:canary@host/image@sha256:0\n",
            "images:\n- source: 'nginx:1 -e PASSWORD=canary'\n",
            "images:\n- source: docker run --pw canary nginx\n",
            "images:\n- name: a --pw canary\n",
            "images:\n- name: a -p canary\n",
            "images:\n- name: a -pcanary\n",
            "images:\n- category: -u canary\n",
            "images:\n- source: -pcanary\n",
            "images:\n- volumes:\n  - host_path: -pcanary\n",
            "images:\n- volumes_from:\n  - service: a -p canary\n",
            "images:\n- environment: PASSWORD=canary\n",
            "images:\n- environment: \"PASSWORD: canary\"\n",
            "images:\n- environment: canary\n",
            "images:\n- environment:\n  - variable: PASSWORD canary\n",
            "images:\n- environment:\n  - variable: A\n    required: canary x\n",
            "images:\n- ports: -e PASSWORD=canary\n",
            "images:\n- ports:\n  - host_port: canary\n",
            "images:\n- links: --pw canary\n",
            "images:\n- links:\n  - service: a PASSWORD=canary\n",
            "images:\n- deployment: run --pw canary\n",
            "images:\n- deployment:\n    count: canary\n",
            "images:\n- volumes:\n  - host_path: //user:canary@host/share\n",
            "images:\n- volumes:\n  - container_path: /a -e canary\n",
            "images: canary\n",
            "documentation: |\n  images:\n  - name: canary\n",
            "images:\n- name: &canary a\n",
            "images:\n- name: *canary\n",
            "images:\n- name: \"can\\u0061ry\"\n",
            "images: [\"x\n  name: canary\", y]\n",
            "images:\n- name: a\r  canary: b\n",
            "name: a\n canary: b: c\n",
        ] {
            let open = shown(text);
            let lines = lines(text).enumerate();
            let hidden = lines.filter(|(_, line)| line.contains("canary") || line.contains("can\\"));
            for (index, line) in hidden {
                assert!(!open.contains(&u32::try_from(index + 1).unwrap()), "{line:?} of {text:?}");
            }
        }
    }
}
