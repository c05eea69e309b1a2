//! What a release consists of, and on what terms it is made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use xtask::bill::{missing, packages};
use xtask::compile::{TARGETS, built, c_flags, lacking, rust_flags};
use xtask::dist::{SUMS, commands, names};
use xtask::sources::{Sources, git, time};

#[test]
fn the_page_lists_every_file_of_a_release() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/releasing.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| File |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let told: BTreeSet<String> =
        rows.filter_map(|row| row.split('`').nth(1)).map(|name| name.replace("TARGET", "T")).collect();
    let made = |version: &str| -> BTreeSet<String> {
        let mut names: BTreeSet<String> = names(version, &TARGETS).into_iter().collect();
        for target in TARGETS {
            names = names.into_iter().map(|name| name.replace(target.triple, "T")).collect();
        }
        names
    };
    assert_eq!(told, made("VERSION"));
    assert!(told.contains(SUMS) && told.len() == 6, "{told:?}");
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let help = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")).arg("--help").output().unwrap();
    let listed = commands(&String::from_utf8(help.stdout).unwrap());
    for command in ["serve", "validate", "translate", "deploy", "teardown", "completion", "man"] {
        assert!(listed.iter().any(|listed| listed == command), "{listed:?}");
    }
    assert!(!listed.iter().any(|command| command == "help"), "{listed:?}");
    for command in &listed {
        let page = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
        let page = { page }.args(["man", command]).output().unwrap();
        assert!(page.status.success() && !page.stdout.is_empty(), "{command}");
    }
}

/// A repository with one commit.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("panamax-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(
            folder.join("Cargo.toml"),
            "[package]\nname = \"panamax-kubernetes-adapter\"\nversion = \"4.5.6\"\n[workspace]\n",
        )
        .unwrap();
        fs::write(
            folder.join("Cargo.lock"),
            "version = 4\n\n[[package]]\nname = \"panamax-kubernetes-adapter\"\nversion = \"4.5.6\"\n",
        )
        .unwrap();
        fs::write(folder.join("src/main.rs"), "fn main() {}\n").unwrap();
        let repository = Self(folder);
        repository.git(&["init", "--quiet"]);
        repository.git(&["add", "."]);
        repository.git(&[
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@example",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "-m",
            "All of it",
        ]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.0, arguments).unwrap()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        // What is left is in the folder for what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_release_is_made_of_what_is_committed() {
    let repository = Repository::new("sources");
    let sources = Sources::at(&repository.0, false).unwrap();
    assert_eq!(sources.version, "4.5.6");
    assert_eq!(sources.commit, repository.git(&["rev-parse", "HEAD"]));
    for change in ["src/main.rs", "new"] {
        fs::write(repository.0.join(change), "fn main() { }\n").unwrap();
        let refused = Sources::at(&repository.0, false).unwrap_err().to_string();
        assert!(refused.contains(change) && refused.contains("--allow-dirty"), "{refused}");
    }
    assert_eq!(Sources::at(&repository.0, true).unwrap().commit, sources.commit);
}

#[test]
fn the_time_is_told_or_that_of_the_commit() {
    assert_eq!(time(None, "17").unwrap(), 17);
    assert_eq!(time(Some("4"), "17").unwrap(), 4);
    let refused = time(Some("yesterday"), "17").unwrap_err().to_string();
    assert!(refused.contains("SOURCE_DATE_EPOCH"), "{refused}");
}

#[test]
fn a_machine_that_nothing_can_be_built_for_is_told() {
    let [_, arm] = TARGETS;
    assert_eq!(lacking(&arm, true, true), None);
    let lacks = |library, compiler| lacking(&arm, library, compiler).unwrap();
    let (library, compiler) = ("rustup target add aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc");
    assert!(lacks(false, true).contains(library) && !lacks(false, true).contains(compiler));
    assert!(lacks(true, false).contains(compiler) && !lacks(true, false).contains(library));
    assert!(lacks(false, false).contains(compiler) && lacks(false, false).contains(library));
}

#[test]
fn no_folder_of_this_machine_is_built_in() {
    let folders = [(PathBuf::from("/home/a/.cargo"), "/cargo"), (PathBuf::from("/home/a"), "/source")];
    let flags = rust_flags(&folders).into_string().unwrap();
    // The last one that fits counts, so the narrower comes behind the wider.
    assert_eq!(
        flags.split('\u{1f}').collect::<Vec<_>>(),
        [
            "-Ctarget-feature=+crt-static",
            "--remap-path-prefix=/home/a=/source",
            "--remap-path-prefix=/home/a/.cargo=/cargo",
        ]
    );
    let flags = c_flags(&folders).into_string().unwrap();
    assert_eq!(flags.trim(), "-ffile-prefix-map=/home/a=/source -ffile-prefix-map=/home/a/.cargo=/cargo");
}

#[test]
fn what_was_built_is_read_from_what_cargo_says() {
    let program = json!({
        "reason": "compiler-artifact",
        "target": { "name": "panamax-kubernetes-adapter" },
        "executable": "/t/panamax-kubernetes-adapter",
    });
    let generated = json!({
        "reason": "build-script-executed",
        "package_id": "path+file:///s/client#panamax-kubernetes-adapter-client@0.1.0",
        "out_dir": "/t/out",
    });
    let other = json!({
        "reason": "build-script-executed",
        "package_id": "path+file:///s#panamax-kubernetes-adapter@0.1.0",
        "out_dir": "/t/wrong",
    });
    let built = |messages: &[&serde_json::Value]| {
        let messages: Vec<_> = messages.iter().map(|message| (*message).clone()).collect();
        built(&messages)
    };
    let both = built(&[&other, &generated, &program]).unwrap();
    assert_eq!(both.program, Path::new("/t/panamax-kubernetes-adapter"));
    assert_eq!(both.descriptors, Path::new("/t/out/descriptor.bin"));
    assert!(built(&[&other, &program]).is_err() && built(&[&generated]).is_err());
}

#[test]
fn a_bill_that_lacks_a_library_is_refused() {
    let tree = "panamax-kubernetes-adapter v0.1.0 (/source)\nbytes v1.12.2\nasync-trait v0.1.92 (proc-macro)\n\
                bytes v1.12.2 (*)\n\nsyn v2.0.119\n";
    let listed = packages(tree);
    assert_eq!(
        listed.iter().map(String::as_str).collect::<Vec<_>>(),
        ["async-trait 0.1.92", "bytes 1.12.2", "panamax-kubernetes-adapter 0.1.0", "syn 2.0.119"]
    );
    let component = |name: &str, version: &str| json!({ "name": name, "version": version });
    let bill = json!({
        "metadata": { "component": component("panamax-kubernetes-adapter", "0.1.0") },
        "components": [component("bytes", "1.12.2"), component("syn", "1.0.0"), component("more", "1.0.0")],
    });
    assert_eq!(missing(&bill, &listed), ["async-trait 0.1.92", "syn 2.0.119"]);
}
