//! What holds for every template: no panic, order counts for nothing, links lead exactly to their targets.

use std::collections::BTreeSet;

use super::generators::{any_rules, any_template, good_template};
use panamax_kubernetes_adapter::artifacts::{DeploymentName, Kind, Stage};
use panamax_kubernetes_adapter::diagnostic::Code;
use panamax_kubernetes_adapter::template::raw::{RawImage, RawTemplate, RawVariable, read};
use panamax_kubernetes_adapter::template::validate::{Limits, from_raw, from_text, validate};
use panamax_kubernetes_adapter::template::{Image, Port, Protocol, Template, overrides, sanitise};
use panamax_kubernetes_adapter::translate::known_images::{self, KnownPort};
use panamax_kubernetes_adapter::translate::{
    Exposure, LinkEnvironment, Options, Rules, Translation, VolumeMapping, manifest_yaml, template_path,
    translate,
};
use proptest::prelude::*;
use serde_json::Value;

fn options(deployment: &str, rules: &Rules) -> Options {
    Options::with(DeploymentName::new(deployment).unwrap(), rules.clone())
}

fn translated(raw: RawTemplate, rules: &Rules) -> Option<(Template, Translation)> {
    let template = validate(raw).template?;
    let translation = translate(&template, &options("one", rules));
    Some((template, translation))
}

/// The pods of a translation: the component's name and the labels.
fn pods(translation: &Translation) -> Vec<(String, Value)> {
    let objects = translation.artifacts.iter().flat_map(|artifacts| artifacts.objects());
    objects
        .filter(|object| object.reference.kind.stage() == Stage::Workload)
        .filter_map(|object| {
            let spec = &object.manifest["spec"];
            let metadata = if object.reference.kind == Kind::Pod {
                &object.manifest["metadata"]
            } else {
                &spec["template"]["metadata"]
            };
            let labels = metadata.get("labels")?;
            Some((object.component.to_string(), labels.clone()))
        })
        .collect()
}

/// Every selector of a translation with the component it is meant for.
fn selectors(translation: &Translation) -> Vec<(String, Value)> {
    let objects = translation.artifacts.iter().flat_map(|artifacts| artifacts.objects());
    objects
        .filter_map(|object| {
            let selector = match object.reference.kind {
                Kind::Service | Kind::ReplicationController => &object.manifest["spec"]["selector"],
                Kind::Deployment => &object.manifest["spec"]["selector"]["matchLabels"],
                Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim => return None,
            };
            Some((object.component.to_string(), selector.clone()))
        })
        .collect()
}

fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(key, value)| &labels[key] == value)
}

/// What the table adds to the links to an image.
fn known_ports(image: &Image, opens_outside: bool) -> &'static [KnownPort] {
    let known = known_images::of(&image.source).filter(|_| !opens_outside);
    known.map(|known| known.ports).unwrap_or_default()
}

/// Whether the template publishes the container's port to all, under that number.
fn opens(image: &Image, number: &Value, target: &Value, protocol: &Value) -> bool {
    image.ports.iter().any(|port| {
        let host = port.host.map_or(port.container.get(), |host| host.get());
        let same = *target == port.container.get() && *protocol == port.protocol.as_str();
        port.is_open() && same && *number == host
    })
}

/// Whether the image is to be reached from outside the cluster.
fn is_exposed(image: &Image, rules: &Rules) -> bool {
    rules.exposure != Exposure::ClusterIp && image.ports.iter().any(Port::is_open)
}

/// Whether the manifest is a Service that is reached from outside the cluster.
fn is_outside(manifest: &Value) -> bool {
    ["NodePort", "LoadBalancer"].iter().any(|kind| manifest["spec"]["type"] == *kind)
}

/// Numbers and protocols that a Service offers.
fn offered(service: &Value) -> BTreeSet<(u16, String)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let one = |port: &Value| {
        let number = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
        (number, port["protocol"].as_str().unwrap().to_owned())
    };
    ports.map(one).collect()
}

