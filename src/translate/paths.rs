//! From a field the API server complains about back to the template's path.

use serde_json::Value;

use crate::artifacts::{Artifact, Kind};
use crate::template::{Image, Template};

/// The template's path behind a field of an object, as `spec.containers[0].env[2].name`.
///
/// Falls back to the part of the template the object was made from. Indices are looked up by what stands
/// there, since merged and overridden entries shift them.
pub fn template_path(template: &Template, artifact: &Artifact, api_field: &str) -> String {
    let place = match artifact.reference.kind {
        Kind::Service => service_path(template, artifact, api_field),
        Kind::Pod | Kind::ReplicationController | Kind::Deployment => {
            workload_path(template, artifact, api_field)
        }
        Kind::Secret => secret_path(template, artifact, api_field),
        Kind::PersistentVolumeClaim => claim_path(artifact, api_field),
    };
    place.unwrap_or_else(|| artifact.origin.clone())
}

fn workload_path(template: &Template, artifact: &Artifact, api_field: &str) -> Option<String> {
    let index = index_of(&artifact.origin)?;
    let image = template.images.get(index)?;
    let origin = &artifact.origin;
    if is_name(api_field) {
        return Some(named(api_field, || format!("{origin}.name")));
    }
    if api_field == "spec.replicas" {
        return Some(image.count_path(index));
    }
    let (pod, spec) = match api_field.strip_prefix("spec.template.") {
        Some(inner) => (inner, &artifact.manifest["spec"]["template"]["spec"]),
        None => (api_field, &artifact.manifest["spec"]),
    };
    if is_name(pod) {
        return Some(named(pod, || format!("{origin}.name")));
    }
    if let Some((index, _)) = split_index(pod, "spec.imagePullSecrets") {
        return Some(format!("options.image_pull_secrets[{index}]"));
    }
    if let Some((index, rest)) = split_index(pod, "spec.volumes") {
        let key = if rest.starts_with(".hostPath") { "host_path" } else { "container_path" };
        return volume_path(image, spec, &spec["volumes"][index]["name"], key);
    }
    let container = pod.strip_prefix("spec.containers[0]")?;
    let manifest = &spec["containers"][0];
    let field = container.strip_prefix('.')?;
    if field.starts_with("image") {
        return Some(format!("{origin}.source"));
    }
    if field.starts_with("args") {
        return Some(image.command_path(index));
    }
    if field == "name" {
        return Some(format!("{origin}.name"));
    }
    if let Some((index, _)) = split_index(field, "volumeMounts") {
        return volume_path(image, spec, &manifest["volumeMounts"][index]["name"], "container_path");
    }
    env_path(image, manifest, field).or_else(|| container_port_path(image, manifest, field))
}

/// The entry of `volumes` that became the volume of that name; none for a volume that another image lends.
fn volume_path(image: &Image, spec: &Value, name: &Value, key: &str) -> Option<String> {
    let mounts = spec["containers"][0]["volumeMounts"].as_array()?;
    let mounted = mounts.iter().find(|mount| mount["name"] == *name)?["mountPath"].as_str()?;
    let same =
        |volume: &&crate::template::Volume| super::mountable::normalised(&volume.container_path) == mounted;
    let volume = image.volumes.iter().find(same)?;
    Some(format!("{}.{key}", volume.field))
}

/// `data[DB_PASSWORD]` to `images[0].environment[1].value`.
fn secret_path(template: &Template, artifact: &Artifact, api_field: &str) -> Option<String> {
    let key = api_field.strip_prefix("data")?.trim_matches(['[', ']', '.']);
    let index = index_of(&artifact.origin)?;
    // What the template does not set, the image does.
    let found = super::secrets::kept_under(template.images.get(index)?, key);
    Some(
        found.map_or_else(
            || format!("images[{index}].source"),
            |variable| format!("{}.value", variable.field),
        ),
    )
}

/// What of a claim the options say, and what the volume.
fn claim_path(artifact: &Artifact, api_field: &str) -> Option<String> {
    if api_field.starts_with("spec.resources") {
        return Some("options.volume_size".to_owned());
    }
    if api_field.starts_with("spec.storageClassName") {
        return Some("options.storage_class".to_owned());
    }
    // One that the image declares itself has no path in the template.
    let key = if artifact.origin.ends_with(']') { ".container_path" } else { "" };
    is_name(api_field).then(|| named(api_field, || format!("{}{key}", artifact.origin)))
}

fn is_name(field: &str) -> bool {
    field == "metadata.name"
        || field.starts_with("metadata.labels")
        || field.starts_with("metadata.annotations")
}

/// Annotations can only be too large, and the user's alone can be so large; all else is a name.
fn named(field: &str, name: impl FnOnce() -> String) -> String {
    if field.starts_with("metadata.annotations") { "options.annotations".to_owned() } else { name() }
}

