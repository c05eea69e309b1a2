//! The walk of the README on one real node, and the examples that it names: every container finds those it is linked to.

use std::fs;

use panamax_kubernetes_adapter::proto::{DeployOptions, Exposure, Profile};

use super::place::Place;
use crate::support::printed;

fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/{name}.pmx", env!("CARGO_MANIFEST_DIR"))).expect("an example")
}

/// The walk with what is on screen at its end, line by line; whoever reads it has one namespace and one node.
#[tokio::test(flavor = "multi_thread")]
async fn the_walk_of_the_readme_ends_on_one_node() {
    let Some(place) = Place::new("walk").await else { return };
    let readme =
        fs::read_to_string(format!("{}/README.md", env!("CARGO_MANIFEST_DIR"))).expect("it is there");
    let path = printed::path(&place.node.plane, &place.namespace);
    let lines = printed::of_the_binary(&readme);
    assert!(lines.len() >= 6, "{lines:?}");
    if !printed::has_jq() {
        return;
    }
    for line in lines {
        let (path, address) = (path.clone(), place.address());
        let run = tokio::task::spawn_blocking(move || (printed::bash(&line, &path, &address), line));
        let (output, line) = run.await.expect("it runs");
        let answer = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{answer}\n{errors}{}", place.namespace.dump());
        assert!(line.contains(" > ") || !answer.trim().is_empty(), "{line} answers nothing");
        // Manifests hold values, because they are for applying; nothing else does.
        assert!(!format!("{answer}{errors}").contains("change-me"), "{line} shows a value");
    }
}

fn modern() -> DeployOptions {
    DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() }
}

#[tokio::test]
async fn the_blog_runs_in_both_profiles() {
    for options in [DeployOptions::default(), modern()] {
        let Some(place) = Place::new("blog").await else { return };
        place.deploy(&example("blog"), options.clone()).await;
        let web = place.container("wp").await;
        let db = place.container("db").await.told().await.host;
        assert_eq!(web.reaches("http://db:3306/").await.host, db);
        if options_is_classic(&options) {
            assert_eq!(place.node.reaches("10.200.0.1:8080").await.host, web.told().await.host);
        }
    }
}

fn options_is_classic(options: &DeployOptions) -> bool {
    options.profile() != Profile::Modern
}

#[tokio::test]
async fn the_five_components_of_the_cloud_find_each_other() {
    let Some(place) = Place::new("cloud").await else { return };
    let options = DeployOptions { exposure: Exposure::NodePort.into(), ..modern() };
    place.deploy(&example("cloud"), options).await;
    let host = async |component: &str| place.container(component).await.told().await.host;
    let (postgres, cache) = (host("postgres").await, host("cache").await);
    for linked in ["cloud", "cron"] {
        let linked = place.container(linked).await;
        assert_eq!(linked.reaches("http://db:5432/").await.host, postgres);
        assert_eq!(linked.reaches("http://cache:6379/").await.host, cache);
    }
    assert_eq!(place.container("admin").await.reaches("http://db:5432/").await.host, postgres);
    // The jobs work on the files of the cloud.
    place.container("cloud").await.write("/var/www/html/told", "here").await;
    assert_eq!(place.container("cron").await.file("/var/www/html/told").await.as_deref(), Some("here"));
    for (component, port) in [("cloud", 8080), ("admin", 8081)] {
        let ports = place.service(component).await.ports.expect("ports");
        let published = ports.iter().find(|one| one.port == port).and_then(|one| one.node_port);
        let address = format!("10.200.0.1:{}", published.expect("a port of the node"));
        assert_eq!(place.node.reaches(&address).await.host, host(component).await);
    }
}
