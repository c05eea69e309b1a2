//! Links in real containers: their variables, exactly, and that they lead where they say.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto::{DeployOptions, Exposure, HostPorts, Profile};

use super::place::Place;
use crate::support::templates::{WORDPRESS, wordpress_at};

/// How long it may take until every replica has had its turn.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_seeds_sample_runs_as_its_page_says() {
    let Some(place) = Place::new("page").await else { return };
    place.deploy(WORDPRESS, DeployOptions::default()).await;
    let wp = place.container("wp").await;
    let told = wp.told().await;
    let address = place.service("db-1").await.cluster_ip.expect("an address");
    // The five of the page, and two that the kubelet has beyond Docker's.
    let expected = [
        format!("DB_1_PORT=tcp://{address}:3306"),
        format!("DB_1_PORT_3306_TCP=tcp://{address}:3306"),
        format!("DB_1_PORT_3306_TCP_ADDR={address}"),
        "DB_1_PORT_3306_TCP_PORT=3306".to_owned(),
        "DB_1_PORT_3306_TCP_PROTO=tcp".to_owned(),
        format!("DB_1_SERVICE_HOST={address}"),
        "DB_1_SERVICE_PORT=3306".to_owned(),
    ];
    assert_eq!(told.variables("DB_1_"), expected);
    assert_eq!(told.variable("DB_PASSWORD"), Some("pass@word01"));
    assert_eq!(wp.reaches("http://db-1:3306/").await.host, "db-pod");
    let value = |name| told.variable(name).expect("a variable of the page");
    let url = format!("http://{}:{}/", value("DB_1_PORT_3306_TCP_ADDR"), value("DB_1_PORT_3306_TCP_PORT"));
    assert_eq!(wp.reaches(&url).await.host, "db-pod");
    let seen = place.node.reaches("10.200.0.1:8000").await;
    assert_eq!((seen.host.as_str(), seen.port.as_str()), ("wp-pod", "80"));
}

#[tokio::test]
async fn replicas_share_what_comes_to_their_service() {
    let Some(place) = Place::new("balanced").await else { return };
    let options = DeployOptions { host_ports: HostPorts::Drop.into(), ..DeployOptions::default() };
    place.deploy(&wordpress_at(3), options).await;
    let mut names = BTreeSet::new();
    for wp in place.containers("wp").await {
        let spec = wp.pod.spec.as_ref().expect("a specification");
        let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
        assert!(ports.into_iter().all(|port| port.host_port.is_none()), "{spec:#?}");
        names.insert(wp.told().await.host);
    }
    assert_eq!(names.len(), 3, "{names:?}");
    let db = place.container("db").await;
    let mut answered = BTreeSet::new();
    // One of three by chance each time, once kube-proxy has heard of all three.
    let until = Instant::now() + PATIENCE;
    while answered.len() < names.len() && Instant::now() < until {
        answered.insert(db.reaches("http://wp:8000/").await.host);
    }
    assert_eq!(answered, names);
}

#[tokio::test]
async fn declared_variables_are_dockers_whole_set_and_nothing_else() {
    let Some(place) = Place::new("declared").await else { return };
    let options = DeployOptions {
        profile: Profile::Modern.into(),
        exposure: Exposure::NodePort.into(),
        ..DeployOptions::default()
    };
    place.deploy(WORDPRESS, options).await;
    let wp = place.container("wp").await;
    let told = wp.told().await;
    let own = |variable: &&str| {
        // The image's and the runtime's own, and those that every container of a cluster has.
        !["PATH=", "HOME=", "HOSTNAME=", "KUBERNETES_"].iter().any(|prefix| variable.starts_with(prefix))
    };
    let variables: Vec<_> = told.variables("").into_iter().filter(own).collect();
    let expected = [
        "DB_1_ENV_MYSQL_ROOT_PASSWORD=pass@word01",
        "DB_1_NAME=/wp/DB_1",
        "DB_1_PORT=tcp://db-1:3306",
        "DB_1_PORT_3306_TCP=tcp://db-1:3306",
        "DB_1_PORT_3306_TCP_ADDR=db-1",
        "DB_1_PORT_3306_TCP_PORT=3306",
        "DB_1_PORT_3306_TCP_PROTO=tcp",
        "DB_NAME=wordpress",
        "DB_PASSWORD=pass@word01",
    ];
    assert_eq!(variables, expected);
    let db = place.container("db").await.told().await;
    let url = told.variable("DB_1_PORT").expect("declared").replace("tcp://", "http://");
    assert_eq!(wp.reaches(&url).await.host, db.host);
    // Published ports are offered on the node, too.
    let ports = place.service("wp").await.ports.expect("ports");
    let port = ports[0].node_port.expect("a node port");
    assert_eq!(place.node.reaches(&format!("10.200.0.1:{port}")).await.host, told.host);
}

