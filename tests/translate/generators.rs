//! Templates and rules for the properties: of every shape that is, and of every shape that should not be.

use panamax_kubernetes_adapter::template::raw::{
    RawFrom, RawImage, RawLink, RawPort, RawTemplate, RawVariable, RawVolume,
};
use panamax_kubernetes_adapter::translate::{
    Exposure, HostPorts, LinkEnvironment, Profile, Rules, SecretHandling, VolumeFilling, VolumeMapping,
    Workload,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Any scalar that people or enemies may write.
pub fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9_.-]{0,12}",
        1 => any::<u16>().prop_map(|number| number.to_string()),
        1 => "\\PC{0,12}",
        1 => any::<String>(),
        1 => Just(String::new()),
    ]
}

prop_compose! {
    fn any_image()(
        (name, source, command, count) in (scalar(), scalar(), scalar(), scalar()),
        ports in vec((scalar(), scalar(), scalar(), scalar()), 0..4),
        expose in vec(scalar(), 0..3),
        links in vec((scalar(), scalar()), 0..4),
        environment in vec((scalar(), scalar(), scalar()), 0..4),
        volumes in vec((scalar(), scalar(), scalar()), 0..3),
        volumes_from in vec(scalar(), 0..3),
    ) -> RawImage {
        RawImage {
            name,
            source,
            command: command.into(),
            count: count.into(),
            ports: ports
                .into_iter()
                .map(|(host_interface, host_port, container_port, proto)| RawPort {
                    host_interface: host_interface.into(), host_port, container_port, proto, ..RawPort::default()
                })
                .collect(),
            expose: expose.into_iter().map(Into::into).collect(),
            links: links.into_iter().map(|(service, alias)| RawLink { service, alias, field: None }).collect(),
            environment: environment
                .into_iter()
                .map(|(variable, value, required)| RawVariable { variable, value, required: required.into(), field: None })
                .collect(),
            volumes: volumes
                .into_iter()
                .map(|(host_path, container_path, read_only)| RawVolume {
                    host_path, container_path, read_only: read_only.into(), field: None,
                })
                .collect(),
            volumes_from: volumes_from.into_iter().map(Into::into).collect(),
            ..RawImage::default()
        }
    }
}

pub fn any_template() -> impl Strategy<Value = RawTemplate> {
    (scalar(), vec(any_image(), 0..5)).prop_map(|(name, images)| RawTemplate {
        name,
        images,
        ..Default::default()
    })
}

const NAMES: &[&str] = &["WP", "DB", "db_1", "wp-db", "Cache", "mail", "3rd", "wp.db.1"];
const ALIASES: &[&str] = &["", "DB_1", "db", "wp", "mail", "wp-db", "cache", "DB-1", "x"];
const HOST_PATHS: &[&str] =
    &["", "/data", "/data/own", "/etc/ssl", "/var/run/docker.sock", "files", "/", "/proc/1"];
const CONTAINER_PATHS: &[&str] =
    &["/data", "/data/x", "/etc", "/cache", "/sys", "/srv", "/data:ro", "/log:ro,z"];
const INTERFACES: &[&str] = &["127.0.0.1", "10.0.0.7", "0.0.0.0", "::1"];
pub const SOURCES: &[&str] = &[
    "mysql:5.5",
    "redis:2",
    "shop/app:1",
    "wordpress:4",
    "wordpress:4-fpm",
    "rabbitmq:3-management",
    "hopsoft/graphite-statsd:1",
    "shop/docker-redis:2",
    "shop/redis-sentinel:2",
];

