//! Judges links from outside: whether each alias leads to exactly its target's pods, on its lowest container port.
//!
//! Pure, and without a line of the translation: what it knows are Docker's promises and Kubernetes objects.

use std::collections::{BTreeMap, BTreeSet};

use panamax_kubernetes_adapter::proto;
use serde_json::Value;

/// The verdict on the links of a template.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// How many there are.
    pub links: usize,
    /// How many of them lead to an image without a port, which can only be guessed.
    pub guessed: usize,
    /// What is wrong, one sentence for each link that leads elsewhere.
    pub faults: Vec<String>,
}

/// A pod as links see it: one that runs, or the one that a controller makes.
#[derive(Debug)]
struct Pod {
    name: String,
    labels: BTreeMap<String, String>,
    /// Its containers: name and image.
    containers: Vec<(String, String)>,
    /// Its variables that have a value of their own.
    variables: BTreeMap<String, String>,
}

/// The objects that links lead through.
#[derive(Debug, Default)]
pub struct Objects {
    services: BTreeMap<String, Value>,
    pods: Vec<Pod>,
}

impl Objects {
    /// Adds an object; kinds that no link leads through are ignored.
    pub fn add(&mut self, kind: &str, object: &Value) {
        let name = text(object, "/metadata/name");
        match kind {
            "Service" => {
                self.services.insert(name.to_owned(), object.clone());
            }
            "Pod" => self.pods.push(pod(name.to_owned(), object)),
            "ReplicationController" | "Deployment" => {
                let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
                self.pods.push(pod(format!("the template of {name}"), template));
            }
            _ => {}
        }
    }

    /// The pods of a component, found by their container's name, which no selector uses.
    fn of_component(&self, component: &str) -> Vec<&Pod> {
        let has = |pod: &&Pod| pod.containers.iter().any(|(name, _)| name == component);
        self.pods.iter().filter(has).collect()
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn pod(name: String, object: &Value) -> Pod {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let containers = list(object, "/spec/containers");
    let variables = containers.iter().flat_map(|container| list(container, "/env"));
    let with_value = variables.filter(|variable| variable.get("value").is_some());
    Pod {
        name,
        labels: labels
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        containers: containers
            .iter()
            .map(|one| (text(one, "/name").into(), text(one, "/image").into()))
            .collect(),
        variables: with_value.map(|one| (text(one, "/name").into(), text(one, "/value").into())).collect(),
    }
}

/// The seed's rule for names.
fn sanitised(name: &str) -> String {
    let allowed =
        |letter: char| if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '-' };
    name.to_lowercase().chars().map(allowed).collect::<String>().trim_matches('-').to_owned()
}

/// The prefix of an alias's variables in Docker.
fn prefix(alias: &str) -> String {
    let allowed =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    alias.chars().map(allowed).collect()
}

/// Finds the name that a link means: exactly that name, else one that differs only in spelling.
fn meant(names: &[&str], service: &str) -> Option<usize> {
    let exact = names.iter().position(|name| *name == service);
    exact.or_else(|| names.iter().position(|name| sanitised(name) == sanitised(service)))
}

/// The paths of links that lead to no image, in the text of a template.
pub fn missing(template: &str) -> Result<BTreeSet<String>, String> {
    let read: Value = serde_saphyr::from_str(template).map_err(|error| format!("not read: {error}"))?;
    // Panamax sent its adapters the list of images alone.
    let images = if read.is_array() { list(&read, "") } else { list(&read, "/images") };
    let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let names: Vec<String> = images.iter().map(|image| as_text(&image["name"])).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut missing = BTreeSet::new();
    for (place, image) in images.iter().enumerate() {
        for (number, link) in list(image, "/links").iter().enumerate() {
            let service = link.get("service").or_else(|| link.get("name")).map(as_text).unwrap_or_default();
            if meant(&names, &service).is_none() {
                missing.insert(format!("images[{place}].links[{number}].service"));
            }
        }
    }
    Ok(missing)
}

/// The lowest container port of an image, with each protocol it has.
fn lowest(image: &proto::Image) -> BTreeSet<(i32, String)> {
    let named = |protocol: &str| if protocol.is_empty() { "TCP".to_owned() } else { protocol.to_uppercase() };
    let published = image.ports.iter().filter_map(|port| Some((port.container_port?, named(&port.proto))));
    let all: BTreeSet<_> = published.chain(image.expose.iter().map(|port| (*port, named("")))).collect();
    let first = all.first().map(|(port, _)| *port);
    all.into_iter().filter(|(port, _)| Some(*port) == first).collect()
}

/// Judges every link of a template by the objects; `components` says what each image's component is called.
pub fn judge(template: &proto::Template, components: &BTreeMap<String, String>, objects: &Objects) -> Judged {
    let names: Vec<&str> = template.images.iter().map(|image| image.name.as_str()).collect();
    let mut judged = Judged::default();
    for image in &template.images {
        for link in &image.links {
            let target = meant(&names, &link.service);
            let Some(target) = target.map(|place| &template.images[place]) else { continue };
            // A link to itself leads nowhere in Docker either.
            if std::ptr::eq(target, image) {
                continue;
            }
            judged.links += 1;
            judged.guessed += usize::from(lowest(target).is_empty());
            let alias = if link.alias.is_empty() { &link.service } else { &link.alias };
            let one = Link { image, target, alias, components, objects };
            if let Err(fault) = one.leads() {
                judged.faults.push(format!("{}, link to {} as {alias}: {fault}", image.name, target.name));
            }
        }
    }
    judged
}

/// One link, and where it is judged.
struct Link<'a> {
    image: &'a proto::Image,
    target: &'a proto::Image,
    alias: &'a str,
    components: &'a BTreeMap<String, String>,
    objects: &'a Objects,
}

