//! Tests of the command line as a whole.

mod fields;

use super::*;

fn parsed(line: &str) -> Result<Told, clap::Error> {
    parse(words(line))
}

#[test]
fn the_flags_are_consistent() {
    command().debug_assert();
    Commands::command().debug_assert();
}

#[test]
fn every_command_is_described_alike_wherever_it_is() {
    let listed = command();
    let mut built = command();
    // Only now the flags of a command are built, and what they say of it holds.
    built.build();
    for command in listed.get_subcommands() {
        let name = command.get_name();
        let said = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        let own = built.find_subcommand(name).unwrap();
        assert_eq!(said(command), said(own), "{name}");
        assert!(!said(own).is_empty() && own.get_long_about().is_none(), "{name}");
    }
}

#[test]
fn no_help_shows_what_a_variable_holds() {
    let mut whole = command();
    whole.build();
    let mut served = settings();
    served.build();
    let all = [&whole, &served].into_iter().chain(whole.get_subcommands());
    let told: Vec<_> =
        all.flat_map(clap::Command::get_arguments).filter(|flag| flag.get_env().is_some()).collect();
    assert!(told.len() > 80, "{} variables", told.len());
    for flag in told {
        assert!(flag.is_hide_env_values_set(), "{}", flag.get_id());
    }
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

fn words(line: &str) -> Vec<OsString> {
    [PROGRAM].into_iter().chain(line.split_whitespace()).map(OsString::from).collect()
}

#[test]
fn a_line_that_is_none_is_told_by_what_was_meant() {
    for line in ["", "serve --nope", "serve nope", "--nope", "--listen nope", "--nope x"] {
        assert!(!is_command(&words(line)), "{line}");
    }
    for line in ["bogus", "help nope", "get", "-o json get blog", "--namespace x list", "--sandbox get x"] {
        assert!(is_command(&words(line)), "{line}");
        assert!(parsed(line).is_err_and(|error| error.exit_code() == 2), "{line}");
    }
    let told = |line: &str| parsed(line).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told("deply a.pmx").contains("'deploy'"), "{}", told("deply a.pmx"));
    let behind = format!("flags of a command come behind it: {PROGRAM} get [OPTIONS]");
    for line in ["-o json get blog", "--namespace x get blog"] {
        assert!(told(line).contains(&behind), "{line}: {}", told(line));
    }
}

/// The exit code of a command line that is refused before anything happens, and what is said.
fn refused(line: &str) -> (u8, String) {
    let Ok(Told::Do(command)) = parsed(line) else { panic!("{line} is no command") };
    command.check().map_or_else(|failure| (failure.code, failure.text), |()| (0, String::new()))
}

#[test]
fn nothing_is_named_twice() {
    for (line, key) in [
        ("scale st A=1 A=2", "COMPONENT=NUMBER: `A`"),
        ("deploy a.pmx --labels a=1,a=2", "--labels: `a`"),
        ("plan a.pmx --labels a=1 --labels b=1,a=1", "--labels: `a`"),
        ("validate a.pmx --annotations a=1 --annotations a=1", "--annotations: `a`"),
        ("validate - -", "`-`"),
        ("validate a.pmx - b.pmx -", "`-`"),
        ("translate --override - -", "`-`"),
        ("deploy - --image-configs a=-", "`-`"),
    ] {
        let text = format!("error: {key} is named twice");
        let (code, told) = refused(line);
        assert_eq!(code, 2, "{line}");
        assert!(told.starts_with(&text), "{line}: {told}");
    }
    for line in ["scale st A=1 B=1", "deploy - --labels a=1,b=1 --annotations a=1", "validate - a.pmx"] {
        assert_eq!(refused(line), (0, String::new()), "{line}");
    }
}