/// A template whose only possible faults are alias clashes; small pools make clashes likely.
pub fn good_template() -> impl Strategy<Value = RawTemplate> {
    let interface = prop_oneof![4 => Just(""), 1 => prop::sample::select(INTERFACES)];
    let port = (prop::option::of(8000_u16..8004), 80_u16..84, prop::bool::ANY, interface);
    let image = (
        prop::sample::select(SOURCES),
        vec(port, 0..4),
        vec(80_u16..86, 0..3),
        vec((0_usize..8, prop::sample::select(ALIASES)), 0..5),
        vec((variable(), "[a-z$()]{0,6}"), 0..4),
        (prop::sample::select(&["", "0", "1", "2"][..]), "[a-z$( ]{0,8}"),
        vec((prop::sample::select(HOST_PATHS), prop::sample::select(CONTAINER_PATHS)), 0..3),
        vec((0_usize..8, prop::bool::ANY), 0..3),
    );
    vec(image, 1..7).prop_map(|images| {
        let count = images.len();
        let images = images.into_iter().enumerate().map(
            |(index, (source, ports, expose, links, environment, (replicas, command), volumes, lenders))| {
                RawImage {
                    name: NAMES[index].into(),
                    source: source.into(),
                    count: replicas.into(),
                    command: command.into(),
                    ports: ports
                        .into_iter()
                        .map(|(host, container, udp, interface)| RawPort {
                            host_interface: interface.into(),
                            host_port: host.map(|host| host.to_string()).unwrap_or_default(),
                            container_port: container.to_string(),
                            proto: if udp { "udp".into() } else { String::new() },
                            ..RawPort::default()
                        })
                        .collect(),
                    expose: expose.into_iter().map(|port| port.to_string().into()).collect(),
                    links: links
                        .into_iter()
                        .map(|(target, alias)| RawLink {
                            service: NAMES[target % count].into(),
                            alias: alias.into(),
                            field: None,
                        })
                        .collect(),
                    environment: environment
                        .into_iter()
                        .map(|(variable, value)| RawVariable { variable, value, ..Default::default() })
                        .collect(),
                    volumes: distinct(volumes),
                    // Only from images before it, so that there is no circle.
                    volumes_from: lenders
                        .into_iter()
                        .filter(|(lender, _)| *lender < index)
                        .map(|(lender, reads)| RawFrom {
                            read_only: if reads { "true".into() } else { String::new() },
                            ..NAMES[lender].into()
                        })
                        .collect(),
                    ..RawImage::default()
                }
            },
        );
        RawTemplate { name: "T".into(), images: images.collect(), ..Default::default() }
    })
}

/// A variable's name; some look secret, some are those of links.
fn variable() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[A-Z]{1,3}",
        1 => prop::sample::select(&["DB_PASSWORD", "a:TOKEN", "a/TOKEN", "DB_1_NAME", "PATH"][..]).prop_map(str::to_owned),
    ]
}

/// Volumes whose paths in the container differ.
fn distinct(volumes: Vec<(&str, &str)>) -> Vec<RawVolume> {
    let mut known = Vec::new();
    for (host, container) in volumes {
        let path = |text: &str| text.split(':').next().map(str::to_owned);
        if !known.iter().any(|volume: &RawVolume| path(&volume.container_path) == path(container)) {
            known.push(RawVolume {
                host_path: host.into(),
                container_path: container.into(),
                ..RawVolume::default()
            });
        }
    }
    known
}

/// Any rules: every profile with every knob turned every way.
pub fn any_rules() -> impl Strategy<Value = Rules> {
    let knobs = (
        prop::sample::select(&[Workload::PodOrReplicationController, Workload::Deployment][..]),
        prop::sample::select(&[HostPorts::Keep, HostPorts::Drop][..]),
        prop::sample::select(&[LinkEnvironment::Kubelet, LinkEnvironment::Declared][..]),
        prop::sample::select(
            &[
                VolumeMapping::Omit,
                VolumeMapping::EmptyDir,
                VolumeMapping::HostPath,
                VolumeMapping::PersistentVolumeClaim,
            ][..],
        ),
        prop::sample::select(&[SecretHandling::Plain, SecretHandling::Secret][..]),
        prop::sample::select(&[Exposure::ClusterIp, Exposure::NodePort, Exposure::LoadBalancer][..]),
    );
    let profile = prop::sample::select(&[Profile::Classic, Profile::Modern][..]);
    let filling = prop::sample::select(&[VolumeFilling::Empty, VolumeFilling::FromImage][..]);
    let turned = (profile.clone(), knobs, filling).prop_map(|(profile, knobs, filling)| {
        let (workload, host_ports, link_environment, volumes, secrets, exposure) = knobs;
        let mut rules = Rules { workload, host_ports, link_environment, volumes, ..Rules::of(profile) };
        (rules.secrets, rules.exposure, rules.filling) = (secrets, exposure, filling);
        rules
    });
    prop_oneof![1 => profile.prop_map(Rules::of), 2 => turned]
}
