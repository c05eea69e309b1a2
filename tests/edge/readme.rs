//! The documents keep their word: calls run as printed, and tables hold what the program says.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use panamax_kubernetes_adapter::proto;
use prost::Message;

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};
use crate::support::document::{blocks, commands};
use crate::support::namespace::namespace;
use crate::support::printed;

/// The address in the calls, and the only thing in its lines that a test may replace.
const ADDRESS: &str = "localhost:50051";

/// A text file of the repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first cells of a table's rows, found by the table's header.
fn rows<'a>(text: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows: Vec<Vec<&str>> = lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert!(!rows.is_empty(), "no table {header}");
    rows
}

/// Whether an answer has a port: uids and times may have the same figures within.
fn has_port(answer: &str, port: &str) -> bool {
    let is_of_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-');
    answer.split(|letter| !is_of_word(letter)).any(|word| word == port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_run_as_printed() {
    let namespace = namespace("edge-readme").await;
    let binary = Binary::start(&control_plane().kubeconfig(User::Adapter), &["--namespace", &namespace]);
    let (path, address) = (printed::path(control_plane(), &namespace), binary.address.to_string());
    let document = read("docs/calls.md").replace(ADDRESS, &address);
    // A function that one block defines is there for those that follow.
    let mut functions = String::new();
    let mut calls = 0;
    for block in blocks(&document, "sh") {
        for command in commands(&block) {
            if command.contains("() {") {
                functions.push_str(&command);
            } else if command.starts_with("grpcurl ") {
                calls += 1;
                if command.contains("$(configs ") && !printed::has_jq() {
                    continue;
                }
                let output = printed::bash(&format!("{functions}{command}"), &path, &address);
                let answer = String::from_utf8_lossy(&output.stdout);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{command}{errors}{}", namespace.dump());
                assert!(!answer.trim().is_empty(), "{command} answers nothing");
                assert_eq!(command.contains("$(configs "), has_port(&answer, "4711"), "{command}{answer}");
                // Manifests hold values, because they are for applying; nothing else does.
                let may_show = command.contains("TranslateTemplate");
                assert!(may_show || !answer.contains("pass@word01"), "{command} shows a value");
            }
        }
    }
    assert!(calls >= 15, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_an_agent_run_as_printed() {
    let binary = Binary::start_with(&["--sandbox", "--rest-listen", "127.0.0.1:0"]);
    let (path, rest) =
        (std::env::var_os("PATH").expect("a PATH"), binary.rest.expect("the façade").to_string());
    let document = read("docs/rest.md");
    let flags = "panamax-kubernetes-adapter --sandbox --rest-listen 127.0.0.1:8001 &\n";
    assert!(blocks(&document, "sh").contains(&flags.to_owned()), "how it is started");
    let mut script = String::new();
    let mut calls = 0;
    let commands = blocks(&document, "sh").iter().flat_map(|block| commands(block)).collect::<Vec<_>>();
    for command in commands.iter().filter(|command| command.contains("curl ")) {
        let command = command.replace("localhost:8001", &rest);
        // A variable that one line sets is there for those that follow.
        let output = printed::bash(&format!("{script}{command}"), &path, &rest);
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}{}", String::from_utf8_lossy(&output.stderr));
        let sets = command.starts_with("ID=");
        assert_eq!(answer.trim().is_empty(), sets, "{command} answers {answer}");
        let wanted = if command.contains("DELETE") { "204" } else { "" };
        assert!(answer.contains(wanted) && !answer.contains("\"message\""), "{command}: {answer}");
        if sets {
            script.push_str(&command);
        }
        calls += 1;
    }
    assert_eq!(calls, 6);
}

/// Sources in the styles of YAML: flow and block, with quotes and without, with a comment behind them.
const SPELLED: &str = "
images:
- {name: A, source: \"redis:7\", links: [{service: B}]}
- name: B
  'source': 'library/mysql:8'
- source:   shop/store:1.0   # the store
  name: C
- name: D
  \"source\":
    shop/front:2
";

/// The lines of the README that tell what the images of a template say of themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_of_images_are_collected_as_printed() {
    let namespace = namespace("edge-configs").await;
    let path = printed::path(control_plane(), &namespace);
    let lines = printed::of_the_binary(&read("README.md"));
    let first = lines.iter().position(|line| line.contains("crane config ")).expect("the line that collects");
    let [collects, validates, ..] = &lines[first..] else { panic!("no line uses what is collected") };
    let run = |line: &str| {
        let output = printed::bash(line, &path, "127.0.0.1:1");
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&said));
        String::from_utf8_lossy(&said).into_owned()
    };
    assert!(read("README.md").split_whitespace().count() <= 900);
    if !printed::has_jq() {
        return;
    }
    run(collects);
    let said = run(validates);
    assert!(said.contains("4711"), "{said}");
    // However a template spells its sources.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("collected-{}", std::process::id()));
    let template = folder.join("spelled.pmx");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(&template, SPELLED).expect("a template");
    let place = |line: &str| {
        let (template, configs) =
            (template.display().to_string(), folder.join("configs").display().to_string());
        line.replace("examples/blog.pmx", &template).replace("target/configs", &configs)
    };
    run(&place(collects));
    for source in ["redis:7", "library/mysql:8", "shop/store:1.0", "shop/front:2"] {
        let file = folder.join(format!("configs/{source}.json"));
        assert!(file.exists(), "{} is collected", file.display());
    }
    let said = run(&place(validates));
    assert_eq!(said.matches("4711").count(), 1, "{said}");
    fs::remove_dir_all(&folder).expect("the folder goes");
}

/// The long tests take too long to be run here; their names and variables are looked for.
#[test]
fn the_long_tests_are_there() {
    let document = read("CONTRIBUTING.md");
    let block = blocks(&document, "sh").concat();
    let command = block.lines().find(|line| line.contains("KILL_ALL=1")).expect("the long command");
    let filters: Vec<&str> = command.split(' ').filter(|word| word.contains("::")).collect();
    let files: String =
        filters.iter().map(|name| read(&format!("tests/{}.rs", name.replace("::", "/")))).collect();
    assert_eq!(filters.len(), 2, "{command}");
    let simulation: String =
        ["histories", "schedules", "work"].iter().map(|name| read(&format!("tests/sim/{name}.rs"))).collect();
    let lent = read("tests/cluster/lent.rs");
    assert!(block.contains(" cluster::lent::\n"));
    let image = read("tests/support/image.rs");
    for (files, variables) in [
        (image, &["IMAGE_PROGRAM"][..]),
        (files, &["KILL_ALL", "CHAOS_SECONDS", "CHAOS_SEED"]),
        (lent, &["LENT_ALL", "LENT_SEED"]),
        (simulation, &["SIM_SEEDS", "SIM_SCENARIOS", "SIM_ONLY", "SIM_SEED"]),
    ] {
        for variable in variables {
            assert!(document.contains(variable) && files.contains(&format!("\"{variable}\"")), "{variable}");
        }
    }
}

#[test]
fn every_method_is_called() {
    let document = read("docs/calls.md");
    let calls: String = blocks(&document, "sh").concat();
    let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTOR_SET).expect("a descriptor set");
    let mut methods = 0;
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                assert!(
                    calls.lines().any(|line| line.contains(&format!(" {path}")) && line.contains(ADDRESS)),
                    "no call of {path}"
                );
                methods += 1;
            }
        }
    }
    assert_eq!(methods, 12);
}

