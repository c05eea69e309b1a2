//! The commands beside `serve`, as the built binary carries them out.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::adapter::Binary;

/// A value that no output may show.
const CANARY: &str = "canary-9f1c";

/// The binary, with nothing that the tests' own environment says about an adapter.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    command.args(arguments).env_remove("PANAMAX_SERVER").current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// How a command has ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn run(arguments: &[&str]) -> Ended {
    ended(program(arguments).stdin(Stdio::null()).output().expect("the binary starts"))
}

/// Runs with a text on standard input.
fn fed(arguments: &[&str], text: &str) -> Ended {
    let piped = |command: &mut Command| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let mut child = piped(&mut program(arguments)).expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    ended(child.wait_with_output().expect("it ends"))
}

/// Fails with everything that a command has said unless it ends with this code.
#[track_caller]
fn check(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.out, ended.err);
}

/// A file of one test.
fn file(name: &str, text: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commands-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

fn bad() -> String {
    format!(
        "name: Shop\nimages:\n- name: WP\n  source: wordpress:6\n  links:\n  - service: DBB\n  environment:\n  - \
         variable: A\n    value: {CANARY}\n    required: perhaps\n- name: DB\n  source: mysql:8\n"
    )
}

#[test]
fn translate_writes_manifests_and_findings_apart() {
    let yaml = run(&["translate", "examples/wordpress.pmx"]);
    check(&yaml, 0);
    assert!(yaml.out.contains("kind: Pod") && !yaml.out.contains("info:"), "{}", yaml.out);
    let from_pipe =
        fed(&["translate", "-"], &fs::read_to_string("examples/wordpress.pmx").expect("a template"));
    assert_eq!((from_pipe.code, &from_pipe.out), (Some(0), &yaml.out));
    let json =
        run(&["translate", "-o", "json", "--profile", "modern", "--name", "shop", "examples/wordpress.pmx"]);
    check(&json, 0);
    let list: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(list["kind"], "List");
    let items = list["items"].as_array().expect("items");
    assert!(items.iter().any(|item| item["kind"] == "Deployment"), "{}", json.out);
    assert!(items.iter().all(|item| item["metadata"]["labels"]["app.kubernetes.io/instance"] == "shop"));
}

#[test]
fn what_has_no_name_to_deploy_under_is_told_by_each_command() {
    for (text, why) in [
        ("images:\n- {name: a, source: 'a:1'}\n", "the template has no name to make one from"),
        ("name: '!!!'\nimages:\n- {name: a, source: 'a:1'}\n", "no Latin letter and no digit"),
    ] {
        let checked = fed(&["validate", "-"], text);
        check(&checked, 0);
        assert!(checked.err.contains("[DEPLOYMENT_UNNAMED]") && checked.err.contains(why), "{}", checked.err);
        let refused = fed(&["translate", "-"], text);
        assert_ne!(refused.code, Some(0));
        assert!(refused.err.contains(why) && refused.err.contains("set --name"), "{}", refused.err);
        let named = fed(&["validate", "--name", "shop", "-"], text);
        check(&named, 0);
        assert!(!named.err.contains("DEPLOYMENT_UNNAMED"), "{}", named.err);
    }
}

/// Two templates whose names become one are one deployment, so what becomes of a name is told.
#[test]
fn what_becomes_of_the_name_of_a_template_is_told_unless_another_is_given() {
    let images = "images:\n- {name: a, source: 'a:1'}\n";
    let long = "x".repeat(70);
    for (name, code) in
        [("My App", "[NAME_CHANGED]"), ("my.app", "[NAME_CHANGED]"), (&long, "[NAME_SHORTENED]")]
    {
        let text = format!("name: {name}\n{images}");
        for command in ["validate", "translate"] {
            let told = fed(&[command, "-"], &text);
            check(&told, 0);
            assert!(told.err.contains("<stdin>:1:7: ") && told.err.contains(code), "{command}: {}", told.err);
            assert!(told.err.contains("= at name\n"), "{}", told.err);
            let named = fed(&[command, "--name", "app", "-"], &text);
            assert!(!named.err.contains(code), "{command}: {}", named.err);
        }
    }
    assert!(!fed(&["validate", "-"], &format!("name: App\n{images}")).err.contains("NAME_"));
}

#[test]
fn names_are_judged_beside_other_faults() {
    let text = "name: T\nimages:\n- {name: A_1, source: 'a:1'}\n- {name: '', source: 'a:1'}\n- {name: a-1, source: 'a:1'}\n- \
        {name: kubernetes, source: 'a:1'}\n";
    let checked = fed(&["validate", "-"], text);
    check(&checked, 1);
    for code in ["NAME_MISSING", "NAME_COLLISION", "NAME_RESERVED"] {
        assert!(checked.err.contains(code), "{code}: {}", checked.err);
    }
}

#[test]
fn a_file_in_another_encoding_is_told_with_its_line() {
    let path = file("latin.yaml", "");
    fs::write(&path, b"name: T\ndescription: caf\xe9\n").expect("a file");
    let told = run(&["validate", &path]);
    assert_ne!(told.code, Some(0));
    assert!(told.err.contains(&format!("{path}:2: ")) && told.err.contains("byte 25"), "{}", told.err);
    assert!(told.err.contains("save the file as UTF-8"), "{}", told.err);
}

#[test]
fn findings_have_a_place_and_show_no_value() {
    let bad = file("bad.pmx", &bad());
    let told = run(&["translate", &bad]);
    check(&told, 1);
    assert!(told.out.is_empty(), "{}", told.out);
    let line = format!("{bad}:6:14: error: ");
    assert!(told.err.contains(&line) && told.err.contains("     6 |   - service: DBB\n"), "{}", told.err);
    assert!(told.err.contains("[LINK_TARGET_MISSING]") && told.err.contains("= hint: "), "{}", told.err);
    assert!(told.err.contains(&format!("{bad}:10:15: error: ")), "{}", told.err);
    assert!(!told.err.contains(CANARY), "{}", told.err);
    let checked = run(&["validate", "examples/wordpress.pmx", &bad]);
    check(&checked, 1);
    assert!(checked.out.starts_with("examples/wordpress.pmx: valid, 0 errors"), "{}", checked.out);
    assert!(checked.out.contains(&format!("{bad}: refused, 2 errors")), "{}", checked.out);
    assert!(!checked.err.contains(CANARY), "{}", checked.err);
    let json = run(&["validate", "-o", "json", &bad]);
    let answer: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(answer["diagnostics"][0]["severity"], "SEVERITY_ERROR");
    let json = run(&["validate", "-o", "json", "examples/wordpress.pmx"]);
    assert!(json.out.contains("DB_PASSWORD") && !json.out.contains("pass@word01"), "{}", json.out);
}

#[test]
fn what_goes_with_a_template_is_taken() {
    let over = file("over.yaml", "images:\n- name: WP\n  deployment: {count: 2}\n");
    let translated = run(&["translate", "--override", &over, "examples/wordpress.pmx"]);
    check(&translated, 0);
    assert!(translated.out.contains("replicas: 2"), "{}", translated.out);
    let wrong = file("wrong.yaml", "images:\n- name: WX\n  deployment: {count: 2}\n");
    let refused = run(&["translate", "--override", &wrong, "examples/wordpress.pmx"]);
    check(&refused, 1);
    assert!(refused.err.contains(&format!("{wrong}:2:9: error: ")), "{}", refused.err);
    let odd = file("odd.yaml", "images:\n- name: WP\n  deployment: {count: many}\n");
    check(&run(&["translate", "--override", &odd, "examples/wordpress.pmx"]), 1);

    let template = file(
        "link.pmx",
        "name: x\nimages:\n- name: A\n  source: a:1\n  links: [{service: B}]\n- name: B\n  source: own/b:1\n",
    );
    let config = file("config.json", r#"{"config": {"ExposedPorts": {"4711/tcp": {}}}}"#);
    let folder = PathBuf::from(&config).parent().expect("a folder").join("configs");
    fs::create_dir_all(folder.join("own")).expect("a folder");
    fs::copy(&config, folder.join("own/b:1.json")).expect("a file");
    let all = file("all.json", &format!("{{\"own/b:1\": {}}}", fs::read_to_string(&config).expect("a file")));
    for given in [format!("own/b:1={config}"), folder.to_str().expect("a path").to_owned(), all] {
        let translated = run(&["translate", "--image-configs", &given, &template]);
        check(&translated, 0);
        assert!(translated.out.contains("4711"), "{given}: {}{}", translated.out, translated.err);
    }
    check(&run(&["translate", "--volume-size", "5Gi", "examples/wordpress.pmx"]), 1);
    // What has no configuration is another place than was meant.
    let without = folder.parent().expect("a folder").join("without");
    fs::create_dir_all(without.join("own")).expect("a folder");
    fs::write(without.join("own/b:1.txt"), "{}").expect("a file");
    for given in [without.to_str().expect("a path").to_owned(), file("none.json", "{}")] {
        let refused = run(&["validate", "--image-configs", &given, &template]);
        check(&refused, 2);
        assert!(refused.err.contains(&given) && refused.err.contains("`mysql:8.json`"), "{}", refused.err);
    }
}

/// The text of an override is shown as that of a template is.
#[test]
fn what_is_wrong_with_the_text_of_an_override_has_its_place() {
    for (text, code) in [
        ("images:\n- name: WP\n  environment:\n  - variable: A\n    value: [a", "YAML_SYNTAX"),
        ("images:\n- name: WP\n  name: DB\n", "DUPLICATE_KEY"),
        ("images:\n- name: WP\n  command: &a x\n", "ALIAS_FORBIDDEN"),
        ("images:\n- name: WP\n  command: !x a\n", "TAG_FORBIDDEN"),
        ("images:\n- name: WP\n---\nimages: []\n", "MULTIPLE_DOCUMENTS"),
        ("images:\n- name: WP\n  command: \"a\u{1}\"\n", "CONTROL_CHARACTER"),
        ("", "NOT_A_MAPPING"),
        ("images:\n- name: WP\n  volumes: 3\n", "NOT_A_LIST"),
    ] {
        let own = file("placed.yaml", text);
        let alone = run(&["validate", &own]);
        let over = run(&["validate", "--override", &own, "examples/wordpress.pmx"]);
        check(&over, 1);
        let place = |told: &Ended| {
            let line = told.err.lines().find(|line| line.contains(&format!("[{code}]")));
            line.unwrap_or_else(|| panic!("{code}: {}", told.err)).to_owned()
        };
        assert_eq!(place(&over), place(&alone));
        assert!(!over.err.contains("= at override.\n"), "{}", over.err);
    }
}

/// What `crane config` prints of one image needs the image's name.
#[test]
fn the_configuration_of_one_image_is_told_as_what_it_is() {
    let config = r#"{"architecture": "amd64", "config": {"Env": ["A=b"]}, "os": "linux", "rootfs": {"type": "layers"}}"#;
    let inspected = r#"[{"Id": "sha256:1", "Architecture": "amd64", "Config": {"Env": []}, "RootFS": {}}]"#;
    let short = r#"{"config": {"ExposedPorts": {}}}"#;
    for (name, text) in [("one.json", config), ("inspected.json", inspected), ("short.json", short)] {
        let path = file(name, text);
        let told = run(&["validate", "--image-configs", &path, "examples/wordpress.pmx"]);
        check(&told, 2);
        assert!(told.err.contains(&format!("write IMAGE={path}")), "{}", told.err);
        // Done as advised, and for an image that is called like a key of a configuration.
        for image in ["centurylink/mysql:5.5", "config"] {
            check(
                &run(&["validate", "--image-configs", &format!("{image}={path}"), "examples/wordpress.pmx"]),
                0,
            );
        }
    }
    let all = file("all-of.json", &format!("{{\"config\": {config}}}"));
    check(&run(&["validate", "--image-configs", &all, "examples/wordpress.pmx"]), 0);
}

/// What is wrong with a flag or an override is told once, and so is everything that is wrong with each template.
#[test]
fn a_fault_beside_the_templates_hides_none_of_theirs() {
    let bad = file("bad-beside.pmx", &bad());
    let over = file("over-beside.yaml", "images:\n- name: WP\n  deployment: 3\n");
    for (beside, code, times, place) in [
        (["--labels", "a=b c"], "[FIELD_INVALID]", 1, "= at --labels a\n"),
        (["--namespace", "kube-system"], "[NAMESPACE_RESERVED]", 1, ""),
        (["--name", "BAD X"], "[FIELD_INVALID]", 1, "= at --name\n"),
        (["--volume-size", "5Gi"], "[FIELD_INVALID]", 2, "= at --volume-size\n"),
        (["--override", &over], "[NOT_A_MAPPING]", 1, "= at override.images[0].deployment\n"),
    ] {
        let told = run(&[&["validate"], &beside[..], &["examples/wordpress.pmx", &bad]].concat());
        check(&told, 1);
        assert_eq!(told.err.matches(code).count(), times, "{}", told.err);
        assert!(
            told.err.contains(place) && told.err.contains(&format!("{bad}:6:14: error: ")),
            "{}",
            told.err
        );
        assert_eq!(told.out.matches(": refused, ").count(), 2, "{}", told.out);
        let refused = run(&[&["translate"], &beside[..], &[&bad]].concat());
        check(&refused, 1);
        assert_eq!(refused.err.matches(code).count(), times, "{}", refused.err);
        assert!(
            refused.err.contains(&format!("{bad}:6:14: error: ")) && refused.out.is_empty(),
            "{}",
            refused.err
        );
        let json = run(&[&["validate", "-o", "json"], &beside[..], &["examples/wordpress.pmx"]].concat());
        check(&json, 1);
        let answer: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
        assert!(answer.get("valid").is_none(), "{}", json.out);
        // Whoever reads one of the two alone finds what refuses the file.
        let found = answer["diagnostics"].as_array().expect("diagnostics").iter();
        let errors = found.filter(|one| one["severity"] == "SEVERITY_ERROR").count();
        assert_eq!(errors, times, "{}", json.out);
        assert!(json.out.contains(code.trim_matches(['[', ']'])), "{}", json.out);
        assert!(
            !format!("{}{}{}", told.out, refused.err, refused.out).contains("refused, 0 errors"),
            "{}",
            told.out
        );
    }
    // An adapter that is called gets no override that could not be read whole.
    let binary = Binary::start_with(&["--sandbox"]);
    let server = format!("http://{}", binary.address);
    for command in ["plan", "deploy"] {
        let refused = run(&[command, "--override", &over, "--server", &server, &bad]);
        check(&refused, 1);
        assert!(
            refused.err.contains("[NOT_A_MAPPING]") && refused.err.contains("[LINK_TARGET_MISSING]"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn exit_codes_are_those_that_are_documented() {
    check(&run(&["translate"]), 2);
    check(&run(&["translate", "no/such/file"]), 2);
    check(&run(&["get", "wp", "--view", "half"]), 2);
    let help = run(&["deploy", "--help"]);
    check(&help, 0);
    let document = fs::read_to_string("docs/commands.md").expect("a document");
    let codes = document.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let codes: Vec<&str> = codes.map(|(code, _)| code).filter(|code| code.parse::<u8>().is_ok()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "130"]);
    let told: String = help.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = told.split("Exit codes: ").nth(1).expect("exit codes");
    let told: Vec<&str> = told.split("; ").filter_map(|part| part.split(' ').next()).collect();
    assert_eq!(told, codes);
    // Without a command, usage is what it was.
    check(&run(&["--no-such-flag"]), 64);
    check(&run(&["serve", "--no-such-flag"]), 64);
    // A word is meant as a command.
    let wrong = run(&["deply", "a.pmx"]);
    check(&wrong, 2);
    assert!(wrong.err.contains("'deploy'"), "{}", wrong.err);
    check(&run(&["help", "no-such-command"]), 2);
    check(&run(&["-o", "json", "get", "blog"]), 2);
    // Settings of the server are no concern of the commands.
    let mut odd = program(&["translate", "examples/wordpress.pmx"]);
    check(&ended(odd.env("PANAMAX_LEASE", "never").output().expect("the binary starts")), 0);
}

#[test]
fn who_is_not_there_is_told_as_such() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let told = run(&["list", "--server", &address]);
    check(&told, 3);
    assert!(told.err.contains(&address) && told.err.contains("PANAMAX_SERVER"), "{}", told.err);
    check(&run(&["list", "--server", "unix:/no/such/socket"]), 3);
    check(&run(&["list", "--server", "localhost:50051"]), 2);
    let secret = run(&["list", "--server", &format!("http://user:{CANARY}@127.0.0.1:1")]);
    check(&secret, 2);
    assert!(!secret.err.contains(CANARY) && secret.err.contains("--token-file"), "{}", secret.err);
    let token = file("token", CANARY);
    let refused = run(&["list", "--server", "http://192.0.2.1:1", "--token-file", &token]);
    check(&refused, 2);
    assert!(!refused.err.contains(CANARY) && refused.err.contains("https"), "{}", refused.err);
}

#[test]
fn an_application_lives_through_all_commands() {
    let binary = Binary::start_with(&["--sandbox"]);
    let server = format!("http://{}", binary.address);
    let call = |arguments: &[&str]| run(&[arguments, &["--server", &server]].concat());
    let plan = call(&["plan", "--name", "wp", "examples/wordpress.pmx"]);
    check(&plan, 0);
    assert!(plan.out.contains("create") && plan.out.contains("--plan-id"), "{}", plan.out);
    let deployed = call(&["deploy", "--name", "wp", "examples/wordpress.pmx"]);
    check(&deployed, 0);
    assert!(deployed.out.contains("created") && deployed.out.contains("ACTIVE"), "{}", deployed.out);
    assert!(!deployed.out.contains('\u{1b}'), "{}", deployed.out);
    for line in [
        &["deploy", "--name", "wp", "--labels", "a=b", "examples/wordpress.pmx"][..],
        &["scale", "wp", "WP=3"],
        &["rollback", "wp", "--revision", "1"],
        &["teardown", "wp"],
    ] {
        let checked = call(&[line, &["--validate-only"]].concat());
        check(&checked, 0);
        let verb = checked.out.lines().next().unwrap_or_default();
        assert!(verb.contains("checked only") || verb.contains("would"), "{line:?}: {}", checked.out);
    }
    let scaled = call(&["scale", "wp", "WP=3", "-o", "json"]);
    check(&scaled, 0);
    let answer: serde_json::Value = serde_json::from_str(&scaled.out).expect("one answer");
    assert_eq!(answer["deployment"]["state"], "DEPLOYMENT_STATE_ACTIVE", "{}", scaled.out);
    let unknown = call(&["scale", "wp", "WPP=3"]);
    check(&unknown, 1);
    assert!(
        unknown.err.contains(", but WP, DB; did you mean `WP`? [COMPONENT_NOT_FOUND]"),
        "{}",
        unknown.err
    );
    let got = call(&["get", "wp", "--view", "full"]);
    check(&got, 0);
    for head in ["3/3", "POD ", "OBJECT ", "EVENT ", "TEMPLATE "] {
        assert!(got.out.contains(head), "{head}: {}", got.out);
    }
    for selector in ["app.kubernetes.io/instance", "!gone", "app.kubernetes.io/instance notin (shop)"] {
        let listed = call(&["list", "-l", selector]);
        check(&listed, 0);
        assert!(listed.out.contains("ACTIVE"), "{selector}: {}", listed.out);
    }
    assert!(!call(&["list", "-l", "app.kubernetes.io/instance!=wp"]).out.contains("ACTIVE"));
    check(&call(&["watch", "wp", "--until", "ready", "--timeout", "1m"]), 0);
    let watched = call(&["watch", "--timeout", "1s"]);
    check(&watched, 0);
    assert!(watched.out.contains("wp  ACTIVE"), "{}", watched.out);
    let revisions = call(&["revisions", "wp", "-o", "yaml"]);
    check(&revisions, 0);
    assert!(revisions.out.contains("number: 1"), "{}", revisions.out);
    check(&call(&["deploy", "--name", "wp", "--labels", "a=b", "examples/wordpress.pmx"]), 0);
    check(&call(&["rollback", "wp", "--revision", "1"]), 0);
    let bad = file("bad-deploy.pmx", &bad());
    let refused = call(&["deploy", &bad]);
    check(&refused, 1);
    assert!(
        refused.err.contains(&format!("{bad}:6:14: error: ")) && !refused.err.contains(CANARY),
        "{}",
        refused.err
    );
    check(&call(&["teardown", "wp"]), 0);
    let missing = call(&["get", "wp"]);
    check(&missing, 1);
    assert!(missing.err.contains("[DEPLOYMENT_NOT_FOUND]"), "{}", missing.err);
    check(&call(&["teardown", "wp", "--allow-missing"]), 0);
}

/// What waits for an operation whose reader has left goes on, and ends as the operation does.
#[test]
fn a_reader_that_leaves_makes_no_success() {
    let binary = Binary::start_with(&["--sandbox"]);
    let server = format!("http://{}", binary.address);
    let bad = file("left.pmx", &bad());
    for arguments in [vec!["validate", &bad], vec!["deploy", "--server", &server, &bad]] {
        let mut command = program(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{arguments:?}");
    }
}

/// Where nothing changes, nothing is written that would show that nobody reads any more.
#[test]
fn a_watch_that_nobody_reads_any_more_ends() {
    let binary = Binary::start_with(&["--sandbox"]);
    let server = format!("http://{}", binary.address);
    check(&run(&["deploy", "--name", "wp", "--server", &server, "examples/wordpress.pmx"]), 0);
    let arguments = ["watch", "wp", "--heartbeat-interval", "1s", "--timeout", "1m", "--server", &server];
    let child = program(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the binary starts");
    let began = std::time::Instant::now();
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(child.wait().expect("it ends").success() && line.contains("wp  ACTIVE"), "{line}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn every_file_that_cannot_be_used_is_told() {
    let all = run(&["translate", "--override", "nope.pmx", "--image-configs", "nope2", "nope3.pmx"]);
    check(&all, 2);
    let files = ["nope.pmx", "nope2", "nope3.pmx"];
    assert!(files.iter().all(|file| all.err.contains(&format!("{file} cannot be read"))), "{}", all.err);
    let some = run(&["validate", "--override", "nope.pmx", "nope3.pmx", "examples/wordpress.pmx"]);
    check(&some, 2);
    assert!(some.err.contains("nope.pmx cannot") && some.err.contains("nope3.pmx cannot"), "{}", some.err);
    let way = ["--server", "https://localhost:1", "--token-file", "nope", "--ca-file", "nope2"];
    let way = run(&[&["deploy", "nope.pmx"][..], &way].concat());
    check(&way, 2);
    for part in ["nope.pmx cannot be read", "--ca-file nope2 cannot be read", "nope cannot be read"] {
        assert!(way.err.contains(part), "{part}: {}", way.err);
    }
    for wrong in ["", "IMAGE=", "=FILE"] {
        let ended = run(&["translate", "--image-configs", wrong, "examples/wordpress.pmx"]);
        check(&ended, 2);
        assert!(ended.err.contains("--image-configs"), "{wrong}: {}", ended.err);
    }
    // What a terminal would act on is not written to it.
    let ended = run(&["validate", "no\u{1b}[31m.pmx"]);
    check(&ended, 2);
    assert!(ended.err.contains("no\u{fffd}[31m.pmx cannot be read"), "{:?}", ended.err);
}

#[test]
fn a_name_that_cannot_be_is_told_with_its_flag() {
    for command in ["validate", "translate"] {
        let ended = run(&[command, "--name", "BAD X", "examples/wordpress.pmx"]);
        check(&ended, 1);
        assert!(ended.err.contains("= at --name\n"), "{command}: {}", ended.err);
    }
}

#[test]
fn what_cannot_be_written_is_no_success_and_hides_no_failure() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    for arguments in [&["--help"][..], &["--version"], &["deploy", "--help"], &["man"]] {
        let output = program(arguments).stdout(full()).output().expect("the binary starts");
        assert_eq!(ended(output).code, Some(1), "{arguments:?}");
    }
    let output = program(&["validate", "nope.pmx"]).stderr(full()).output().expect("the binary starts");
    assert_eq!(ended(output).code, Some(2));
    let output = program(&["nope"]).stderr(full()).output().expect("the binary starts");
    assert_eq!(ended(output).code, Some(2));
}

/// What bash completes at the end of a line.
fn completed(script: &str, line: &str) -> Vec<String> {
    let mut words: Vec<&str> = line.split(' ').collect();
    let name = "panamax-kubernetes-adapter";
    words.insert(0, name);
    // As bash itself calls a function of `complete -F`.
    let asked = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p "$1"); function=${function#*-F }; function=${function%% *}
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash").args(["--norc", "-c", asked, "bash", script]).args(words).output();
    let ended = ended(output.expect("bash starts"));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{line}");
    ended.out.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_behind_every_command() {
    let script = file("completion.bash", &run(&["completion", "bash"]).out);
    assert_eq!(completed(&script, "depl"), ["deploy"]);
    assert_eq!(completed(&script, "deploy --prof"), ["--profile"]);
    assert_eq!(completed(&script, "deploy --profile "), ["classic", "modern"]);
    assert!(completed(&script, "serve --auth ").contains(&"token-review".to_owned()));
    for command in [
        "serve",
        "validate",
        "translate",
        "deploy",
        "plan",
        "get",
        "list",
        "watch",
        "scale",
        "revisions",
        "rollback",
        "teardown",
        "completion",
        "man",
    ] {
        assert!(completed(&script, &format!("{command} --hel")).contains(&"--help".to_owned()), "{command}");
    }
}

/// What fish completes, where there is one.
#[test]
fn fish_completes_behind_every_command() {
    if Command::new("fish").arg("--version").output().is_err() {
        return;
    }
    let script = file("completion.fish", &run(&["completion", "fish"]).out);
    let completed = |line: &str| {
        let asked = "source $argv[1]; complete -C \"panamax-kubernetes-adapter $argv[2]\"";
        let output = Command::new("fish").args(["--no-config", "-c", asked, &script, line]).output();
        ended(output.expect("fish starts")).out
    };
    assert!(completed("deploy --prof").starts_with("--profile\t"), "{}", completed("deploy --prof"));
    assert_eq!(completed("deploy --profile "), "classic\nmodern\n");
    assert!(completed("serve --auth ").contains("token-review\t"));
}

#[test]
fn shells_and_the_manual_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        check(&script, 0);
        assert!(script.out.contains("translate") && script.out.contains("wait-timeout"), "{shell}");
    }
    let page = run(&["man"]);
    check(&page, 0);
    assert!(
        page.out.contains(".TH") && page.out.contains("teardown") && page.out.contains("listen"),
        "{}",
        page.out
    );
    let page = run(&["man", "deploy"]);
    check(&page, 0);
    assert!(page.out.contains("image\\-configs"), "{}", page.out);
    let about = "Deploy a template, or update what was deployed from it, and wait until it is ready";
    let version = format!("\"panamax-kubernetes-adapter {}\"", env!("CARGO_PKG_VERSION"));
    let title = page.out.lines().find(|line| line.starts_with(".TH ")).expect("a title");
    assert!(page.out.contains(about) && title.contains(&version), "{title}");
    for shell in ["fish", "zsh", "powershell", "elvish"] {
        assert!(run(&["completion", shell]).out.contains("Show one deployment"), "{shell}");
    }
    check(&run(&["man", "nothing"]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_wait_and_not_the_operation() {
    // Its pod never starts: the sandbox has no storage class of this name.
    let binary = tokio::task::spawn_blocking(|| Binary::start_with(&["--sandbox"])).await.expect("it starts");
    let server = format!("http://{}", binary.address);
    let claim = "name: c\nimages:\n- name: A\n  source: a:1\n  volumes: [{container_path: /data}]\n";
    let template = file("waits.pmx", claim);
    let arguments =
        ["deploy", "--profile", "modern", "--storage-class", "none", "--server", &server, &template];
    let child =
        program(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let call = |arguments: &[&str]| run(&[arguments, &["--server", &server]].concat());
    let mut seen = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    seen.read_line(&mut line).expect("a line");
    // Plain lines of what is seen.
    assert!(line.contains(" s  c  DEPLOYING ("), "{line}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let told = ended(child.wait_with_output().expect("it ends"));
    check(&told, 130);
    assert!(told.err.contains("the operation goes on") && told.err.contains("watch c"), "{}", told.err);
    check(&call(&["get", "c"]), 0);
    let late = call(&[
        "deploy",
        "--profile",
        "modern",
        "--storage-class",
        "none",
        "--wait-timeout",
        "1s",
        &template,
    ]);
    check(&late, 4);
    assert!(
        late.err.contains("[WAIT_TIMEOUT]") && late.err.contains(&format!("watch c --server {server}`")),
        "{}",
        late.err
    );
    check(&call(&["teardown", "c"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_this_machine_is_an_address() {
    let binary = tokio::task::spawn_blocking(|| Binary::start_with(&["--sandbox"])).await.expect("it starts");
    let path = file("socket", "");
    fs::remove_file(&path).expect("no file");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let address = binary.address;
    let relay = async {
        let (mut near, _) = listener.accept().await.expect("a caller");
        let mut far = tokio::net::TcpStream::connect(address).await.expect("the adapter");
        // The caller ends it.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        std::future::pending::<()>().await;
    };
    let server = format!("unix:{path}");
    let call = tokio::task::spawn_blocking(move || run(&["list", "--server", &server]));
    tokio::select! {
        listed = call => check(&listed.expect("it ends"), 0),
        () = relay => {}
    }
}