/// `env[2].value` to `images[0].environment[3].value`.
fn env_path(image: &Image, container: &Value, field: &str) -> Option<String> {
    let (index, rest) = split_index(field, "env")?;
    let name = container["env"][index]["name"].as_str()?;
    let variable = image.environment.iter().find(|variable| variable.name.in_full() == name)?;
    Some(match rest {
        ".value" => format!("{}.value", variable.field),
        _ => format!("{}.variable", variable.field),
    })
}

/// `ports[1].hostPort` to `images[0].ports[2].host_port`.
fn container_port_path(image: &Image, container: &Value, field: &str) -> Option<String> {
    let (index, rest) = split_index(field, "ports")?;
    let port = &container["ports"][index];
    let number = port["containerPort"].as_u64()?;
    let protocol = port["protocol"].as_str()?;
    let host = port["hostPort"].as_u64();
    let same = |entry: &&crate::template::Port| {
        u64::from(entry.container.get()) == number && entry.protocol.as_str() == protocol
    };
    let mut entries = image.ports.iter().filter(same);
    let exact = entries.clone().find(|entry| entry.host.map(|host| u64::from(host.get())) == host);
    let entry = exact.or_else(|| entries.next())?;
    Some(match rest {
        ".hostPort" => format!("{}.host_port", entry.field),
        ".hostIP" => entry.interface_field(),
        ".protocol" => format!("{}.proto", entry.field),
        "" => entry.field.to_string(),
        _ => format!("{}.container_port", entry.field),
    })
}

fn service_path(template: &Template, artifact: &Artifact, api_field: &str) -> Option<String> {
    let link = artifact.origin.contains(".links[");
    if api_field == "spec.type" {
        return Some("options.exposure".to_owned());
    }
    if is_name(api_field) || api_field.starts_with("spec.selector") {
        let key = if link { "alias" } else { "name" };
        return Some(named(api_field, || format!("{}.{key}", artifact.origin)));
    }
    let (index, rest) = split_index(api_field.strip_prefix("spec.")?, "ports")?;
    let port = &artifact.manifest["spec"]["ports"][index];
    let number = port["port"].as_u64()?;
    let target = port["targetPort"].as_u64()?;
    let protocol = port["protocol"].as_str()?;
    let component = artifact.component.as_str();
    let place = |image: &Image| {
        super::component_name(image.name.as_str()).is_some_and(|name| name.as_str() == component)
    };
    let index = template.images.iter().position(place)?;
    let image = &template.images[index];
    let mut entries = image
        .ports
        .iter()
        .filter(|entry| u64::from(entry.container.get()) == target && entry.protocol.as_str() == protocol);
    let published =
        entries.clone().find(|entry| entry.host.is_some_and(|host| u64::from(host.get()) == number));
    let asks_for_target = rest == ".targetPort" || number == target;
    if let Some(entry) = published.filter(|_| !asks_for_target) {
        return Some(format!("{}.host_port", entry.field));
    }
    if let Some(entry) = entries.next() {
        return Some(format!("{}.container_port", entry.field));
    }
    let exposed = image
        .expose
        .iter()
        .find(|entry| u64::from(entry.container.get()) == target && entry.protocol.as_str() == protocol);
    Some(exposed.map_or_else(|| format!("images[{index}].ports"), |entry| entry.field.to_string()))
}