#[test]
fn no_flag_is_ignored_in_silence() {
    for (line, why) in [
        ("watch --until ready", "--until"),
        ("watch --until forever", "--until"),
        ("watch --heartbeat-interval 5s", "--heartbeat-interval"),
        ("deploy a.pmx --wait none --wait-timeout 5m", "--wait-timeout"),
        ("plan a.pmx --wait none --wait-timeout 5m", "--wait-timeout"),
        ("scale st A=1 --wait none --wait-timeout 5m", "--wait-timeout"),
        ("rollback st --wait none --wait-timeout 5m", "--wait-timeout"),
        ("teardown st --wait none --wait-timeout 5m", "--wait-timeout"),
        ("deploy a.pmx --validate-only --wait-timeout 5m", "--wait-timeout"),
        ("scale st A=1 --validate-only --wait-timeout 5m", "--wait-timeout"),
        ("rollback st --validate-only --wait-timeout 5m", "--wait-timeout"),
        ("teardown st --validate-only --wait-timeout 5m", "--wait-timeout"),
    ] {
        let (code, told) = refused(line);
        assert_eq!(code, 2, "{line}");
        assert!(told.starts_with(&format!("error: {why} ")), "{line}: {told}");
    }
    for line in [
        "watch",
        "watch --timeout 5s --view full",
        "watch st --until ready --heartbeat-interval 5s",
        "deploy a.pmx --wait ready --wait-timeout 5m",
        "teardown st --wait gone --wait-timeout 5m",
        "teardown st --wait-timeout 5m",
        "scale st A=1 --wait none",
    ] {
        assert_eq!(refused(line), (0, String::new()), "{line}");
    }
}

/// What a script writes whose variable is unset is no flag that was left out.
#[test]
fn an_empty_text_is_no_value() {
    let mut program = command();
    program.build();
    let mut texts = 0;
    for command in program.get_subcommands().filter(|command| Command::has_subcommand(command.get_name())) {
        for flag in command.get_arguments().filter(|flag| flag.get_action().takes_values()) {
            let Some(long) = flag.get_long() else { continue };
            // A file of no name is told as one that is not there.
            let is_file = flag.get_value_names().is_some_and(|names| names[0].contains("FILE"));
            if is_file || long == "server" {
                continue;
            }
            let needed = match command.get_name() {
                "scale" => "st A=1",
                "list" | "watch" => "",
                _ => "st",
            };
            let line = format!("{} {needed} --{long}=", command.get_name());
            assert!(parsed(&line).is_err(), "{line}");
            texts += 1;
        }
    }
    assert!(texts > 100, "{texts} flags");
    let names = ["get", "watch", "revisions", "scale", "rollback", "teardown"];
    for command in names {
        let line = ["panamax", command, "", "A=1"].map(OsString::from);
        let line = line.into_iter().take(if command == "scale" { 4 } else { 3 });
        assert!(parse(line).is_err_and(|error| error.exit_code() == 2), "{command}");
    }
}

#[test]
fn one_template_that_cannot_be_read_hides_no_other() {
    let folder = std::env::temp_dir().join(format!("panamax-many-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.pmx", "name: a\nimages:\n- name: A\n  source: a:1\n");
    let bad = file("bad.pmx", "name: a\nimages:\n- name: A\n");
    let missing = folder.join("missing.pmx").to_str().unwrap().to_owned();
    let validated = |files: &[&String]| {
        let line = files.iter().fold("validate".to_owned(), |line, file| format!("{line} {file}"));
        let Ok(Told::Do(command)) = parsed(&line) else { panic!("{line} is no command") };
        let (mut out, mut err): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let ended = command.answer(&mut Stream::new(&mut out), &mut err);
        let code = ended.map_or_else(|failure| failure.code, |()| 0);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (code, out, err) = validated(&[&good, &missing, &bad, &good]);
    assert_eq!(
        (code, out.matches(": valid, ").count(), out.matches(": refused, ").count()),
        (2, 2, 1),
        "{out}"
    );
    assert_eq!(err.matches("missing.pmx cannot be read").count(), 1, "{err}");
    assert_eq!(validated(&[&good, &bad]).0, 1);
    assert_eq!(validated(&[&good]).0, 0);
}