impl Link<'_> {
    fn component(&self, image: &proto::Image) -> Result<&str, String> {
        let component = self.components.get(&image.name).map(String::as_str);
        component.ok_or_else(|| format!("no component for {}", image.name))
    }

    /// Judges the link by what its application reads: the declared variables if there are any, else the alias as a
    /// host name.
    fn leads(&self) -> Result<(), String> {
        let component = self.component(self.image)?;
        let linkers = self.objects.of_component(component);
        if linkers.is_empty() {
            return Err(format!("no pod of {component}"));
        }
        let lowest = lowest(self.target);
        for pod in linkers {
            if lowest.is_empty() {
                self.leads_somewhere(pod, component)?;
            }
            for (port, protocol) in &lowest {
                match self.declared(pod, &format!("_PORT_{port}_{protocol}_ADDR")) {
                    Some(address) => self.leads_by_variables(pod, address, *port, protocol)?,
                    None => self.reaches(&sanitised(self.alias), &port.to_string(), *port, protocol)?,
                }
            }
        }
        Ok(())
    }

    /// Finds a variable of this link that the translation declared. One that the user has set does not count.
    fn declared<'p>(&self, pod: &'p Pod, suffix: &str) -> Option<&'p str> {
        let name = format!("{}{suffix}", prefix(self.alias));
        let is_users = self.image.environment.iter().any(|variable| variable.variable == name);
        pod.variables.get(&name).map(String::as_str).filter(|_| !is_users)
    }

    fn leads_by_variables(&self, pod: &Pod, address: &str, port: i32, protocol: &str) -> Result<(), String> {
        let offered = self.declared(pod, &format!("_PORT_{port}_{protocol}_PORT")).unwrap_or_default();
        self.reaches(host(address), offered, port, protocol)?;
        // What Docker names first is the lowest port; a known image may have a lower one than the template lists.
        let first =
            self.declared(pod, "_PORT").map(|url| url.split_once("://").map_or(url, |(_, place)| place));
        let is_lowest = |place: &str| {
            let (host, first) = place.split_once(':')?;
            Some(host == address && first.parse::<i32>().ok()? <= offered.parse().ok()?)
        };
        match first.map(|place| is_lowest(place).unwrap_or_default()) {
            None | Some(true) => Ok(()),
            Some(false) => Err(format!("{}_PORT is not its lowest port", prefix(self.alias))),
        }
    }

    /// Judges a link to a target without a known port: its Service has an assumed port, or is headless.
    fn leads_somewhere(&self, pod: &Pod, component: &str) -> Result<(), String> {
        let declared = self.declared(pod, "_PORT").and_then(|url| url.split_once("://"));
        let own = format!("{component}-{}", sanitised(self.alias));
        let names = declared.map(|(_, place)| host(place).to_owned()).into_iter();
        let mut names = names.chain([own, sanitised(self.alias)]);
        let service = names.find_map(|name| self.objects.services.get(&name));
        let service = service.ok_or_else(|| format!("no Service {}", sanitised(self.alias)))?;
        self.selects(service)?;
        let is_headless = text(service, "/spec/clusterIP") == "None";
        if is_headless || !list(service, "/spec/ports").is_empty() {
            return Ok(());
        }
        Err(format!("Service {} has no ports and is not headless", text(service, "/metadata/name")))
    }

    /// Checks that the Service selects exactly the target's pods, and that its port leads to this port of theirs.
    fn reaches(&self, name: &str, offered: &str, port: i32, protocol: &str) -> Result<(), String> {
        let service = self.objects.services.get(name).ok_or_else(|| format!("no Service {name}"))?;
        self.selects(service)?;
        let ports = list(service, "/spec/ports");
        let is_it = |one: &&Value| {
            let has = one["protocol"].as_str().unwrap_or("TCP");
            one["port"].as_i64() == offered.parse().ok() && has == protocol
        };
        let leads_to = ports.iter().find(is_it).map(|one| one.get("targetPort").unwrap_or(&one["port"]));
        if leads_to.and_then(Value::as_i64) == Some(i64::from(port)) {
            return Ok(());
        }
        let ports = Value::from(ports);
        Err(format!("port {offered} {protocol} of Service {name} does not lead to port {port}: {ports}"))
    }

    fn selects(&self, service: &Value) -> Result<(), String> {
        let name = text(service, "/metadata/name");
        let selector = service.pointer("/spec/selector").and_then(Value::as_object);
        let selector = selector.filter(|selector| !selector.is_empty());
        let selector = selector.ok_or_else(|| format!("Service {name} selects nothing"))?;
        let is_selected = |pod: &&Pod| {
            selector.iter().all(|(key, value)| pod.labels.get(key).map(String::as_str) == value.as_str())
        };
        let component = self.component(self.target)?;
        let names =
            |pods: Vec<&Pod>| -> BTreeSet<String> { pods.into_iter().map(|pod| pod.name.clone()).collect() };
        let selected = self.objects.pods.iter().filter(is_selected).collect();
        let meant = self.objects.of_component(component);
        let runs_it = |pod: &&Pod| pod.containers.iter().any(|(_, image)| *image == self.target.source);
        if meant.is_empty() || !meant.iter().all(runs_it) {
            return Err(format!("{} is not what the pods of {component} run", self.target.source));
        }
        let (selected, meant) = (names(selected), names(meant));
        if selected == meant {
            return Ok(());
        }
        Err(format!("Service {name} selects {selected:?} and not {meant:?}"))
    }
}