/// The object without what fills its claims, which runs as root and has no other right.
fn without_fillers(mut manifest: Value) -> Value {
    for pod in ["/spec", "/spec/template/spec"] {
        let Some(pod) = manifest.pointer_mut(pod).and_then(Value::as_object_mut) else { continue };
        for filler in pod.remove("initContainers").iter().flat_map(Value::as_array).flatten() {
            let mut rights = filler["securityContext"].as_object().unwrap().clone();
            assert_eq!(rights.remove("runAsUser"), Some(Value::from(0)));
            assert!(rights.is_empty() || filler["securityContext"]["allowPrivilegeEscalation"] == false);
            assert!(
                filler["ports"].is_null() && filler["name"].as_str().unwrap().starts_with("panamax-fill")
            );
        }
    }
    manifest
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = from_text(&text, None, &Limits::default());
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "[-a-z:{}\\[\\],&*!|>'\"#%@ \n\t0-9~?<]{0,80}") {
        let text = format!("images:\n- name: a\n  source: b:1\n{text}");
        let _ = from_text(&text, None, &Limits::default());
    }

    #[test]
    fn any_template_is_translated_or_refused_with_a_reason(
        raw in any_template(), changes in any_template(), rules in any_rules(),
    ) {
        let _ = overrides::merge(raw.clone(), changes.clone());
        let validated = from_raw(raw, Some(changes), &Limits::default());
        let refused = validated.diagnostics.iter().any(|found| found.is_error());
        prop_assert_eq!(refused, validated.template.is_none());
        if let Some(template) = validated.template {
            let translation = translate(&template, &options("one", &rules));
            let refused = translation.diagnostics.iter().any(|found| found.is_error());
            prop_assert_eq!(refused, translation.artifacts.is_none());
        }
    }

    #[test]
    fn a_template_survives_being_stored(raw in good_template()) {
        if let Some(template) = validate(raw).template {
            let stored = serde_json::to_vec(&template).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Template>(&stored).unwrap(), template);
        }
    }

    #[test]
    fn the_order_of_images_counts_for_nothing(raw in good_template(), turn in 0_usize..7, rules in any_rules()) {
        let mut turned = raw.clone();
        let by = turn % turned.images.len();
        turned.images.rotate_left(by);
        let manifests = |raw| translated(raw, &rules).map(|(_, translation)| translation.artifacts.map(|all| manifest_yaml(&all)));
        prop_assert_eq!(manifests(raw), manifests(turned));
    }

    #[test]
    fn names_of_objects_are_unique_and_no_port_stands_twice(raw in good_template(), rules in any_rules()) {
        let Some((_, translation)) = translated(raw, &rules) else { return Ok(()) };
        let Some(artifacts) = translation.artifacts else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for object in artifacts.objects() {
            prop_assert!(seen.insert(object.reference.clone()));
            prop_assert_eq!(&object.manifest["metadata"]["name"], object.reference.name.as_str());
            for (list, keys) in [
                (&object.manifest["spec"]["ports"], ["port", "protocol"]),
                (&object.manifest["spec"]["containers"][0]["ports"], ["containerPort", "protocol"]),
                (&object.manifest["spec"]["template"]["spec"]["containers"][0]["ports"], ["containerPort", "protocol"]),
                (&object.manifest["spec"]["containers"][0]["env"], ["name", "name"]),
                (&object.manifest["spec"]["template"]["spec"]["containers"][0]["env"], ["name", "name"]),
                (&object.manifest["spec"]["template"]["spec"]["containers"][0]["volumeMounts"], ["mountPath", "mountPath"]),
                (&object.manifest["spec"]["template"]["spec"]["volumes"], ["name", "name"]),
            ] {
                let mut known = BTreeSet::new();
                for entry in list.as_array().into_iter().flatten() {
                    prop_assert!(known.insert((entry[keys[0]].to_string(), entry[keys[1]].to_string())));
                }
            }
        }
    }

    #[test]
    fn a_selector_finds_its_own_pods_and_no_others(raw in good_template(), rules in any_rules()) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        let foreign = translate(&template, &options("two", &rules));
        for (component, selector) in selectors(&translation) {
            for (pod, labels) in pods(&translation) {
                prop_assert_eq!(selects(&selector, &labels), pod == component);
            }
            for (_, labels) in pods(&foreign) {
                prop_assert!(!selects(&selector, &labels));
            }
        }
    }

    #[test]
    fn every_link_leads_to_its_targets_lowest_port(raw in good_template(), rules in any_rules()) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        let Some(artifacts) = &translation.artifacts else { return Ok(()) };
        let plain = panamax_kubernetes_adapter::template::sanitise;
        let services: Vec<_> =
            artifacts.objects().iter().filter(|object| object.reference.kind == Kind::Service).collect();
        let named = |name: &str| services.iter().find(|object| object.reference.name.as_str() == name);
        for image in &template.images {
            for link in &image.links {
                let target = &template.images[link.target];
                let own = services.iter().find(|object| object.origin == link.field.as_str());
                let service = own.or_else(|| named(&plain(link.alias.as_str())));
                let service = service.expect("every link has a Service");
                let declared = rules.link_environment == LinkEnvironment::Declared;
                if declared || service.reference.name.as_str() != plain(link.alias.as_str()) {
                    let workload = artifacts.objects().iter().find(|object| {
                        object.reference.kind.stage() == Stage::Workload
                            && object.component.as_str() == plain(image.name.as_str())
                    });
                    let prefix = link.alias.as_str().to_uppercase().replace(['-', '.'], "_");
                    let declared = format!("\"name\":\"{prefix}_NAME\"");
                    prop_assert!(workload.unwrap().manifest.to_string().contains(&declared));
                }
                let service = &service.manifest;
                prop_assert_eq!(&service["spec"]["selector"]["name"], &Value::from(plain(target.name.as_str())));
                let listed = target
                    .ports
                    .iter()
                    .map(|port| port.container.get())
                    .chain(target.expose.iter().map(|port| port.container.get()));
                let known = known_ports(target, is_outside(service));
                let known = known.iter().filter(|port| port.links).map(|port| port.port.get());
                if let Some(lowest) = listed.chain(known).min() {
                    prop_assert_eq!(&service["spec"]["ports"][0]["port"], lowest);
                    prop_assert_eq!(&service["spec"]["ports"][0]["targetPort"], lowest);
                }
            }
        }
    }

    #[test]
    fn a_name_narrows_nothing(raw in good_template(), rules in any_rules()) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        let Some(artifacts) = &translation.artifacts else { return Ok(()) };
        for object in artifacts.objects().iter().filter(|object| object.origin.contains(".links[")) {
            let component = object.component.as_str();
            let is_target = |image: &&Image| sanitise(image.name.as_str()) == component;
            let target = template.images.iter().find(is_target).unwrap();
            let is_listed = !target.ports.is_empty() || !target.expose.is_empty();
            let is_headless = object.manifest["spec"]["clusterIP"] == "None";
            let offered = offered(&object.manifest);
            // Docker let every port through. So does a Service without ports, and so must one with ports.
            let known = known_ports(target, false);
            prop_assert_eq!(is_headless, !is_listed && known.is_empty());
            prop_assert_eq!(is_headless, offered.is_empty());
            let opens = is_outside(&object.manifest);
            for port in known {
                let (number, protocol) = (port.port.get(), port.protocol);
                let lists = target.ports.iter().any(|one| (one.container.get(), one.protocol) == (number, protocol))
                    || target.expose.iter().any(|one| (one.container.get(), one.protocol) == (number, protocol));
                let is_told = translation.diagnostics.iter().any(|found| found.code == Code::PortWithheld);
                prop_assert!(offered.contains(&(number, protocol.as_str().to_owned())) != (opens && !lists));
                prop_assert!(!opens || lists || is_told);
            }
            // What nobody lists and no table knows is in no Service.
            for (number, protocol) in &offered {
                let same = |container: u16, other: Protocol| container == *number && other.as_str() == protocol;
                let listed = target.ports.iter().any(|port| same(port.container.get(), port.protocol)
                    || port.host.is_some_and(|host| same(host.get(), port.protocol)));
                let exposed = target.expose.iter().any(|port| same(port.container.get(), port.protocol));
                let known = known_ports(target, opens).iter().any(|port| same(port.port.get(), port.protocol));
                prop_assert!(listed || exposed || known, "{number}/{protocol} of {component}");
            }
        }
    }

    #[test]
    fn nothing_opens_wider_than_written(raw in good_template(), rules in any_rules()) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        let Some(artifacts) = &translation.artifacts else { return Ok(()) };
        let plain = panamax_kubernetes_adapter::template::sanitise;
        for image in &template.images {
            let name = plain(image.name.as_str());
            let open = |number: &Value, protocol: &Value| image.ports.iter().any(|port| {
                port.is_open() && *number == port.container.get() && *protocol == port.protocol.as_str()
            });
            for object in artifacts.objects().iter().filter(|object| object.component.as_str() == name) {
                let spec = &object.manifest["spec"];
                let outside = is_outside(&object.manifest);
                for port in spec["ports"].as_array().into_iter().flatten() {
                    let is_written = opens(image, &port["port"], &port["targetPort"], &port["protocol"]);
                    prop_assert!(!outside || is_written, "{port}");
                    let moved = port["port"] != port["targetPort"];
                    prop_assert!(!moved || open(&port["targetPort"], &port["protocol"]), "{port}");
                }
                let pod = [spec, &spec["template"]["spec"]].into_iter().find(|spec| spec["containers"].is_array());
                let Some(container) = pod.map(|pod| &pod["containers"][0]) else { continue };
                for port in container["ports"].as_array().into_iter().flatten() {
                    let free = port.get("hostPort").is_some() && port.get("hostIP").is_none();
                    prop_assert!(!free || open(&port["containerPort"], &port["protocol"]), "{port}");
                }
                for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                    let own = image.volumes.iter().find(|one| mount["mountPath"] == one.container_path.as_str());
                    let told = |field: &str| translation.diagnostics.iter().any(|one| {
                        one.code.as_str() == "VOLUME_FORBIDDEN" && one.field.starts_with(field)
                    });
                    let own = own.filter(|own| !told(&own.field));
                    prop_assert!(own.is_none_or(|own| !own.read_only || mount["readOnly"] == true), "{mount}");
                    let lenders: Vec<_> = image.volumes_from.iter().collect();
                    let all_narrow = !lenders.is_empty() && lenders.iter().all(|one| one.read_only);
                    prop_assert!(own.is_some() || !all_narrow || mount["readOnly"] == true, "{mount}");
                }
            }
        }
    }

    #[test]
    fn what_is_published_has_one_service_outside(raw in good_template(), rules in any_rules()) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        let Some(artifacts) = &translation.artifacts else { return Ok(()) };
        for image in &template.images {
            let name = sanitise(image.name.as_str());
            let of_image = artifacts.objects().iter().filter(|object| object.component.as_str() == name);
            let outside: Vec<_> = of_image.map(|object| &object.manifest).filter(|one| is_outside(one)).collect();
            prop_assert_eq!(outside.len(), usize::from(is_exposed(image, &rules)), "{}", name);
            let Some(service) = outside.first() else { continue };
            let ports = service["spec"]["ports"].as_array().unwrap();
            for port in image.ports.iter().filter(|port| port.is_open()) {
                // Another entry may have the host port, and then that one is reached.
                prop_assert!(ports.iter().any(|one| one["protocol"] == port.protocol.as_str()
                    && (one["targetPort"] == port.container.get()
                        || port.host.is_some_and(|host| one["port"] == host.get()))), "{service}");
            }
        }
    }

    #[test]
    fn what_the_api_server_names_is_found_in_the_template(
        raw in good_template(), rules in any_rules(), field in "[a-zA-Z.\\[\\]0-9]{0,30}",
    ) {
        let Some((template, translation)) = translated(raw, &rules) else { return Ok(()) };
        for object in translation.artifacts.iter().flat_map(|artifacts| artifacts.objects()) {
            let _ = template_path(&template, object, &field);
            for index in 0..4 {
                for leaf in ["port", "targetPort", "nodePort"] {
                    let path = template_path(&template, object, &format!("spec.ports[{index}].{leaf}"));
                    prop_assert!(path.starts_with("images[") || path.starts_with("options."));
                }
            }
        }
    }

    #[test]
    fn nothing_expresses_privilege(raw in good_template(), rules in any_rules()) {
        let Some((_, translation)) = translated(raw, &rules) else { return Ok(()) };
        for object in translation.artifacts.iter().flat_map(|artifacts| artifacts.objects()) {
            let text = without_fillers(object.manifest.clone()).to_string();
            for word in ["\"privileged\"", "hostNetwork", "hostPID", "hostIPC", "capabilities", "serviceAccountName",
                "runAsUser", "procMount", "\"allowPrivilegeEscalation\":true", "nodeName", "Unconfined"] {
                prop_assert!(!text.contains(word), "{word} in {text}");
            }
            if object.reference.kind.stage() == Stage::Workload {
                prop_assert!(text.contains("\"automountServiceAccountToken\":false"));
            }
            if rules.volumes != VolumeMapping::HostPath {
                prop_assert!(!text.contains("hostPath"));
            }
            for path in ["/\"", "/etc", "/proc", "/sys", "/dev", "/var/run", "files", "~"] {
                let mounted = format!("\"hostPath\":{{\"path\":\"{path}");
                prop_assert!(!text.contains(&mounted), "{text}");
            }
        }
    }

    #[test]
    fn awkward_values_survive_the_manifest(value in any::<String>()) {
        let name = value.replace(|character: char| character.is_control() && !matches!(character, '\n' | '\t'), "");
        let environment = vec![RawVariable { variable: "A".into(), value: name, ..Default::default() }];
        let image = RawImage { name: "a".into(), source: "a:1".into(), environment, ..Default::default() };
        let Some((_, translation)) = translated(RawTemplate { images: vec![image], ..Default::default() }, &Rules::default()) else {
            return Ok(());
        };
        let artifacts = translation.artifacts.unwrap();
        let read: Value = serde_saphyr::from_str(&manifest_yaml(&artifacts)).unwrap();
        prop_assert_eq!(&read, &artifacts.objects()[0].manifest);
    }
}

#[test]
fn the_wire_form_and_yaml_are_one_template() {
    let wire = read(include_str!("cases/wire_form.pmx")).template.unwrap();
    assert_eq!(wire.images.len(), 2);
    assert_eq!(wire.name, "");
}
