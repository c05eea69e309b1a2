//! Whether a text names a host: alone, in a list, in an address, in a connection string, in JSON, behind an option.
//!
//! A name of letters alone may be any word, so it has to stand where only a host does. A name with other signs, as
//! `db_1`, is no word of a language: it counts wherever it stands whole, but for prose, paths and what is said to be
//! something else.

use std::cell::OnceCell;

/// What separates the items of a list.
const SEPARATORS: [char; 4] = [',', ';', '|', '\n'];
/// Signs behind which something begins, blanks or not.
const OPENING: [char; 14] = [',', ';', '|', '[', '(', '{', '=', ':', '"', '\'', '<', '>', '&', '\n'];
/// How much of a text is looked at around a name.
const NEAR: usize = 256;

/// Parts of keys that say that a host follows.
const HOST_PARTS: &[&str] = &["addr", "host", "server"];
/// Last words of keys that say that a host follows.
const HOST_KEYS: &[&str] = &[
    "backend",
    "broker",
    "brokers",
    "domain",
    "endpoint",
    "endpoints",
    "link",
    "master",
    "node",
    "nodes",
    "peer",
    "peers",
    "primary",
    "proxy",
    "replica",
    "seed",
    "seeds",
    "slave",
    "source",
    "tcp",
    "udp",
    "upstream",
    "uri",
    "url",
];
/// Last words of keys and of variables' names that say that something else follows than a host.
const OTHER_KEYS: &[&str] = &[
    "alias",
    "catalog",
    "database",
    "db",
    "dbname",
    "description",
    "group",
    "id",
    "key",
    "label",
    "name",
    "passwd",
    "password",
    "path",
    "prefix",
    "pwd",
    "role",
    "schema",
    "secret",
    "title",
    "token",
    "topic",
    "uid",
    "user",
    "username",
];

/// Whether a key or a variable is named after something else than a host; in lower case.
pub(super) fn says_other(key: &str) -> bool {
    !says_host(key) && OTHER_KEYS.contains(&last_word(key))
}

fn says_host(key: &str) -> bool {
    HOST_PARTS.iter().any(|part| key.contains(part)) || HOST_KEYS.contains(&last_word(key))
}

