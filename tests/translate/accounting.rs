//! Nothing of a template that bears on running it vanishes without a word, under any rules.
//!
//! Every entry is looked for in the objects, and where it is not there, in the findings.

use super::generators::{any_rules, good_template};
use base64::Engine as _;
use panamax_kubernetes_adapter::artifacts::{Artifact, DeploymentName, Kind, Stage};
use panamax_kubernetes_adapter::diagnostic::Diagnostic;
use panamax_kubernetes_adapter::template::raw::{RawImage, RawTemplate};
use panamax_kubernetes_adapter::template::validate::validate;
use panamax_kubernetes_adapter::template::{Image, Template, sanitise};
use panamax_kubernetes_adapter::translate::{Options, Rules, translate};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A translation beside what it was made of.
struct Account {
    raw: RawTemplate,
    template: Template,
    objects: Vec<Artifact>,
    findings: Vec<Diagnostic>,
}

impl Account {
    /// Translates; `None` for a template that is refused, which leaves nothing to be accounted for.
    fn of(raw: RawTemplate, rules: Rules) -> Option<Self> {
        let validated = validate(raw.clone());
        let template = validated.template?;
        let options = Options::with(DeploymentName::new("one").unwrap(), rules);
        let translation = translate(&template, &options);
        let objects = translation.artifacts?.objects().to_vec();
        let findings = validated.diagnostics.into_iter().chain(translation.diagnostics).collect();
        Some(Self { raw, template, objects, findings })
    }

    /// Whether a finding speaks of this place or of a part of it.
    fn is_told(&self, field: &str) -> bool {
        let speaks = |found: &Diagnostic| {
            found
                .field
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.findings.iter().any(speaks)
    }

    /// The objects of a component.
    fn of_component(&self, image: &str) -> impl Iterator<Item = &Artifact> + use<'_> {
        let name = sanitise(image);
        self.objects.iter().filter(move |object| object.component.as_str() == name)
    }

    /// The one workload of a component.
    fn workload(&self, image: &str) -> &Artifact {
        let mut found =
            self.of_component(image).filter(|object| object.reference.kind.stage() == Stage::Workload);
        let only = found.next().expect("every image runs");
        assert!(found.next().is_none(), "{image} runs twice");
        only
    }

    fn container(&self, image: &str) -> &Value {
        let workload = self.workload(image);
        let spec = match workload.reference.kind {
            Kind::Pod => &workload.manifest["spec"],
            _ => &workload.manifest["spec"]["template"]["spec"],
        };
        &spec["containers"][0]
    }

    /// Whether a Service of the component leads from a port (any, if none is named) to a container's port.
    fn serves(&self, image: &str, port: Option<u16>, target: u16, protocol: &str) -> bool {
        let services = self.of_component(image).filter(|object| object.reference.kind == Kind::Service);
        let mut ports = services.flat_map(|service| service.manifest["spec"]["ports"].as_array()).flatten();
        ports.any(|entry| {
            port.is_none_or(|port| entry["port"] == port)
                && entry["targetPort"] == target
                && entry["protocol"] == protocol
        })
    }

