//! The walls between rooms, as the table in ARCHITECTURE.md has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::source::{Source, root, sources};

/// Doors of a room beside its first file.
const DOORS: [&str; 2] = ["template::raw", "template::validate"];
/// Rooms in which the same input always gives the same output.
const PURE: [&str; 9] =
    ["artifacts", "diagnostic", "error", "facts", "plan", "record", "status", "template", "translate"];
/// What would make a room impure; the walls keep out the libraries.
const IMPURE: [&str; 9] = [
    "async ",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "std::env::",
    "std::fs::",
    "std::net::",
    "HashMap<",
];

/// What a room may use; `None` is no wall.
#[derive(Debug, PartialEq, Eq)]
struct Wall {
    rooms: Option<BTreeSet<String>>,
    libraries: Option<BTreeSet<String>>,
}

/// Reads the table of walls.
fn walls(text: &str) -> BTreeMap<String, Wall> {
    let lines = text.lines().skip_while(|line| !line.starts_with("| Room | Rooms it may use |")).skip(2);
    let mut walls = BTreeMap::new();
    for line in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [room, rooms, libraries, _] = cells.as_slice() else { panic!("a row of four cells: {line}") };
        let room = room.trim_matches('`').to_owned();
        walls.insert(room, Wall { rooms: names(rooms), libraries: names(libraries) });
    }
    walls
}

fn names(cell: &str) -> Option<BTreeSet<String>> {
    if cell == "all" {
        return None;
    }
    Some(
        cell.split(',')
            .map(|name| name.trim().trim_matches('`').to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
    )
}

/// The libraries of the manifest, as code names them.
fn libraries(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let entries = lines.filter(|line| line.starts_with(|letter: char| letter.is_ascii_alphabetic()));
    entries.filter_map(|line| line.split([' ', '=', '.']).next()).map(|name| name.replace('-', "_")).collect()
}

/// The names that stand before `::` and begin a path, each with what follows it.
pub fn paths(code: &str) -> Vec<(&str, &str)> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut paths = Vec::new();
    for (place, _) in code.match_indices("::") {
        let before = &code[..place];
        let begin = before.rfind(|letter: char| !is_part(letter)).map_or(0, |last| last + 1);
        let name = &before[begin..];
        if !name.is_empty() && !before[..begin].ends_with("::") && !before[..begin].ends_with('.') {
            paths.push((name, &code[place + 2..]));
        }
    }
    paths
}

/// The first names of a path or of each path of a group.
pub fn heads(rest: &str) -> Vec<String> {
    let head = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![head(rest)] };
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut begin = 0;
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(head(&group[begin..index]));
                begin = index + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Everything in one file that goes through a wall.
fn breaches(source: &Source, walls: &BTreeMap<String, Wall>, libraries: &BTreeSet<String>) -> Vec<String> {
    let room = source.room().expect("a file in src/");
    let Some(wall) = walls.get(room) else {
        return vec![format!("{}: no wall for room {room}", source.path)];
    };
    let code = source.code();
    let mut breaches = Vec::new();
    let mut note = |what: String| breaches.push(format!("{}: {what}", source.path));
    for (name, rest) in paths(&code) {
        if name == "crate" {
            for used in heads(rest) {
                let allowed = wall.rooms.as_ref().is_none_or(|rooms| used == room || rooms.contains(&used));
                // Macros of the crate root are nobody's room.
                if walls.contains_key(&used) && !allowed {
                    note(format!("{room} uses {used}"));
                }
                let inner = rest.strip_prefix(used.as_str()).and_then(|rest| rest.strip_prefix("::"));
                let door = inner.map(|inner| heads(inner).join(","));
                let is_file = |door: &str| root().join(format!("src/{used}/{door}.rs")).is_file();
                if let Some(door) = door.filter(|door| used != room && is_file(door))
                    && !DOORS.contains(&format!("{used}::{door}").as_str())
                {
                    note(format!("enters {used} through {used}/{door}.rs"));
                }
            }
        } else if name == "super" {
            let ups = 1 + rest.split("::").take_while(|step| *step == "super").count();
            // A module inside the file may bring in the file itself.
            if ups >= source.depth() && !rest.starts_with('*') {
                note(format!("climbs out of {room} with super"));
            }
        } else if libraries.contains(name) {
            let has_file = root().join(format!("src/{room}/{name}.rs")).is_file();
            let allowed = wall.libraries.as_ref().is_none_or(|allowed| allowed.contains(name));
            if !allowed && !has_file {
                note(format!("{room} uses library {name}"));
            }
        }
    }
    if PURE.contains(&room) {
        for sign in IMPURE.iter().filter(|sign| code.contains(**sign)) {
            note(format!("{room} is pure and has `{}`", sign.trim()));
        }
    }
    breaches
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file of the repository")
}