#[test]
fn the_settings_are_those_of_the_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")).arg("--help").output();
    let help = String::from_utf8(help.expect("the binary starts").stdout).expect("text");
    let mut printed = BTreeSet::new();
    for section in help.split("\n      --").skip(1) {
        let after = |mark: &str| {
            let rest = section.split_once(mark)?.1;
            Some(rest.split([']', '=']).next().unwrap_or_default().to_owned())
        };
        let flag = section.split([' ', '\n']).next().unwrap_or_default();
        let default = after("\n          [default: ").unwrap_or_default();
        printed.insert((format!("--{flag}"), after("[env: ").expect("a variable"), default));
    }
    let document = read("docs/settings.md");
    let told = rows(&document, "| Flag | Variable |").into_iter().map(|row| match row.as_slice() {
        [flag, variable, default, meaning] if !meaning.is_empty() => {
            ((*flag).to_owned(), (*variable).to_owned(), (*default).to_owned())
        }
        other => panic!("a row of four cells: {other:?}"),
    });
    assert_eq!(told.collect::<BTreeSet<_>>(), printed);
}

#[test]
fn the_errors_are_those_that_are_sent() {
    let document = read("docs/errors.md");
    let told: BTreeSet<String> =
        rows(&document, "| Reason | Code |").into_iter().map(|row| row[0].to_owned()).collect();
    let source = read("src/grpc/errors.rs");
    let sent: BTreeSet<String> = source
        .split("ErrorReason::")
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
        .map(|name| {
            let words = name.char_indices().map(|(index, letter)| {
                let gap = if index > 0 && letter.is_ascii_uppercase() { "_" } else { "" };
                format!("{gap}{}", letter.to_ascii_uppercase())
            });
            words.collect()
        })
        .collect();
    assert_eq!(told, sent);
    for reason in &told {
        let name = format!("ERROR_REASON_{reason}");
        assert!(proto::ErrorReason::from_str_name(&name).is_some(), "{name} is not in the contract");
    }
}

#[test]
fn the_test_command_is_the_one_of_ci() {
    let run = read(".ci/run");
    let last = run.lines().last().expect("a line").to_owned();
    assert_eq!(last, "cargo test");
    assert!(blocks(&read("README.md"), "sh").contains(&format!("{last}\n")), "the README says {last}");
}

#[tokio::test]
async fn the_manifests_are_taken_by_a_real_cluster() {
    let namespace = namespace("edge-manifest").await;
    let rights = ["served", "keeper", "reviews", "namespaces"];
    let rights = rights.map(|name| read(&format!("deploy/{name}/rights.yaml")));
    for text in rights {
        let mut child = control_plane()
            .kubectl(User::Admin)
            .args(["-n", &namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(text.as_bytes()).expect("kubectl reads");
        drop(input);
        let output = child.wait_with_output().expect("kubectl ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.trim().is_empty(), "{errors}");
    }
}

#[test]
fn links_lead_to_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = fs::read_dir(folder).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        format!("docs/{}", name.to_str().expect("a name"))
    });
    let above = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    for document in above.map(str::to_owned).into_iter().chain(pages) {
        let document = document.as_str();
        let text = read(document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") || target.starts_with('#') {
                continue;
            }
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
            let target = target.split('#').next().unwrap_or_default();
            assert!(folder.parent().expect("a folder").join(target).exists(), "{document} links to {target}");
        }
    }
}

#[test]
fn blocks_and_commands_are_cut_where_a_reader_would() {
    let text = "a\n```sh\n# remark\none <<END\n{}\nEND\ntwo\n```\n```yaml\nx: 1\n```\n";
    assert_eq!(blocks(text, "yaml"), ["x: 1\n"]);
    assert_eq!(commands(&blocks(text, "sh")[0]), ["one <<END\n{}\nEND\n", "two\n"]);
    assert_eq!(rows("| A | B |\n|---|---|\n| `x` | y |\n\n| z |", "| A |"), [["x", "y"]]);
}