/// The Service in an address: the first part of its DNS name.
fn host(place: &str) -> &str {
    place.split([':', '.']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(name: &str, ports: &[i32]) -> proto::Image {
        let source = format!("example/{name}");
        proto::Image { name: name.to_owned(), source, expose: ports.to_vec(), ..proto::Image::default() }
    }

    /// `App` with a link to `DB_1` as `Data.Base`.
    fn template(ports: &[i32]) -> proto::Template {
        let link = proto::Link { service: "db-1".to_owned(), alias: "Data.Base".to_owned() };
        let app = proto::Image { links: vec![link], ..image("App", &[]) };
        proto::Template { images: vec![app, image("DB_1", ports)], ..proto::Template::default() }
    }

    fn pod(component: &str, image: &str, variables: &[(&str, &str)]) -> Value {
        let variables: Vec<Value> =
            variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "metadata": {"name": format!("{component}-pod"), "labels": {"name": component, "all": "one"}},
            "spec": {"containers": [{"name": component, "image": image, "env": variables}]},
        })
    }

    fn service(name: &str, selector: &Value, ports: &Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": ports}})
    }

    /// The faults of that template with these objects beside the pods.
    fn faults(ports: &[i32], variables: &[(&str, &str)], services: &[Value]) -> Vec<String> {
        let mut objects = Objects::default();
        objects.add("Pod", &pod("app", "example/App", variables));
        objects.add("Deployment", &json!({"spec": {"template": pod("db-1", "example/DB_1", &[])}}));
        for service in services {
            objects.add("Service", service);
        }
        let components = [("App", "app"), ("DB_1", "db-1")];
        let components = components.map(|(image, component)| (image.to_owned(), component.to_owned()));
        let judged = judge(&template(ports), &components.into(), &objects);
        assert_eq!((judged.links, judged.guessed), (1, usize::from(ports.is_empty())));
        judged.faults
    }

    fn is_wrong(faults: &[String], with: &str) {
        assert!(matches!(faults, [one] if one.contains(with)), "{faults:?}");
    }

    #[test]
    fn an_alias_is_a_service_of_exactly_its_target_and_lowest_port() {
        let (db, all) = (json!({"name": "db-1"}), json!({"all": "one"}));
        let right = json!([{"port": 9}, {"port": 80, "targetPort": 80, "protocol": "TCP"}]);
        let ports = [90, 80];
        assert_eq!(faults(&ports, &[], &[service("data-base", &db, &right)]), [""; 0]);
        is_wrong(&faults(&ports, &[], &[service("db", &db, &right)]), "no Service data-base");
        is_wrong(&faults(&ports, &[], &[service("data-base", &all, &right)]), "selects");
        is_wrong(&faults(&ports, &[], &[service("data-base", &json!({}), &right)]), "selects nothing");
        is_wrong(&faults(&ports, &[], &[service("data-base", &json!({"name": "app"}), &right)]), "selects");
        for wrong in [
            json!([]),
            json!([{"port": 90, "targetPort": 90}]),
            json!([{"port": 80, "targetPort": 90}]),
            json!([{"port": 8080, "targetPort": 80}]),
            json!([{"port": 80, "protocol": "UDP"}]),
        ] {
            is_wrong(&faults(&ports, &[], &[service("data-base", &db, &wrong)]), "does not lead to port 80");
        }
    }

    #[test]
    fn declared_variables_are_believed_before_the_name() {
        let (db, app) = (json!({"name": "db-1"}), json!({"name": "app"}));
        let ports = json!([{"port": 8080, "targetPort": 80}]);
        let services = [service("app-data-base", &db, &ports), service("data-base", &app, &ports)];
        let address = ("DATA_BASE_PORT_80_TCP_ADDR", "app-data-base.space.svc");
        let port = ("DATA_BASE_PORT_80_TCP_PORT", "8080");
        let first = ("DATA_BASE_PORT", "tcp://app-data-base.space.svc:8080");
        assert_eq!(faults(&[80], &[address, port, first], &services), [""; 0]);
        is_wrong(
            &faults(&[80], &[address, ("DATA_BASE_PORT_80_TCP_PORT", "80"), first], &services),
            "port 80 ",
        );
        is_wrong(&faults(&[80], &[("DATA_BASE_PORT_80_TCP_ADDR", "data-base"), port], &services), "selects");
        is_wrong(
            &faults(&[80], &[address, port, ("DATA_BASE_PORT", "tcp://x:1")], &services),
            "DATA_BASE_PORT is not its lowest port",
        );
    }

    #[test]
    fn a_target_without_a_port_needs_a_name_at_least() {
        let db = json!({"name": "db-1"});
        let mut headless = service("data-base", &db, &json!([]));
        is_wrong(&faults(&[], &[], std::slice::from_ref(&headless)), "has no ports and is not headless");
        headless["spec"]["clusterIP"] = json!("None");
        assert_eq!(faults(&[], &[], &[headless]), [""; 0]);
        assert_eq!(faults(&[], &[], &[service("app-data-base", &db, &json!([{"port": 3306}]))]), [""; 0]);
        is_wrong(&faults(&[], &[], &[]), "no Service data-base");
    }

    #[test]
    fn links_that_lead_nowhere_are_found_in_every_form() {
        let text = "images:\n- {name: A b, links: [{service: a-B}, {service: c}]}\n- {name: 5, links: [{name: 6}]}\n";
        let found = missing(text).unwrap();
        assert_eq!(
            found,
            ["images[0].links[1].service", "images[1].links[0].service"].map(str::to_owned).into()
        );
        let wire =
            r#"[{"name": "A", "links": [{"service": "A", "alias": "b"}, {"service": "B"}]}, {"name": "C"}]"#;
        assert_eq!(missing(wire).unwrap(), ["images[0].links[1].service".to_owned()].into());
    }
}
