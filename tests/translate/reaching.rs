//! Every port that a template, its images or the table of known images has is reached through every link, or told.
//!
//! So is every name that a link promised, and no Service offers what nobody has written.

use std::collections::{BTreeMap, BTreeSet};

use panamax_kubernetes_adapter::artifacts::{Artifact, DeploymentName, Kind};
use panamax_kubernetes_adapter::diagnostic::{Code, Diagnostic, Findings, Severity};
use panamax_kubernetes_adapter::facts::{self, Configs};
use panamax_kubernetes_adapter::template::raw::{RawTemplate, RawVariable};
use panamax_kubernetes_adapter::template::validate::validate;
use panamax_kubernetes_adapter::template::{Image, Link, Port, Protocol, Template, sanitise};
use panamax_kubernetes_adapter::translate::known_images;
use panamax_kubernetes_adapter::translate::{Exposure, HostPorts, Options, Rules, translate};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::generators::{SOURCES, any_rules, good_template};

/// A port of a container.
type Number = (u16, Protocol);

/// What some of the images say of themselves.
fn any_configs() -> impl Strategy<Value = Configs> {
    let ports = btree_set((78_u16..90, select(&["tcp", "udp"][..])), 0..4);
    let config = ports.prop_map(|ports| {
        let exposed: BTreeMap<String, Value> =
            ports.into_iter().map(|(number, protocol)| (format!("{number}/{protocol}"), json!({}))).collect();
        json!({ "config": { "ExposedPorts": exposed } }).to_string()
    });
    btree_map(select(SOURCES).prop_map(str::to_owned), config, 0..4).prop_map(Configs)
}

/// What stands around a host in a value: addresses, connection strings, JSON, lists.
const FORMS: &[(&str, &str)] = &[
    ("http://", ":80/"),
    ("host=", ";user=x"),
    ("{\"nodes\": [{\"host\": \"", "\"}]}"),
    ("one,", ",two"),
    ("jdbc:mysql://x:y@", "/shop"),
    ("Server=", ";"),
    ("", ""),
    ("--host ", " --port 80"),
    ("x = tcp(", ":1)"),
];

/// A translation beside what it was made of.
struct Made {
    template: Template,
    rules: Rules,
    objects: Vec<Artifact>,
    findings: Vec<Diagnostic>,
}

impl Made {
    /// Translates a template whose images also name every host that their links promise.
    fn of(mut raw: RawTemplate, configs: &Configs, rules: &Rules) -> Option<Self> {
        for (place, image) in raw.images.iter_mut().enumerate() {
            for (index, link) in image.links.iter().enumerate() {
                let host = if link.alias.is_empty() { &link.service } else { &link.alias };
                let form = (place + index) % FORMS.len();
                let (before, behind) = FORMS[form];
                image.environment.push(RawVariable {
                    variable: format!("ADDRESS_{index}_{form}"),
                    value: format!("{before}{host}{behind}"),
                    ..Default::default()
                });
            }
        }
        let template = validate(raw).template?;
        let facts = facts::read(configs, Some(&template), &mut Findings::default());
        let rules = Rules { facts, ..rules.clone() };
        let options = Options::with(DeploymentName::new("one").unwrap(), rules.clone());
        let translation = translate(&template, &options);
        let objects = translation.artifacts?.objects().to_vec();
        Some(Self { template, rules, objects, findings: translation.diagnostics })
    }

    fn services(&self) -> impl Iterator<Item = &Artifact> {
        self.objects.iter().filter(|object| object.reference.kind == Kind::Service)
    }

    /// The Service of a link: its own, or that of its alias.
    fn service(&self, link: &Link) -> &Artifact {
        let own = self.services().find(|service| service.origin == link.field.as_str());
        let named = |service: &&Artifact| service.reference.name.as_str() == sanitise(link.alias.as_str());
        own.or_else(|| self.services().find(named)).expect("every link has a Service")
    }

    /// The ports that the template lists for an image, published on one address of the host or not.
    fn listed(image: &Image) -> BTreeSet<Number> {
        let published = image.ports.iter().map(|port| (port.container.get(), port.protocol));
        published.chain(image.expose.iter().map(|port| (port.container.get(), port.protocol))).collect()
    }