    /// What is missing, by path.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (index, (raw, image)) in self.raw.images.iter().zip(&self.template.images).enumerate() {
            let field = format!("images[{index}]");
            missing.extend(self.unread(raw, image, &field));
            missing.extend(self.unserved(image));
            missing.extend(self.unrun(image, &field));
            missing.extend(self.unset(image));
            missing.extend(self.unmounted(image));
        }
        missing
    }

    /// Entries that reading dropped in silence.
    fn unread(&self, raw: &RawImage, image: &Image, field: &str) -> Vec<String> {
        let lists: [(&str, usize, Vec<&str>); 6] = [
            ("ports", raw.ports.len(), image.ports.iter().map(|one| one.field.as_str()).collect()),
            ("expose", raw.expose.len(), image.expose.iter().map(|one| one.field.as_str()).collect()),
            ("links", raw.links.len(), image.links.iter().map(|one| one.field.as_str()).collect()),
            (
                "environment",
                raw.environment.len(),
                image.environment.iter().map(|one| one.field.as_str()).collect(),
            ),
            ("volumes", raw.volumes.len(), image.volumes.iter().map(|one| one.field.as_str()).collect()),
            (
                "volumes_from",
                raw.volumes_from.len(),
                image.volumes_from.iter().map(|one| one.field.as_str()).collect(),
            ),
        ];
        let places = lists.into_iter().flat_map(|(list, length, kept)| {
            (0..length).map(move |entry| format!("{field}.{list}[{entry}]")).filter(move |place| {
                // Of two entries that are merged, either may be the one that stays.
                !kept.contains(&place.as_str())
            })
        });
        places.filter(|place| !self.is_told(place) && !self.has_twin(place)).collect()
    }

    /// Whether a merge of two entries was told at the other one.
    fn has_twin(&self, place: &str) -> bool {
        let (list, _) = place.rsplit_once('[').unwrap();
        list.ends_with(".ports") && self.is_told(list)
    }

    fn unserved(&self, image: &Image) -> Vec<String> {
        let name = image.name.as_str();
        let mut missing = Vec::new();
        let listed = self.container(name)["ports"].as_array().cloned().unwrap_or_default();
        for port in &image.ports {
            let (number, protocol) = (port.container.get(), port.protocol.as_str());
            let same = |entry: &&Value| entry["containerPort"] == number && entry["protocol"] == protocol;
            let entry = listed.iter().find(same);
            if entry.is_none() {
                missing.push(format!("{}.container_port", port.field));
            }
            if !port.is_open() {
                // Bound to one address: kept as it is or told, and in no case open.
                let bound = entry
                    .is_none_or(|entry| entry.get("hostPort").is_none() || entry.get("hostIP").is_some());
                let place = port.interface_field();
                let also_open =
                    image.ports.iter().any(|other| other.is_open() && other.container == port.container);
                if !(self.is_told(&place) && (bound || also_open)) {
                    missing.push(place);
                }
                continue;
            }
            let Some(host) = port.host.map(|host| host.get()) else { continue };
            let kept = entry.is_some_and(|entry| entry["hostPort"] == host);
            let place = format!("{}.host_port", port.field);
            if !kept && !self.serves(name, Some(host), number, protocol) && !self.is_told(&place) {
                missing.push(place);
            }
        }
        for port in &image.expose {
            let (number, protocol) = (port.container.get(), port.protocol.as_str());
            if !self.serves(name, None, number, protocol)
                && !listed
                    .iter()
                    .any(|entry| entry["containerPort"] == number && entry["protocol"] == protocol)
                && !self.is_told(&port.field)
            {
                missing.push(port.field.to_string());
            }
        }
        for link in &image.links {
            let target = self.template.images[link.target].name.as_str();
            let leads = |object: &Artifact| {
                let shared = object.reference.name.as_str() == sanitise(link.alias.as_str());
                object.reference.kind == Kind::Service && (shared || object.origin == link.field.as_str())
            };
            if !self.of_component(target).any(leads) {
                missing.push(link.field.to_string());
            }
        }
        missing
    }

    fn unrun(&self, image: &Image, field: &str) -> Vec<String> {
        let (workload, container) = (self.workload(image.name.as_str()), self.container(image.name.as_str()));
        let mut missing = Vec::new();
        if container["image"] != image.source.as_str() {
            missing.push(format!("{field}.source"));
        }
        let count = image.count.map_or(1, |count| count.get());
        let replicas = match workload.reference.kind {
            Kind::Pod => json!(1),
            _ => workload.manifest["spec"]["replicas"].clone(),
        };
        if replicas != count {
            missing.push(format!("{field}.deployment.count"));
        }
        let words = image.command.words();
        let args: Vec<String> = texts(&container["args"]).iter().map(|word| kubelet(word)).collect();
        if args != words {
            missing.push(format!("{field}.command"));
        }
        missing
    }

    fn unset(&self, image: &Image) -> Vec<String> {
        let name = image.name.as_str();
        let variables = self.container(name)["env"].as_array().cloned().unwrap_or_default();
        let secrets: Vec<&Artifact> =
            self.of_component(name).filter(|object| object.reference.kind == Kind::Secret).collect();
        let value = |variable: &str| {
            let entry = variables.iter().find(|entry| entry["name"] == variable)?;
            if let Some(plain) = entry["value"].as_str() {
                return Some(kubelet(plain));
            }
            let reference = &entry["valueFrom"]["secretKeyRef"];
            let secret = secrets.iter().find(|secret| reference["name"] == secret.reference.name.as_str())?;
            let encoded = secret.manifest["data"][reference["key"].as_str()?].as_str()?;
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok()
        };
        let wrong = image
            .environment
            .iter()
            .filter(|variable| value(variable.name.in_full()).as_deref() != Some(variable.value.as_str()));
        wrong.map(|variable| variable.field.to_string()).collect()
    }

    fn unmounted(&self, image: &Image) -> Vec<String> {
        let mounted = |image: &Image| -> Vec<String> {
            let mounts = self.container(image.name.as_str())["volumeMounts"].as_array().cloned();
            let path = |mount: &Value| mount["mountPath"].as_str().unwrap().to_owned();
            mounts.unwrap_or_default().iter().map(path).collect()
        };
        let own = mounted(image);
        let volumes = image
            .volumes
            .iter()
            .filter(|volume| !own.contains(&volume.container_path) && !self.is_told(&volume.field));
        let lenders = image.volumes_from.iter().filter(|from| {
            let lent = mounted(&self.template.images[from.target]);
            (lent.is_empty() || !lent.iter().all(|path| own.contains(path))) && !self.is_told(&from.field)
        });
        volumes.map(|one| one.field.to_string()).chain(lenders.map(|one| one.field.to_string())).collect()
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What the kubelet hands on of a value when no variable has the names in it: `$$` is `$`, the rest stays.
fn kubelet(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("$$") {
        out.push_str(&rest[..start + 1]);
        rest = &rest[start + 2..];
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_vanishes_without_a_word(raw in good_template(), rules in any_rules()) {
        if let Some(account) = Account::of(raw, rules) {
            prop_assert_eq!(account.missing(), Vec::<String>::new());
        }
    }
}

/// The property above, where it must fail: an account that was cooked.
#[test]
fn a_loss_is_found() {
    let text = "images:\n- name: a\n  source: a:1\n  command: run\n  ports: [{host_port: 8080, container_port: 80}]\n  \
        expose: [81]\n  environment: [{variable: A, value: x}]\n  volumes: [{container_path: /data}]\n  \
        links: [{service: b}]\n- {name: b, source: 'b:1', volumes_from: [a]}\n";
    let raw = panamax_kubernetes_adapter::template::raw::read(text).template.unwrap();
    let good = Account::of(raw, Rules::default()).unwrap();
    assert_eq!(good.missing(), Vec::<String>::new());
    let mut silent = good;
    silent.findings.clear();
    for object in &mut silent.objects {
        if object.reference.kind == Kind::Pod {
            let name = object.manifest["spec"]["containers"][0]["name"].clone();
            object.manifest["spec"]["containers"] = json!([{ "name": name }]);
        }
    }
    silent.objects.retain(|object| object.reference.kind == Kind::Pod);
    assert_eq!(
        silent.missing(),
        [
            "images[0].ports[0].container_port",
            "images[0].ports[0].host_port",
            "images[0].expose[0]",
            "images[0].links[0]",
            "images[0].source",
            "images[0].command",
            "images[0].environment[0]",
            "images[0].volumes[0]",
            "images[1].source",
            "images[1].volumes_from[0]",
        ]
    );
}