/// `env[2].name` with the list `env` to 2 and `.name`.
fn split_index<'f>(field: &'f str, list: &str) -> Option<(usize, &'f str)> {
    let (index, rest) = field.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// `images[3]` to 3.
fn index_of(origin: &str) -> Option<usize> {
    split_index(origin, "images").map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{DeploymentName, ObjectName, ObjectRef};
    use crate::template::raw;
    use crate::template::validate::{Limits, from_text};
    use crate::translate::{Options, Profile, Rules, translate};

    const TEMPLATE: &str = "images:
- name: web
  source: shop/web:1
  command: run it
  links: [{service: db, alias: store}]
- name: db
  source: mysql:5.5
  deployment: {count: 2}
  environment:
  - {variable: A, value: first}
  - {variable: A, value: last}
  - {variable: B, value: b}
  ports:
  - {container_port: 3306}
  - {container_port: 3306, host_port: 13306}
  - {container_port: 22, host_port: 22}
  expose: [99]
";

    fn path(changes: Option<&str>, kind: Kind, name: &str, field: &str) -> String {
        let changes = changes.and_then(|text| raw::read(text).template);
        let template = from_text(TEMPLATE, changes, &Limits::default()).0.template.unwrap();
        let options = Options::new(DeploymentName::new("one").unwrap());
        let artifacts = translate(&template, &options).artifacts.unwrap();
        let reference = ObjectRef::new(kind, ObjectName::new(name).unwrap());
        template_path(&template, artifacts.get(&reference).unwrap(), field)
    }

    fn db(field: &str) -> String {
        let field = format!("spec.template.spec.containers[0].{field}");
        path(None, Kind::ReplicationController, "db-replication-controller", &field)
    }

    #[test]
    fn pods_and_controllers_lead_back_to_their_image() {
        let pod = |field: &str| path(None, Kind::Pod, "web-pod", field);
        assert_eq!(pod("metadata.name"), "images[0].name");
        assert_eq!(pod("spec.containers[0].image"), "images[0].source");
        assert_eq!(pod("spec.containers[0].args[1]"), "images[0].command");
        assert_eq!(pod("spec.containers[0].name"), "images[0].name");
        assert_eq!(pod("spec.restartPolicy"), "images[0]");
        let controller =
            |field: &str| path(None, Kind::ReplicationController, "db-replication-controller", field);
        assert_eq!(controller("spec.replicas"), "images[1].deployment.count");
        assert_eq!(controller("spec.template.metadata.labels"), "images[1].name");
    }

    #[test]
    fn merged_entries_do_not_shift_the_path() {
        assert_eq!(db("env[0].name"), "images[1].environment[1].variable");
        assert_eq!(db("env[1].value"), "images[1].environment[2].value");
        assert_eq!(db("ports[0].hostPort"), "images[1].ports[1].host_port");
        assert_eq!(db("ports[1].containerPort"), "images[1].ports[2].container_port");
        assert_eq!(db("ports[1].protocol"), "images[1].ports[2].proto");
        assert_eq!(db("ports[7].protocol"), "images[1]");
        assert_eq!(db("env[9].name"), "images[1]");
    }

    #[test]
    fn what_options_and_volumes_became_leads_back_to_them() {
        let text = "images:\n- name: db\n  source: mysql:5.5\n  environment:\n  - {variable: PASSWORD, value: x}\n  \
            volumes:\n  - {container_path: /etc}\n  - {container_path: //data/}\n";
        let template = from_text(text, None, &Limits::default()).0.template.unwrap();
        let options = Options::with(DeploymentName::new("one").unwrap(), Rules::of(Profile::Modern));
        let artifacts = translate(&template, &options).artifacts.unwrap();
        let path = |kind: Kind, field: &str| {
            let artifact = artifacts.objects().iter().find(|one| one.reference.kind == kind).unwrap();
            template_path(&template, artifact, field)
        };
        let pod = |field: &str| path(Kind::Deployment, &format!("spec.template.spec.{field}"));
        assert_eq!(pod("volumes[0].persistentVolumeClaim"), "images[0].volumes[1].container_path");
        assert_eq!(pod("volumes[0].hostPath.path"), "images[0].volumes[1].host_path");
        assert_eq!(pod("containers[0].volumeMounts[0].mountPath"), "images[0].volumes[1].container_path");
        assert_eq!(pod("imagePullSecrets[2].name"), "options.image_pull_secrets[2]");
        assert_eq!(path(Kind::Secret, "data[PASSWORD]"), "images[0].environment[0].value");
        assert_eq!(path(Kind::Secret, "type"), "images[0].environment");
        let claim = |field: &str| path(Kind::PersistentVolumeClaim, field);
        assert_eq!(claim("spec.resources.requests[storage]"), "options.volume_size");
        assert_eq!(claim("spec.storageClassName"), "options.storage_class");
        assert_eq!(claim("metadata.name"), "images[0].volumes[1].container_path");
    }

    #[test]
    fn what_the_override_brought_leads_to_the_override() {
        let changes = "images: [{name: web, environment: [{variable: X, value: y}]}]";
        let field = path(Some(changes), Kind::Pod, "web-pod", "spec.containers[0].env[0].name");
        assert_eq!(field, "override.images[0].environment[0].variable");
    }

    #[test]
    fn services_lead_back_to_their_link_and_their_ports() {
        let alias = |field: &str| path(None, Kind::Service, "store", field);
        assert_eq!(alias("metadata.name"), "images[0].links[0].alias");
        assert_eq!(alias("spec.ports[0].port"), "images[1].ports[2].container_port");
        assert_eq!(alias("spec.ports[1].port"), "images[1].expose[0]");
        assert_eq!(alias("spec.ports[2].port"), "images[1].ports[1].container_port");
        assert_eq!(alias("spec.ports[3].port"), "images[1].ports[1].host_port");
        assert_eq!(alias("spec.ports[3].targetPort"), "images[1].ports[1].container_port");
        assert_eq!(alias("spec.clusterIP"), "images[0].links[0]");
        assert_eq!(path(None, Kind::Service, "db", "metadata.name"), "images[1].name");
    }
}