    /// The ports that the image says it has, or where it says none, the table.
    fn known(&self, image: &Image) -> BTreeSet<Number> {
        let facts = self.rules.facts.of(&image.source).filter(|facts| !facts.ports.is_empty());
        if let Some(facts) = facts {
            return facts.ports.iter().map(|(number, protocol)| (number.get(), *protocol)).collect();
        }
        let known = known_images::of(&image.source).map(|known| known.ports).unwrap_or_default();
        known.iter().map(|port| (port.port.get(), port.protocol)).collect()
    }

    /// Whether a WARNING about the image names the port.
    fn is_warned(&self, target: usize, (number, protocol): Number) -> bool {
        let port = match protocol {
            Protocol::Tcp => number.to_string(),
            Protocol::Udp => format!("{number}/UDP"),
        };
        let names = |message: &str| message.split([' ', ',', ':', ';']).any(|word| word == port);
        let field = format!("images[{target}]");
        let about = |found: &&Diagnostic| found.field.starts_with(&field) && names(&found.message);
        self.findings.iter().filter(about).any(|found| found.severity() >= Severity::Warning)
    }
}

/// The ports of a container that a Service leads to under their own numbers.
fn led_to(service: &Value) -> BTreeSet<Number> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let same = ports.filter(|port| port["port"] == port["targetPort"]);
    same.map(|port| number(port, "targetPort")).collect()
}