#[tokio::test]
async fn a_modern_container_can_gain_no_rights() {
    let Some(place) = Place::new("tight").await else { return };
    let template = "name: T\nimages:\n- name: WEB\n  source: example/web:1\n";
    place
        .deploy(template, DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() })
        .await;
    let status = place.container("web").await.file("/proc/self/status").await.expect("a status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (Some("1"), Some("2")), "{status}");
}

#[tokio::test]
async fn a_datagram_reaches_its_target_through_the_service() {
    let template = "
name: Datagrams
images:
- {name: APP, source: 'example/app:1', links: [{service: STATS, alias: STATSD}]}
- {name: STATS, source: 'example/stats:1', expose: [8125/udp, 80]}
";
    for profile in [Profile::Classic, Profile::Modern] {
        let Some(place) = Place::new("datagrams").await else { return };
        place.deploy(template, DeployOptions { profile: profile.into(), ..DeployOptions::default() }).await;
        let stats = place.container("stats").await.told().await.host;
        let app = place.container("app").await;
        let told = app.told().await;
        let port = told.variable("STATSD_PORT_8125_UDP_PORT").expect("a variable of the link");
        let address = told.variable("STATSD_PORT_8125_UDP_ADDR").expect("a variable of the link");
        // The Service's own address in CLASSIC, its name in MODERN.
        for address in [address, "statsd"] {
            let seen = app.sends(&format!("{address}:{port}")).await;
            assert_eq!((seen.host.as_str(), seen.port.as_str()), (stats.as_str(), "8125"), "{profile:?}");
        }
        assert_eq!(app.reaches("http://statsd/").await.host, stats);
    }
}

#[tokio::test]
async fn a_port_that_nobody_lists_is_reached_by_the_name_of_the_link() {
    let template = "
name: Unlisted
images:
- {name: APP, source: 'example/app:1', links: [{service: DB, alias: DB_1}]}
- {name: DB, source: 'shop/docker-redis:1'}
";
    for profile in [Profile::Classic, Profile::Modern] {
        let Some(place) = Place::new("headless").await else { return };
        place.deploy(template, DeployOptions { profile: profile.into(), ..DeployOptions::default() }).await;
        assert_eq!(place.service("db-1").await.cluster_ip.as_deref(), Some("None"));
        let db = place.container("db").await.told().await.host;
        let app = place.container("app").await;
        // The guess stands in variables alone; whatever the container listens on is reached, guessed or not.
        let guess = app.told().await.variable("DB_1_PORT").expect("a guess").replace("tcp://", "http://");
        assert_eq!(guess, "http://db-1:6379");
        for (url, port) in [(guess.as_str(), "6379"), ("http://db-1:8080/", "8080"), ("http://db-1/", "80")] {
            let seen = app.reaches(url).await;
            assert_eq!((seen.host.as_str(), seen.port.as_str()), (db.as_str(), port), "{profile:?} {url}");
        }
        let seen = app.sends("db-1:8125").await;
        assert_eq!(seen.host, db, "{profile:?}");
    }
}