fn last_word(key: &str) -> &str {
    key.rsplit(|character: char| !character.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// Whether a text names a host, both in lower case. `whole` says that all of the text may be the name of a host.
pub(super) fn names_host(text: &str, host: &str, whole: bool) -> bool {
    let mut places = text.match_indices(host).peekable();
    if places.peek().is_none() {
        return false;
    }
    let is_item = |item: &str| {
        item.trim().strip_prefix(host).is_some_and(|behind| behind.is_empty() || is_port(behind))
    };
    if whole && text.split(SEPARATORS).any(is_item) {
        return true;
    }
    let is_word = host.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_list = OnceCell::new();
    places.any(|(start, _)| {
        let place = Place { before: &text[..start], behind: &text[start + host.len()..] };
        let may_be = whole && !is_word;
        place.is_apart()
            && (place.is_surely_host(whole)
                || may_be && place.stands_free(|| *is_list.get_or_init(|| is_list_of_names(text))))
    })
}

/// Whether a text goes on with a port.
fn is_port(behind: &str) -> bool {
    behind.strip_prefix(':').is_some_and(|port| port.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a character would be a part of the same name.
fn is_part(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.')
}

/// Whether all words between blanks look like names of hosts: none is a word of a language.
fn is_list_of_names(text: &str) -> bool {
    let is_name = |word: &str| word == "localhost" || !word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut words = text.split_whitespace().map(|word| word.trim_matches(|one: char| !is_part(one)));
    words.all(|word| is_name(word) && !word.starts_with('-'))
}

/// What stands around a name.
struct Place<'t> {
    before: &'t str,
    behind: &'t str,
}

impl Place<'_> {
    /// Whether the name is whole, and neither that of a variable nor that of whoever logs in.
    fn is_apart(&self) -> bool {
        let next = self.behind.chars().next();
        let last = self.before.chars().next_back();
        let is_variable = self.before.ends_with(['$', '%']) || self.before.ends_with("${");
        next.is_none_or(|next| !is_part(next))
            && last.is_none_or(|last| !is_part(last))
            && !is_variable
            && !self.is_login()
    }

    /// Whether it is the user or the password of an address: `//name:word@host`.
    fn is_login(&self) -> bool {
        let ends = |character: &char| !(character.is_whitespace() || "/?#,;\"'|".contains(*character));
        self.behind.starts_with('@')
            || (self.is_addressed() && self.behind.chars().take(NEAR).take_while(ends).any(|one| one == '@'))
    }

    fn is_addressed(&self) -> bool {
        self.before.ends_with("//") || self.before.ends_with('@')
    }

    /// Whether only a host stands there.
    fn is_surely_host(&self, whole: bool) -> bool {
        let next = self.behind.chars().next();
        let key = self.key();
        let is_assigned = || {
            let open = next.is_none() && !key.is_some_and(says_other);
            self.before.ends_with('=') && (open || matches!(next, Some(':' | '/')))
        };
        self.is_addressed()
            || is_port(self.behind)
            || key.is_some_and(says_host)
            || self.is_of_option()
            || (whole && is_assigned())
    }

    /// Whether an option stands before it that takes a host.
    fn is_of_option(&self) -> bool {
        let option = last_run(self.before.trim_end());
        self.before.ends_with(' ') && option.starts_with('-') && (says_host(option) || option == "-h")
    }

    /// Whether it stands for itself: it is no key, no part of a path and no word of a sentence.
    fn stands_free(&self, is_list: impl Fn() -> bool) -> bool {
        let behind = self.behind.trim_start_matches(['"', '\'']).trim_start();
        // What is behind a `:` at once may be a password, if it is no port.
        let is_pair = behind.strip_prefix(':').is_some_and(|next| next.starts_with(is_part));
        let is_key = is_pair || behind.starts_with('=');
        if self.before.ends_with('/') || is_key || self.key().is_some_and(says_other) {
            return false;
        }
        let lead = self.before.trim_end();
        let is_led_by_blank = lead.len() != self.before.len() || lead.is_empty();
        let is_first = || lead.is_empty() && self.behind.starts_with(|next: char| !next.is_whitespace());
        !is_led_by_blank || is_first() || lead.ends_with(OPENING) || is_led_by_word(lead) || is_list()
    }

    /// The key of what is assigned here: `host` in `host=…`, `"host": "…"` and `--host=…`.
    fn key(&self) -> Option<&str> {
        let quotes = ['"', '\'', '[', ' '];
        let assigned = self.before.trim_end_matches(quotes).strip_suffix([':', '='])?;
        let key = last_run(assigned.trim_end_matches(['"', '\'', ' ']));
        (!key.is_empty()).then_some(key)
    }
}

/// Whether the last word of a text says that a host follows: an option, or what is called after hosts.
fn is_led_by_word(lead: &str) -> bool {
    let word = last_run(lead);
    (word.starts_with('-') && !says_other(word)) || says_host(word)
}

/// The word that a text ends with.
fn last_run(text: &str) -> &str {
    let length: usize =
        text.chars().rev().take(NEAR).take_while(|one| is_part(*one)).map(char::len_utf8).sum();
    &text[text.len() - length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_where_it_stands_as_one() {
        for text in [
            "db_1",
            "DB_1",
            "mysql://app@db_1:3306/blog",
            "mysql://app:word@db_1/blog",
            "http://db_1/x",
            "tcp://db_1",
            "one:1,db_1:2",
            "a; db_1",
            "user:pass@db_1",
            "host=db_1:80",
            "run db_1:80",
            "host=db_1",
            "host=db_1 port=5432 user=x",
            "Server=db_1;Database=x;",
            "Data Source=db_1,1433;User Id=x",
            "jdbc:sqlserver://db_1\\one;x=y",
            "app:word@tcp(db_1:3306)/x",
            "(DESCRIPTION=(ADDRESS=(HOST=db_1)(PORT=1521)))",
            "{\"host\":\"db_1\",\"port\":1}",
            "{\"nodes\": [\"a\", \"db_1\"]}",
            "{'a': 'db_1'}",
            "['db_1']",
            "one\ndb_1\nthree",
            "zk_1 db_1 zk_3",
            "db_1 3306",
            "--link db_1 --fast",
            "psql -h db_1 -U x",
            "upstream db_1;",
            "http://x/?to=db_1&y",
            "tcp:db_1,1433",
        ] {
            assert!(names_host(&text.to_lowercase(), "db_1", true), "{text}");
        }
        for text in [
            "About db_1ish",
            "xdb_1:80",
            "my.db_1:80",
            "db_1.example.com",
            "about db_1 things",
            "db_1 is what it is called",
            "db_1x",
            "",
            "db_1:x@host",
            "mysql://db_1:word@host/x",
            "mysql://db_1@host/x",
            "mysql://host/db_1",
            "/srv/db_1/x",
            "${db_1}",
            "$db_1",
            "db_1=5",
            "Server=x;Database=db_1",
            "host=x dbname=db_1",
            "{\"name\": \"db_1\"}",
            "--user db_1",
        ] {
            assert!(!names_host(&text.to_lowercase(), "db_1", true), "{text}");
        }
    }

    #[test]
    fn a_word_of_a_language_has_to_stand_where_only_a_host_does() {
        for text in [
            "store",
            "http://store/",
            "x@store",
            "store:80",
            "a,store",
            "host=store;x",
            "{\"server\": \"store\"}",
            "--db-host=store",
            "psql -h store",
            "run --server store",
        ] {
            assert!(names_host(text, "store", true), "{text}");
        }
        for text in [
            "the store",
            "in the store, always",
            "{\"what\": \"store\"}",
            "mode=store;x",
            "run --what store",
            "--database=store",
        ] {
            assert!(!names_host(text, "store", true), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_of_a_host_as_a_whole_may_hold_an_address() {
        assert!(!names_host("db_1", "db_1", false) && names_host("x@db_1", "db_1", false));
        assert!(names_host("host=db_1;x", "db_1", false) && !names_host("a,db_1", "db_1", false));
        assert!(names_host("--host=db_1", "db_1", true) && !names_host("--name=db_1x", "db_1", true));
    }

    #[test]
    fn a_long_text_takes_no_longer_than_it_is() {
        let begun = std::time::Instant::now();
        for piece in ["a db_1 ", "//db_1x@", "/db_1 ", "key=/db_1", "//db_1:", "   db_1"] {
            let _ = names_host(&piece.repeat(40_000), "db_1", true);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