fn number(port: &Value, key: &str) -> Number {
    let number = port[key].as_u64().and_then(|number| u16::try_from(number).ok()).expect("a port");
    (number, if port["protocol"] == "UDP" { Protocol::Udp } else { Protocol::Tcp })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_port_is_reached_through_every_link_or_its_absence_is_a_warning(
        raw in good_template(), configs in any_configs(), rules in any_rules(),
    ) {
        let Some(made) = Made::of(raw, &configs, &rules) else { return Ok(()) };
        for link in made.template.images.iter().flat_map(|image| &image.links) {
            let target = &made.template.images[link.target];
            let service = &made.service(link).manifest;
            prop_assert_eq!(&service["spec"]["selector"]["name"], &Value::from(sanitise(target.name.as_str())));
            if service["spec"]["clusterIP"] == "None" {
                // By its name every port is reached.
                continue;
            }
            let led_to = led_to(service);
            for port in Made::listed(target).union(&made.known(target)) {
                prop_assert!(
                    led_to.contains(port) || made.is_warned(link.target, *port),
                    "{port:?} of {} through {}: {:#?}", target.name.as_str(), link.field, made.findings
                );
            }
            // What the template lists is never left out.
            prop_assert!(led_to.is_superset(&Made::listed(target)), "{service}");
        }
    }

    #[test]
    fn every_name_of_a_link_leads_to_its_target_or_its_use_is_a_warning(
        raw in good_template(), configs in any_configs(), rules in any_rules(),
    ) {
        let Some(made) = Made::of(raw, &configs, &rules) else { return Ok(()) };
        for image in &made.template.images {
            for variable in image.environment.iter().filter(|one| one.name.in_full().starts_with("ADDRESS_")) {
                let form = variable.name.in_full().rsplit('_').next().and_then(|form| form.parse::<usize>().ok());
                let (before, behind) = FORMS[form.unwrap()];
                let host = variable.value.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind)).unwrap();
                let Some(link) = image.links.iter().find(|link| link.alias.as_str() == host) else { continue };
                let target = sanitise(made.template.images[link.target].name.as_str());
                let leads = |service: &Artifact| service.reference.name.as_str().eq_ignore_ascii_case(host)
                    && service.manifest["spec"]["selector"]["name"] == target;
                let told = |found: &Diagnostic| found.code == Code::HostNameLost
                    && found.severity() >= Severity::Warning
                    && found.field == format!("{}.value", variable.field)
                    && found.message.to_ascii_lowercase().contains(&format!("`{}`", host.to_ascii_lowercase()));
                prop_assert!(
                    made.services().any(leads) || made.findings.iter().any(told),
                    "{host} of {}: {:#?}", variable.field, made.findings
                );
            }
        }
    }

    #[test]
    fn no_service_offers_what_nobody_has_written(
        raw in good_template(), configs in any_configs(), rules in any_rules(),
    ) {
        let Some(made) = Made::of(raw, &configs, &rules) else { return Ok(()) };
        for service in made.services() {
            let image = made.template.images.iter().find(|image| sanitise(image.name.as_str()) == service.component.as_str());
            let image = image.expect("the image of every Service");
            let (listed, known) = (Made::listed(image), made.known(image));
            let open = image.ports.iter().filter(|port| port.is_open());
            let open: BTreeSet<Number> = open.map(|port| (port.container.get(), port.protocol)).collect();
            let spec = &service.manifest["spec"];
            let is_outside = ["NodePort", "LoadBalancer"].iter().any(|kind| spec["type"] == *kind);
            for port in spec["ports"].as_array().into_iter().flatten() {
                let target = number(port, "targetPort");
                // Nothing but what is published to all is ever opened to the outside.
                prop_assert!(!is_outside || open.contains(&target), "{port}");
                prop_assert!(listed.contains(&target) || known.contains(&target), "{port}");
                let publishes = |one: &Port| one.is_open() && (one.container.get(), one.protocol) == target
                    && one.host.is_some_and(|host| port["port"] == host.get());
                prop_assert!(port["port"] == port["targetPort"] || image.ports.iter().any(publishes), "{port}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_service_that_no_link_has_offers_what_is_published_under_its_numbers(
        raw in good_template(), configs in any_configs(), rules in any_rules(),
    ) {
        let Some(made) = Made::of(raw, &configs, &rules) else { return Ok(()) };
        let is_linked = |one: &&Artifact| one.manifest["metadata"]["annotations"].get("panamax.io/alias").is_some();
        for service in made.services().filter(|one| !is_linked(one)) {
            let image = made.template.images.iter().find(|image| sanitise(image.name.as_str()) == service.component.as_str());
            let image = image.expect("the image of every Service");
            let is_exposed = rules.exposure != Exposure::ClusterIp && image.ports.iter().any(Port::is_open);
            for port in service.manifest["spec"]["ports"].as_array().into_iter().flatten() {
                let target = number(port, "targetPort");
                let entries = image.ports.iter().filter(|one| (one.container.get(), one.protocol) == target);
                let hosts: Vec<u16> =
                    entries.filter(|one| one.is_open()).filter_map(|one| Some(one.host?.get())).collect();
                // Where no node offers a port, the Service has the container's number, too, but not for the world.
                let has_both = rules.host_ports == HostPorts::Drop && !is_exposed;
                let is_own = port["port"] == port["targetPort"] && (hosts.is_empty() || has_both);
                prop_assert!(is_own || hosts.contains(&number(port, "port").0), "{port} of {service:?}");
            }
        }
    }

    #[test]
    fn what_no_node_offers_a_service_of_the_component_does(
        raw in good_template(), configs in any_configs(), rules in any_rules(),
    ) {
        let rules = Rules { host_ports: HostPorts::Drop, ..rules };
        let Some(made) = Made::of(raw, &configs, &rules) else { return Ok(()) };
        for image in &made.template.images {
            let name = sanitise(image.name.as_str());
            let is_exposed = rules.exposure != Exposure::ClusterIp && image.ports.iter().any(Port::is_open);
            let of_image = made.services().filter(|service| service.component.as_str() == name);
            let ports = of_image.flat_map(|service| service.manifest["spec"]["ports"].as_array()).flatten();
            let offered: BTreeSet<Number> = ports.map(|port| number(port, "targetPort")).collect();
            for port in image.ports.iter().filter(|port| port.is_open() || !is_exposed) {
                let is_told = made.findings.iter().any(|found| {
                    found.code == Code::PortShadowed && found.field.starts_with(port.field.as_str())
                });
                let target = (port.container.get(), port.protocol);
                prop_assert!(offered.contains(&target) || is_told, "{target:?} of {name}: {:#?}", made.findings);
            }
        }
    }
}

/// The judges of the properties, where they must find something.
#[test]
fn what_is_missing_is_found() {
    let text = "images:\n- {name: a, source: 'a:1', links: [{service: b}]}\n- {name: b, source: 'mysql:5.5', expose: [1]}\n";
    let raw = panamax_kubernetes_adapter::template::raw::read(text).template.unwrap();
    let made = Made::of(raw, &Configs::default(), &Rules::default()).unwrap();
    let image = &made.template.images[1];
    assert_eq!(Made::listed(image), [(1, Protocol::Tcp)].into());
    assert!(made.known(image).contains(&(3306, Protocol::Tcp)));
    let service = &made.service(&made.template.images[0].links[0]).manifest;
    assert!(led_to(service).contains(&(3306, Protocol::Tcp)));
    assert!(made.is_warned(1, (3306, Protocol::Tcp)) && !made.is_warned(1, (330, Protocol::Tcp)));
    assert!(!made.is_warned(0, (3306, Protocol::Tcp)));
}
