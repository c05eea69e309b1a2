//! The packages as others take them: what is in them, and what comes with them.

use std::collections::BTreeSet;
use std::process::Command;

use crate::tidy::source::files;

const CLIENT: &str = "panamax-kubernetes-adapter-client";

/// What cargo prints in the repository, without the network.
fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).arg("--offline");
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// Every library that comes with a package, with its features: `hyper v1.12.0 client,default`.
fn libraries(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p} {f}"]);
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// What serves, or is used by nobody but the server: packages, and features of packages.
fn of_a_server(libraries: &BTreeSet<String>) -> Vec<&String> {
    let is_of_a_server = |line: &&String| {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let features: Vec<&str> = words.next_back().unwrap_or_default().split(',').collect();
        [
            "axum",
            "clap",
            "kube",
            "k8s-openapi",
            "panamax-kubernetes-adapter",
            "tonic-reflection",
            "tower-http",
        ]
        .contains(&name)
            || (name == "hyper" && features.contains(&"server"))
            || (name == "hyper-util" && features.iter().any(|feature| feature.starts_with("server")))
            || (name == "tonic" && features.iter().any(|feature| ["router", "server"].contains(feature)))
    };
    libraries.iter().filter(is_of_a_server).collect()
}

#[test]
fn the_client_comes_without_a_server() {
    let client = libraries(CLIENT);
    assert_eq!(of_a_server(&client), [""; 0]);
    assert!(client.iter().any(|line| line.starts_with("hyper v")), "{client:?}");
    assert!(client.len() <= 70, "{} packages come with the client", client.len());
    // The same question of the server finds all of them.
    let server = libraries("panamax-kubernetes-adapter");
    let found = of_a_server(&server);
    for name in ["axum", "clap", "hyper", "hyper-util", "kube", "tonic", "tower-http"] {
        assert!(found.iter().any(|line| line.starts_with(&format!("{name} v"))), "{name}: {found:?}");
    }
}

#[test]
fn the_contract_is_in_the_tarballs() {
    let contract = files("proto/panamax");
    assert!(contract.len() >= 6, "{contract:?}");
    for package in [CLIENT, "panamax-kubernetes-adapter"] {
        let packed = cargo(&["package", "--list", "--allow-dirty", "-p", package]);
        let packed: BTreeSet<&str> = packed.lines().collect();
        for file in
            contract.iter().map(String::as_str).chain(["LICENSE", "README.md", "build.rs", "src/lib.rs"])
        {
            assert!(packed.contains(file), "{package} lacks {file}");
        }
        let is_foreign =
            |path: &&&str| ["tests/", "xtask/", "target/"].iter().any(|folder| path.starts_with(folder));
        assert_eq!(packed.iter().find(is_foreign), None, "{package}");
    }
}
