//! Keys that a template does not have: whether they may be shown, what is lost with them, and what to advise.

use core::net::IpAddr;
use std::borrow::Cow;

use super::foreign;
use super::keys::{
    ALL, IMAGE_KEYS, Keys, PORT_KEYS, TEMPLATE_KEYS, VARIABLE_KEYS, VOLUME_KEYS, known_key, place, spellings,
};
use super::tree::Entry;
use crate::template::names::did_you_mean;

/// Keys that narrow what their entry opens, in formats that people bring along: an address of the host, read-only.
const NARROWING: &[(&str, &[&str])] = &[
    (
        "host_interface",
        &[
            "host_ip",
            "hostIP",
            "hostIp",
            "host_address",
            "ip",
            "interface",
            "address",
            "bind",
            "bind_address",
            "listen",
            "host_interfaces",
            "addr",
            "iface",
            "nic",
            "publish_address",
            "loopback",
        ],
    ),
    ("read_only", &["readonly", "ro", "mode", "access_mode", "read-only"]),
];

/// What begins a comment in other languages, and what to do about one.
pub(super) const COMMENTS: [&str; 2] = ["//", "/*"];
pub(super) const NO_COMMENT: &str = "take the comment out: JSON has none, and YAML begins one with `#`";

/// Whether a text begins with an address of the host, as Docker and others write one: behind a scheme, in brackets,
/// before a port or a mask.
fn begins_with_address(text: &str) -> bool {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '%']).next().unwrap_or_default();
    let plain = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text,
    };
    let is_address = |text: &str| text == "localhost" || text.parse::<IpAddr>().is_ok();
    is_address(plain) || plain.split(':').next().is_some_and(is_address)
}

/// The known key that a value narrows by itself, whatever key it stands under: an address of the host, read-only.
fn narrowed_by(key: &str, value: &str, known: Keys) -> Option<&'static str> {
    let value = value.trim().to_ascii_lowercase();
    let is_read_only = || {
        let mut words = value.split([',', ' ']);
        let denies = || ["false", "no", "off", "0"].contains(&value.as_str());
        words.any(|word| ["ro", "readonly", "read-only", "read_only"].contains(&word))
            || (["rw", "writable", "writeable", "write"].contains(&key) && denies())
    };
    match () {
        () if known.contains(&"host_interface") && begins_with_address(&value) => Some("host_interface"),
        () if known.contains(&"read_only") && is_read_only() => Some("read_only"),
        () => None,
    }
}

/// Whether a key is a known one behind the `-` of an entry, as `-name`: a blank is missing.
fn is_dashed(key: &str) -> bool {
    key.strip_prefix('-').is_some_and(|key| ALL.iter().any(|keys| known_key(key, keys).is_some()))
}

/// Keys without which an entry is empty or open: each with the keys and the list of its entry.
const NEEDED: &[(&str, Keys, &str)] = &[
    ("variable", VARIABLE_KEYS, "environment"),
    ("value", VARIABLE_KEYS, "environment"),
    ("host_interface", PORT_KEYS, "ports"),
    ("read_only", VOLUME_KEYS, "volumes"),
];

/// The list whose entries a key belongs to that must not be ignored where an image or a template has it: a needed key, or
/// one that others write in its place, if a value under it narrows what an entry opens.
pub(super) fn misplaced(key: &str, values: &[&str], known: Keys) -> Option<&'static str> {
    if ![IMAGE_KEYS, TEMPLATE_KEYS].contains(&known) {
        return None;
    }
    let is_needed = |name: &'static str, keys: Keys| {
        let narrows = |value: &&str| {
            let is_true = ["true", "yes", "on"].contains(value);
            narrowed_by(key, value, keys) == Some(name) || name == "read_only" && is_true
        };
        let is_foreign = NARROWING.iter().any(|(meant, foreign)| *meant == name && foreign.contains(&key));
        key == name || spellings(name).contains(&key) || is_foreign && values.iter().any(narrows)
    };
    NEEDED.iter().find(|(name, keys, _)| is_needed(name, keys)).map(|(.., list)| *list)
}

/// What is to be said about a key that its mapping does not have.
pub(super) struct Unknown {
    /// Whether the key may be shown. All others may be pieces of values.
    pub(super) is_shown: bool,
    /// What to do about it.
    pub(super) advice: Option<Cow<'static, str>>,
    /// The known key that it seems to mean, for the message.
    pub(super) near: String,
    /// The known key whose narrowing is lost if this one is ignored.
    pub(super) narrows: Option<&'static str>,
}

