//! No circle between the files of a room: who reads one of them need not read them all at once.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, product};
use super::walls::{heads, paths};

/// The module path of a file of the program, as `cluster::head::record`. A package beside `src/` is one more room.
fn module(path: &str) -> Vec<&str> {
    let path = path.trim_end_matches(".rs");
    match path.strip_prefix("src/") {
        Some(path) => path.split('/').collect(),
        None => path.split('/').filter(|part| !["src", "lib"].contains(part)).collect(),
    }
}

/// The files that each file of a room uses, by module path.
///
/// A file below another may use that one's types: the folder belongs to the file of its name. So what a file uses of
/// the files it lies under counts for nothing.
fn uses(sources: &[Source]) -> BTreeMap<Vec<&str>, BTreeSet<Vec<&str>>> {
    let known =
        |path: &[String]| sources.iter().map(|source| module(&source.path)).find(|file| file[..] == *path);
    let mut uses = BTreeMap::new();
    for source in sources {
        let own = module(&source.path);
        let mut used = BTreeSet::new();
        for (name, rest) in paths(&source.code()) {
            for path in targets(&own, name, rest) {
                let target = (1..=path.len()).rev().find_map(|end| known(&path[..end]));
                used.extend(target.filter(|target| !own.starts_with(target) && target[0] == own[0]));
            }
        }
        uses.insert(own, used);
    }
    uses
}

/// The absolute module paths that `name::rest` may mean in a file; the last part may be an item.
fn targets(own: &[&str], name: &str, rest: &str) -> Vec<Vec<String>> {
    let mut base: Vec<String> = own.iter().map(|part| (*part).to_owned()).collect();
    let mut rest = rest;
    match name {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while let Some(up) = rest.strip_prefix("super::") {
                base.pop();
                rest = up;
            }
        }
        // A module that this file declares.
        name => base.push(name.to_owned()),
    }
    follow(&base, rest)
}

/// The paths behind a prefix, one for each member of the groups on the way.
fn follow(base: &[String], rest: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for head in heads(rest) {
        let mut path = base.to_vec();
        path.push(head.clone());
        // Only a path without a group goes on as it begins.
        match rest.strip_prefix(head.as_str()).and_then(|rest| rest.strip_prefix("::")) {
            Some(deeper) => found.extend(follow(&path, deeper)),
            None => found.push(path),
        }
    }
    found
}

/// The circles, each as the files on it that can be reached from one another.
fn circles(sources: &[Source]) -> Vec<String> {
    let uses = uses(sources);
    let reached = |from: &Vec<&str>| {
        let mut reached = BTreeSet::new();
        let mut open: Vec<_> = uses[from].iter().cloned().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next.clone()) {
                open.extend(uses[&next].iter().cloned());
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in reached.iter().filter(|(file, others)| others.contains(**file)) {
        let on_it = others.iter().filter(|other| reached[other].contains(*file));
        circles.insert(on_it.map(|part| part.join("::")).collect::<Vec<_>>().join(", "));
    }
    circles.into_iter().collect()
}

#[test]
fn no_room_has_a_circle_between_its_files() {
    assert_eq!(circles(&product()), [""; 0]);
}

/// The circles of made-up files.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    circles(&files.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>())
}

#[test]
fn circles_are_seen() {
    let room = ("src/room.rs", "mod a; mod b; mod c; use a::A;");
    let to_c = ("src/room/b.rs", "use crate::room::c::C;");
    let found = check(&[
        room,
        ("src/room/a.rs", "use super::b::{self, B};"),
        to_c,
        ("src/room/c.rs", "fn f() { super::a::f() }"),
    ]);
    assert_eq!(found, ["room::a, room::b, room::c"]);
    let found = check(&[
        room,
        ("src/room/a.rs", "use super::{b::B, X};"),
        to_c,
        ("src/room/c.rs", "use super::{x, a::A};"),
    ]);
    assert_eq!(found, ["room::a, room::b, room::c"]);
    // A file and the one it lies under are one thing; a cousin is not.
    let below = ("src/room/a/d.rs", "use super::A; use super::super::Room; use crate::room::b::B;");
    let above = ("src/room/a.rs", "mod d; use d::D;");
    assert_eq!(check(&[room, above, below, ("src/room/b.rs", "")]), [""; 0]);
    assert_eq!(
        check(&[room, above, below, ("src/room/b.rs", "use super::a::A;")]),
        ["room::a, room::a::d, room::b"]
    );
}
