//! The file of rights: who may do what, and in which namespaces.

use std::collections::BTreeSet;

use super::caller::is_legible;
use super::files::{Form, Unusable, all};
use super::rights::{Ask, Deed};
use crate::artifacts::Namespace;
use crate::cluster::Identity;

/// What stands for everything, and for everybody who is known.
const ALL: &str = "*";

/// The rules; what none of them allows is forbidden.
pub(super) struct Rules(Vec<Rule>);

#[derive(Clone)]
struct Rule {
    who: Who,
    deeds: BTreeSet<Deed>,
    /// `None`: all of them, and what is in none.
    namespaces: Option<BTreeSet<Namespace>>,
}

#[derive(Clone)]
enum Who {
    Everybody,
    User(String),
    Group(String),
}

impl Rules {
    /// The file's form: a line is who, what and where; several of each with commas between.
    pub(super) const FORM: Form<Self> = Form {
        what: "rights",
        open: (0o002, "can be written by everybody; let only its owner and group write it (chmod o-w)"),
        parse: Self::parse,
    };

    fn parse(text: &str) -> Result<Self, Unusable> {
        let rules = all(text, rule)?.concat();
        if rules.is_empty() { Err("allows nothing to anybody".to_owned()) } else { Ok(Self(rules)) }
    }

    /// Whether somebody may do it.
    pub(super) fn allow(&self, who: &Identity, ask: &Ask) -> bool {
        self.0.iter().any(|rule| rule.is_of(who) && rule.deeds.contains(&ask.deed) && rule.is_for(ask))
    }
}

impl Rule {
    fn is_of(&self, who: &Identity) -> bool {
        match &self.who {
            Who::Everybody => true,
            Who::User(name) => *name == who.user,
            Who::Group(name) => who.groups.contains(name),
        }
    }

    fn is_for(&self, ask: &Ask) -> bool {
        let is_named =
            |names: &BTreeSet<Namespace>| ask.namespace.as_ref().is_some_and(|one| names.contains(one));
        self.namespaces.as_ref().is_none_or(is_named)
    }
}

/// The rules of one line.
fn rule(words: &[&str]) -> Result<Vec<Rule>, String> {
    let [who, what, places] = words else {
        let text = "write who, what and where, as `group:ops read,deploy shop`; a name with a blank cannot stand here, so \
                    write a group of that caller";
        return Err(text.to_owned());
    };
    let mut deeds = BTreeSet::new();
    for word in what.split(',') {
        deeds.extend(deeds_of(word).ok_or_else(|| {
            let words: Vec<_> = Deed::ALL.iter().map(|deed| deed.word()).collect();
            format!("`{word}` is nothing that can be done; use {}, read, write or {ALL}", words.join(", "))
        })?);
    }
    let namespaces = match *places {
        ALL => None,
        names if names.split(',').any(|name| name == ALL) => {
            return Err(format!("`{ALL}` is all namespaces, and stands alone"));
        }
        names => {
            let names = names
                .split(',')
                .map(|name| Namespace::new(name).map_err(|rule| format!("a namespace {rule}")));
            Some(names.collect::<Result<BTreeSet<_>, _>>()?)
        }
    };
    let rules = who.split(',').map(|who| {
        let who = match who.split_once(':') {
            None if who == ALL => Who::Everybody,
            Some(("user", name)) if is_legible(name) => Who::User(name.to_owned()),
            Some(("group", name)) if is_legible(name) => Who::Group(name.to_owned()),
            _ if who.contains(char::is_control) => {
                return Err("a name has a control character, and so nobody can have it".to_owned());
            }
            _ => return Err(format!("`{who}` is nobody; write `user:NAME`, `group:NAME` or `{ALL}`")),
        };
        Ok(Rule { who, deeds: deeds.clone(), namespaces: namespaces.clone() })
    });
    rules.collect()
}

/// What a word allows.
fn deeds_of(word: &str) -> Option<Vec<Deed>> {
    let deeds = Deed::ALL.into_iter();
    let deeds: Vec<Deed> = match word {
        ALL => deeds.collect(),
        "read" => deeds.filter(|deed| deed.only_looks()).collect(),
        "write" => deeds.filter(|deed| !deed.only_looks() && *deed != Deed::CreateNamespace).collect(),
        word => deeds.filter(|deed| deed.word() == word).collect(),
    };
    Some(deeds).filter(|deeds| !deeds.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Identity { user: user.to_owned(), groups, ..Identity::default() }
    }

    fn ask(deed: Deed, namespace: &str) -> Ask {
        let namespace = Namespace::new(namespace).ok();
        Ask::new(deed, namespace.as_ref())
    }

    #[test]
    fn what_no_rule_allows_is_forbidden() {
        let text = "# who what where\nuser:alice read,deploy shop,shop-test\ngroup:ops * *\n* get public\n\
                    user:system:serviceaccount:ci:bot write ci\n";
        let rules = Rules::parse(text).unwrap();
        let alice = who("alice", &["team"]);
        for (deed, namespace, is_allowed) in [
            (Deed::Get, "shop", true),
            (Deed::Plan, "shop", true),
            (Deed::Deploy, "shop-test", true),
            (Deed::Scale, "shop", false),
            (Deed::CreateNamespace, "shop", false),
            (Deed::Deploy, "other", false),
            (Deed::Get, "public", true),
            (Deed::List, "public", false),
            (Deed::List, "-", false),
        ] {
            assert_eq!(rules.allow(&alice, &ask(deed, namespace)), is_allowed, "{deed:?} {namespace}");
        }
        let ops = who("carol", &["ops"]);
        assert!(Deed::ALL.into_iter().all(|deed| rules.allow(&ops, &ask(deed, "-"))));
        let bot = who("system:serviceaccount:ci:bot", &[]);
        assert!(rules.allow(&bot, &ask(Deed::Teardown, "ci")));
        assert!(!rules.allow(&bot, &ask(Deed::CreateNamespace, "ci")));
    }

    #[test]
    fn a_wrong_rule_is_told_by_its_line() {
        for (text, what) in [
            ("", "allows nothing"),
            ("user:a get", "line 1"),
            ("\nuser:a fly x", "line 2: `fly`"),
            ("a get x", "`a` is nobody"),
            ("user: get x", "is nobody"),
            ("group:a\u{7} get x", "a control character"),
            ("user:a get X", "a namespace"),
            ("user:a get x,", "a namespace"),
            ("user:a get x,*", "`*` is all namespaces, and stands alone"),
            ("user:Alice Smith get x", "a name with a blank"),
            ("user:a fly x\nuser:b get x\nuser:c get X", "line 1: `fly`"),
            ("user:a fly x\nuser:b get x\nuser:c get X", "in line 3: a namespace"),
            ("user:a , x", "`` is nothing"),
        ] {
            let why = Rules::parse(text).err().unwrap();
            assert!(why.contains(what), "{text:?}: {why}");
        }
    }
}