impl Unknown {
    /// Judges a key that is unknown in its mapping, and the texts that stand under it; suggestions take time, so they
    /// can be spared.
    pub(super) fn of(key: &str, values: &[&str], known: Keys, spares: bool) -> Self {
        let mut named = NARROWING.iter().filter(|(name, _)| known.contains(name));
        let named = named.find(|(_, foreign)| foreign.contains(&key)).map(|(name, _)| *name);
        let by_value = values.iter().find_map(|value| narrowed_by(key, value, known));
        let here = foreign::advice(key, known);
        let home = ALL.iter().find(|keys| known_key(key, keys).is_some());
        let is_foreign = foreign::is_foreign(key);
        let is_shown = named.is_some() || is_foreign || home.is_some();
        // A key of another place is that key, and no misspelling of one that belongs here.
        let is_meant = is_foreign || home.is_some() || named.or(by_value).is_some();
        let near = match spares || is_meant || is_dashed(key) {
            true => String::new(),
            false => did_you_mean(key, known.iter().copied()),
        };
        let narrows = named.or(by_value).or_else(|| {
            let meant = |name: &&str| near.contains(&format!("`{name}`"));
            NARROWING.iter().map(|(name, _)| *name).filter(|name| known.contains(name)).find(meant)
        });
        let advice = match narrows {
            Some("host_interface") => {
                Some("write `host_interface`; until then the port is not published".into())
            }
            Some(_) => Some("write `read_only: true` or `false`; until then it is mounted read-only".into()),
            None if COMMENTS.iter().any(|sign| key.starts_with(sign)) => Some(NO_COMMENT.into()),
            None if is_dashed(key) => Some("write a blank behind the `-` that begins an entry".into()),
            None => here.map(Cow::from).or_else(|| {
                Some(format!("the key belongs to {}; check the indentation", place(home?)).into())
            }),
        };
        Self { is_shown, advice, near, narrows }
    }
}

/// What others call the name of a variable.
const CALLED: &[&str] = &["name", "key", "env", "var", "variable_name"];