#[test]
fn no_room_reaches_through_a_wall() {
    let walls = walls(&read("ARCHITECTURE.md"));
    let libraries = libraries(&read("Cargo.toml"));
    let sources = sources("src");
    let breaches: Vec<String> =
        sources.iter().flat_map(|source| breaches(source, &walls, &libraries)).collect();
    assert!(breaches.is_empty(), "{breaches:#?}");
    let rooms: BTreeSet<_> = sources.iter().filter_map(Source::room).collect();
    assert_eq!(walls.keys().map(String::as_str).collect::<BTreeSet<_>>(), rooms, "a row for each room");
}

#[test]
fn no_wall_is_wider_than_its_room_needs() {
    let all = sources("src");
    for (room, wall) in walls(&read("ARCHITECTURE.md")) {
        let code: String =
            all.iter().filter(|source| source.room() == Some(&room)).map(Source::code).collect();
        let used: BTreeSet<String> = paths(&code).iter().map(|(name, _)| (*name).to_owned()).collect();
        for library in wall.libraries.iter().flatten() {
            assert!(used.contains(library), "{room} does not use library {library} any more");
        }
        let crate_paths = paths(&code).into_iter().filter(|(name, _)| *name == "crate");
        let used: BTreeSet<String> = crate_paths.flat_map(|(_, rest)| heads(rest)).collect();
        for other in wall.rooms.iter().flatten() {
            assert!(used.contains(other), "{room} does not use {other} any more");
        }
    }
}

const TABLE: &str = "\
| Room | Rooms it may use | Libraries it may use | Never sees |
|---|---|---|---|
| `status` | `artifacts` | `jiff` | x |
| `artifacts` | | | x |
| `template` | | | x |
| `cluster` | all | all | x |
";

/// The breaches of a made-up file.
fn check(path: &str, text: &str) -> Vec<String> {
    let libraries = libraries(
        "[dependencies]\n# x = 1\nkube = \"1\"\ntokio-util = \"1\"\njiff = \"1\"\n[lints]\nfoo = 1\n",
    );
    breaches(&Source::new(path, text), &walls(TABLE), &libraries)
}

#[test]
fn what_goes_through_a_wall_is_seen() {
    assert_eq!(
        check("src/status/a.rs", "use crate::cluster::Cluster;"),
        ["src/status/a.rs: status uses cluster"]
    );
    assert_eq!(
        check("src/status.rs", "use crate::{artifacts::{Kind, X}, cluster};"),
        ["src/status.rs: status uses cluster"]
    );
    assert_eq!(check("src/status.rs", "fn f() { crate::cluster::connect() }").len(), 1);
    assert_eq!(check("src/status.rs", "use kube::Client;"), ["src/status.rs: status uses library kube"]);
    assert_eq!(check("src/status.rs", "fn f() { tokio_util::x() }").len(), 1);
    assert_eq!(
        check("src/status.rs", "use super::cluster::Cluster;"),
        ["src/status.rs: climbs out of status with super"]
    );
    assert_eq!(check("src/status/a.rs", "use super::super::cluster::X;").len(), 1);
    assert_eq!(
        check("src/status.rs", "fn f() { Timestamp::now() }"),
        ["src/status.rs: status is pure and has `Timestamp::now`"]
    );
    assert_eq!(check("src/attic.rs", ""), ["src/attic.rs: no wall for room attic"]);
    assert_eq!(
        check("src/cluster.rs", "use crate::template::names::Name;"),
        ["src/cluster.rs: enters template through template/names.rs"]
    );
}

#[test]
fn what_stays_inside_is_left_alone() {
    for text in [
        "use crate::artifacts::Kind; use jiff::Timestamp; use std::sync::Arc;",
        "use crate::status::Reason;",
        "// use kube::Client;",
        "const A: &str = \"kube::Client\";",
        "#[cfg(test)]\nmod tests {}",
        "fn f() { x.kube::<A>(); foo::kube::b() }",
    ] {
        assert_eq!(check("src/status.rs", &format!("\n{text}")), [""; 0], "{text}");
    }
    assert_eq!(check("src/status/a.rs", "use super::Status;"), [""; 0]);
    assert_eq!(check("src/cluster.rs", "use crate::template::raw::Raw; use kube::Client;"), [""; 0]);
}
