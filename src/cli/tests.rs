//! Tests of the command line as a whole.

mod fields;

use super::*;

fn parsed(line: &str) -> Result<Told, clap::Error> {
    let words = line.split_whitespace().map(OsString::from);
    parse([OsString::from(PROGRAM)].into_iter().chain(words))
}

#[test]
fn the_flags_are_consistent() {
    command().debug_assert();
    Commands::command().debug_assert();
}

#[test]
fn serving_is_what_is_meant_where_no_command_is_named() {
    for line in ["", "--listen 127.0.0.1:1 --sandbox", "serve", "serve --sandbox"] {
        assert!(matches!(parsed(line), Ok(Told::Serve(_))), "{line}");
    }
    for line in ["translate a.pmx", "validate a b -o json"] {
        assert!(matches!(parsed(line), Ok(Told::Do(_))), "{line}");
    }
    for line in ["--sandbox translate a.pmx", "wrong", "serve translate", "translate"] {
        assert!(parsed(line).is_err(), "{line}");
    }
}