/// What to write in place of the unknown keys in an entry of `environment`; `None`: what the code says.
///
/// It names keys of ours alone, and only those that the entry does not have.
pub(super) fn advice_beside_a_value(entries: &[Entry], spares: bool) -> Option<Cow<'static, str>> {
    let is_known = |entry: &&Entry| known_key(&entry.key, VARIABLE_KEYS).is_some();
    let missing = |key: &&str| entries.iter().all(|entry| entry.key != **key);
    let missing: Vec<&str> = VARIABLE_KEYS.iter().copied().filter(missing).collect();
    for entry in entries.iter().filter(|entry| !is_known(entry)) {
        if CALLED.contains(&entry.key.to_lowercase().as_str()) && missing.contains(&"variable") {
            return Some("write `variable` for the name of the variable".into());
        }
        let joined = missing
            .iter()
            .find(|key| entry.key.strip_prefix(**key).is_some_and(|rest| rest.starts_with(':')));
        if let Some(key) = joined {
            return Some(format!("write a blank behind the `:` of `{key}`").into());
        }
        if !spares && let Some(near) = did_you_mean(&entry.key, missing.iter().copied()).strip_prefix("; ") {
            return Some(near.to_owned().into());
        }
    }
    let is_pair = entries.len() == 1 && missing.len() == VARIABLE_KEYS.len();
    is_pair.then_some("write `- variable: NAME`, and on the next line `value:` with the text".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::raw::keys::LINK_KEYS;

    #[test]
    fn what_would_leave_an_entry_empty_or_open_is_misplaced() {
        for (key, value, list) in [
            ("value", "x", "environment"),
            ("variable", "x", "environment"),
            ("host_interface", "x", "ports"),
            ("hostInterface", "x", "ports"),
            ("bind", "127.0.0.1", "ports"),
            ("host_ip", "[::1]:80", "ports"),
            ("readOnly", "x", "volumes"),
            ("readonly", "true", "volumes"),
            ("mode", "ro", "volumes"),
        ] {
            for known in [IMAGE_KEYS, TEMPLATE_KEYS] {
                assert_eq!(misplaced(key, &[value], known), Some(list), "{key}");
            }
            assert_eq!(misplaced(key, &[value], PORT_KEYS), None, "{key}");
        }
        // Less is open without it, or nothing says that anything is to be narrow.
        for (key, value) in [("host_port", "80"), ("bind", "all"), ("mode", "bridge"), ("readonly", "false")]
        {
            assert_eq!(misplaced(key, &[value], IMAGE_KEYS), None, "{key}");
        }
    }

    #[test]
    fn only_keys_of_the_list_may_be_shown() {
        for key in ["image", "restart", "hostPort", "host_ip", "count"] {
            assert!(Unknown::of(key, &["x"], PORT_KEYS, false).is_shown, "{key}");
        }
        for key in ["imagee", "s3cr3t", "hostport", ""] {
            assert!(!Unknown::of(key, &["x"], PORT_KEYS, false).is_shown, "{key}");
        }
    }

    #[test]
    fn what_narrows_is_never_taken_for_what_opens() {
        for key in ["host_ip", "host_interfce", "hostInterfac", "bind", "host_interface_"] {
            let unknown = Unknown::of(key, &["x"], PORT_KEYS, false);
            assert_eq!(unknown.narrows, Some("host_interface"), "{key}");
            assert!(!unknown.near.contains("host_port"), "{key}");
        }
        assert_eq!(Unknown::of("readonly", &["x"], VOLUME_KEYS, false).narrows, Some("read_only"));
        assert_eq!(Unknown::of("host_prt", &["x"], PORT_KEYS, false).narrows, None);
        assert_eq!(Unknown::of("bind", &["x"], VOLUME_KEYS, false).narrows, None);
    }

    #[test]
    fn what_a_value_narrows_is_not_opened_whatever_its_key_is() {
        for value in [
            "127.0.0.1",
            "LocalHost",
            "::1",
            "[::1]",
            " 10.0.0.1",
            "127.0.0.1:8080",
            "127.0.0.1:8080:80/tcp",
            "localhost:8080",
            "[::1]:8080",
            "tcp://127.0.0.1:8080",
            "10.0.0.0/8",
            "fe80::1%eth0",
        ] {
            for key in ["host", "network", "only", "expose_on"] {
                let unknown = Unknown::of(key, &[value], PORT_KEYS, false);
                assert_eq!(unknown.narrows, Some("host_interface"), "{key}: {value}");
                assert!(unknown.advice.is_some_and(|advice| !advice.contains("host_port")), "{key}");
            }
        }
        assert_eq!(
            Unknown::of("host", &["8080"], PORT_KEYS, false).advice.as_deref(),
            Some("write `host_port`")
        );
        let among = Unknown::of("hosts", &["8080", "127.0.0.1"], PORT_KEYS, false);
        assert_eq!(among.narrows, Some("host_interface"), "one of many is enough");
        for value in ["8080", "8080:80", "example.com", "tcp", "1.2.3", ""] {
            assert_eq!(Unknown::of("host", &[value], PORT_KEYS, false).narrows, None, "{value}");
        }
        for (key, value) in [("access", "ro"), ("flags", "z,RO"), ("options", "readonly"), ("rw", "false")] {
            assert_eq!(Unknown::of(key, &[value], VOLUME_KEYS, false).narrows, Some("read_only"), "{key}");
        }
        for (key, value) in [("access", "rw"), ("rw", "true"), ("name", "rope"), ("options", "z")] {
            assert_eq!(Unknown::of(key, &[value], VOLUME_KEYS, false).narrows, None, "{key}");
        }
    }

    #[test]
    fn what_is_advised_depends_on_the_place() {
        for (key, known, word) in [
            ("port", IMAGE_KEYS, "write `ports`"),
            ("port", PORT_KEYS, "write `container_port`"),
            ("target", PORT_KEYS, "write `container_port`"),
            ("target", VOLUME_KEYS, "write `container_path`"),
            ("target", LINK_KEYS, "write `service`"),
            ("host", PORT_KEYS, "write `host_port`"),
            ("host", VOLUME_KEYS, "write `host_path`"),
            ("image", IMAGE_KEYS, "write `source`"),
            ("image", TEMPLATE_KEYS, "write `images`"),
            ("version", TEMPLATE_KEYS, "no meaning"),
            ("ports", TEMPLATE_KEYS, "belongs to an entry of `images`"),
            ("container_path", IMAGE_KEYS, "belongs to an entry of `volumes`"),
            ("images", IMAGE_KEYS, "belongs to the top of the template"),
            // Keys of another place that look like one of here.
            ("proto", IMAGE_KEYS, "belongs to an entry of `ports`"),
            ("recommended", IMAGE_KEYS, "belongs to the top of the template"),
            ("host_port", VOLUME_KEYS, "belongs to an entry of `ports`"),
            ("host_path", PORT_KEYS, "belongs to an entry of `volumes`"),
            ("name", PORT_KEYS, "a number alone"),
        ] {
            let advice = Unknown::of(key, &["x"], known, false).advice.unwrap_or_default();
            assert!(advice.contains(word), "{key}: {advice}");
        }
        assert!(Unknown::of("-name", &["x"], TEMPLATE_KEYS, false).advice.unwrap().contains("blank"));
        // Nothing is advised that belongs to another place.
        let elsewhere = Unknown::of("image", &["x"], PORT_KEYS, false);
        assert!(elsewhere.is_shown && elsewhere.advice.is_none());
        let useless = Unknown::of("restart", &["x"], PORT_KEYS, false).advice.unwrap_or_default();
        assert!(useless.starts_with("remove the key:"), "{useless}");
    }
}
