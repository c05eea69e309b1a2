//! What a template narrows stays narrow in real containers, and no name of a link leads home.

use panamax_kubernetes_adapter::proto::{DeployOptions, Profile, VolumeMapping};

use super::place::Place;

#[tokio::test]
async fn a_host_port_is_taken_on_its_address_alone() {
    let Some(place) = Place::new("address").await else { return };
    let template = "
name: Addresses
images:
- name: OWN
  source: example/own:1
  ports: [{host_interface: 10.200.0.1, host_port: 8031, container_port: 80}]
- name: OTHER
  source: example/other:1
  ports:
  - {host_interface: 10.200.0.77, host_port: 8032, container_port: 80}
  - {host_port: 8033, container_port: 3306}
";
    place.deploy(template, DeployOptions::default()).await;
    let seen = place.node.reaches("10.200.0.1:8031").await;
    assert_eq!((seen.host.as_str(), seen.port.as_str()), ("own-pod", "80"));
    // The other pod's open port answers, so its narrow one would, too, if it were open.
    assert_eq!(place.node.reaches("10.200.0.1:8033").await.host, "other-pod");
    assert!(place.node.refuses("10.200.0.1:8032").await);
}

#[tokio::test]
async fn what_is_read_only_cannot_be_written_by_who_borrows_it() {
    let Some(place) = Place::new("reads").await else { return };
    let template = "
name: Read only
images:
- name: DOCS
  source: example/docs:1
  volumes: [{container_path: /data}, {container_path: '/own:ro'}]
- {name: MIRROR, source: 'example/mirror:1', volumes_from: ['DOCS:ro']}
";
    let options = DeployOptions {
        profile: Profile::Modern.into(),
        volumes: VolumeMapping::PersistentVolumeClaim.into(),
        ..DeployOptions::default()
    };
    place.deploy(template, options).await;
    let (docs, mirror) = (place.container("docs").await, place.container("mirror").await);
    docs.write("/data/note", "written").await;
    assert_eq!(mirror.file("/data/note").await.as_deref(), Some("written"));
    for (container, path, read_only) in
        [(&docs, "/data", false), (&docs, "/own", true), (&mirror, "/data", true), (&mirror, "/own", true)]
    {
        let mounts = container.file("/proc/mounts").await.expect("every process has a table of mounts");
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(path)).expect("a mount");
        let options = line.split(' ').nth(3).expect("options");
        assert_eq!(options.split(',').any(|option| option == "ro"), read_only, "{line}");
    }
}

#[tokio::test]
async fn an_alias_like_the_pods_own_name_leads_to_its_target() {
    let Some(place) = Place::new("home").await else { return };
    let template = "
name: Home
images:
- name: DB
  source: example/db:1
  links: [{service: WEB, alias: db-pod}, {service: WEB, alias: localhost}]
- {name: WEB, source: 'example/web:1', expose: [80]}
";
    place.deploy(template, DeployOptions::default()).await;
    let db = place.container("db").await;
    assert_eq!(db.told().await.host, "db");
    for url in ["http://db-pod/", "http://db-localhost/"] {
        assert_eq!(db.reaches(url).await.host, "web-pod", "{url}");
    }
}

#[tokio::test]
async fn ports_that_follow_each_other_have_dockers_range_in_the_container() {
    let Some(place) = Place::new("ranges").await else { return };
    let template = "
name: Ranges
images:
- {name: APP, source: 'example/app:1', links: [{service: MEDIA, alias: RTP}]}
- {name: MEDIA, source: 'example/media:1', expose: [7000, 7001, 7002]}
";
    let options = DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() };
    place.deploy(template, options).await;
    let told = place.container("app").await.told().await;
    assert_eq!(told.variable("RTP_PORT_7000_TCP_START"), Some("tcp://rtp:7000"));
    assert_eq!(told.variable("RTP_PORT_7000_TCP_PORT_END"), Some("7002"));
}
