//! Pure: a template to Kubernetes objects; the same input gives the same bytes, and every loss is reported.

mod claim_names;
mod commands;
mod configured;
mod environment;
mod files;
mod fill;
mod groups;
mod hosts;
mod inherited;
pub mod known_images;
mod known_ports;
mod labels;
mod lending;
mod links;
mod manifest;
mod mountable;
mod mounts;
pub mod naming;
mod paths;
mod ports;
mod rules;
mod secrets;
mod service;
mod share;
mod sharing;
mod size;
mod volumes;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::artifacts::{Artifacts, ComponentName, DeploymentName, Kind, ObjectName, ObjectRef, Packed};
use crate::diagnostic::{Diagnostic, Findings};
use crate::template::{Image, Port, Template};
use links::ResolvedLink;
use ports::ImagePorts;
use size::Made;
use workload::Parts;

pub use manifest::{document as object_yaml, manifest_yaml};
pub use naming::{component_name, name_faults};
pub use paths::template_path;
pub use rules::{
    Exposure, HostPorts, LinkEnvironment, Profile, Rules, SecretHandling, VolumeFilling, VolumeMapping,
    Workload,
};
pub use size::{MAX_OBJECT as MAX_OBJECT_BYTES, MAX_TOTAL as MAX_OBJECTS_BYTES};

/// The most objects one template may become.
pub const MAX_OBJECTS: usize = 256;

/// What a translation depends on beside the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The deployment's name; every object is labelled with it, and every selector asks for it.
    pub deployment: DeploymentName,
    /// Components that already run as ReplicationControllers and stay so, whatever their count.
    #[serde(default)]
    pub controllers: BTreeSet<ComponentName>,
    /// Claims that are there already and are mounted at their roots: they were made before claims had a layout.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub claims_at_root: BTreeSet<ObjectName>,
    /// What becomes of the template's parts.
    #[serde(default)]
    pub rules: Rules,
}

impl Options {
    /// Profile CLASSIC for a deployment of this name.
    pub fn new(deployment: DeploymentName) -> Self {
        Self::with(deployment, Rules::default())
    }

    /// These rules for a deployment of this name.
    pub fn with(deployment: DeploymentName, rules: Rules) -> Self {
        Self { deployment, controllers: BTreeSet::new(), claims_at_root: BTreeSet::new(), rules }
    }
}

/// What a template was translated to.
#[derive(Debug)]
pub struct Translation {
    /// The objects; absent when a diagnostic is an error, so nothing is ever half translated.
    pub artifacts: Option<Artifacts>,
    /// Every loss, every assumption, every fault.
    pub diagnostics: Vec<Diagnostic>,
}

/// One image of a template as a part of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The image's name as the template has it.
    pub image_name: String,
    /// The name its objects are called after.
    pub name: ComponentName,
    /// The container image.
    pub source: String,
    /// The replicas the template asks for.
    pub count: u32,
}

/// Translates a template as its rules say: as the seed's page does, to the Kubernetes API of today, unless they
/// say otherwise.
pub fn translate(template: &Template, options: &Options) -> Translation {
    let mut findings = Findings::default();
    let objects = objects(template, options, &mut findings);
    let artifacts = match objects {
        Some(objects) if !findings.refuse() => Some(Artifacts::of_packed(objects)),
        _ => None,
    };
    Translation { artifacts, diagnostics: findings.into_vec() }
}

/// The deployment's name that a template's name gives; `None` when it has no letter and no digit.
pub fn slug(template_name: &str) -> Option<DeploymentName> {
    naming::fit(template_name, DeploymentName::LIMIT).and_then(|fitted| DeploymentName::new(fitted.text).ok())
}

/// What a deployment that is called after its template tells of its name: that it was cut, or changed beyond letter case.
pub fn tell_slug(template_name: &str, slug: &DeploymentName, findings: &mut Findings) {
    let mut told = Findings::default();
    naming::tell_change(template_name, slug.as_str(), "name", &mut told);
    let advice = "nothing has to be done, unless another template's name becomes the same: choose one with `name` of the request (`--name`)";
    told.into_vec().into_iter().for_each(|found| findings.push(found.advising(advice)));
}

/// The components of a template, in the order of its images; two that share a name are both left out.
pub fn components(template: &Template) -> Vec<Component> {
    let names = naming::component_names(template, &mut Findings::default());
    let with_name = |(image, name): (&Image, Option<ComponentName>)| {
        Some(Component {
            image_name: image.name.as_str().to_owned(),
            name: name?,
            source: image.source.as_str().to_owned(),
            count: count(image),
        })
    };
    template.images.iter().zip(names.per_image()).filter_map(with_name).collect()
}

/// Whether a template becomes the same objects if other components run as controllers already: those make no difference
/// that its counts or its rules make controllers anyway, nor those that it does not have.
pub fn is_same_with(template: &Template, options: &Options, controllers: &BTreeSet<ComponentName>) -> bool {
    let is_free = options.rules.workload == Workload::PodOrReplicationController;
    let differs = |name: &ComponentName| options.controllers.contains(name) != controllers.contains(name);
    let mut single = components(template).into_iter().filter(|component| component.count == 1);
    options.controllers == *controllers || !is_free || !single.any(|component| differs(&component.name))
}

/// The components for which the template has no count: it has no opinion about them.
pub fn uncounted(template: &Template) -> BTreeSet<ComponentName> {
    let names = naming::component_names(template, &mut Findings::default());
    let images = template.images.iter().zip(names.per_image());
    images.filter(|(image, _)| image.count.is_none()).filter_map(|(_, name)| name).collect()
}

/// For each component, the Services its links lead to.
pub fn linked_services(template: &Template) -> BTreeMap<ComponentName, BTreeSet<ObjectRef>> {
    let mut findings = Findings::default();
    let mut services: BTreeMap<ComponentName, BTreeSet<ObjectRef>> = BTreeMap::new();
    let Some(names) = naming::component_names(template, &mut findings).all() else { return services };
    let Ok(deployment) = DeploymentName::new("any") else { return services };
    let options = Options::new(deployment);
    let context = Context { template, options: &options, names };
    for link in links::resolve(&context, &mut findings) {
        if let Ok(name) = ObjectName::new(link.service) {
            let linked = services.entry(context.names[link.linker].clone()).or_default();
            linked.insert(ObjectRef::new(Kind::Service, name));
        }
    }
    services
}

/// Whether a claim that is there already would be mounted where a new one is not made: a version before took what is
/// likely a file for a directory.
pub fn may_have_left_claims(template: &Template, rules: &Rules) -> bool {
    let mapping = rules.volumes;
    let mut volumes = template.images.iter().flat_map(|image| &image.volumes);
    mapping == VolumeMapping::PersistentVolumeClaim
        && volumes.any(|volume| mountable::refusal(mapping, volume).is_some())
}

/// The replicas an image asks for.
fn count(image: &Image) -> u32 {
    image.count.map_or(1, |count| count.get())
}

/// What every part of the translation looks at.
struct Context<'t> {
    template: &'t Template,
    options: &'t Options,
    names: Vec<ComponentName>,
}

impl Context<'_> {
    fn rules(&self) -> &Rules {
        &self.options.rules
    }

    /// The kind of object that runs the image of that index.
    fn kind_of(&self, index: usize) -> Kind {
        let controlled = || {
            count(&self.template.images[index]) != 1 || self.options.controllers.contains(&self.names[index])
        };
        match self.rules().workload {
            Workload::Deployment => Kind::Deployment,
            Workload::PodOrReplicationController if controlled() => Kind::ReplicationController,
            Workload::PodOrReplicationController => Kind::Pod,
        }
    }

    /// Whether containers take the host ports of the template on their nodes.
    fn keeps_host_ports(&self) -> bool {
        self.rules().host_ports == HostPorts::Keep
    }

    /// Whether the image is to be reached from outside the cluster: it publishes a port, as Docker would.
    fn is_exposed(&self, image: &Image) -> bool {
        self.rules().exposure != Exposure::ClusterIp && image.ports.iter().any(Port::is_open)
    }

    /// Whether the Service of this link is its target's own, and is reached from outside the cluster.
    ///
    /// It is not where the link reaches a port that is not published: then what is published has a Service beside it.
    fn opens_outside(&self, link: &ResolvedLink<'_>, ports: &ImagePorts<'_>) -> bool {
        self.names[link.target].as_str() == link.service
            && self.is_exposed(&self.template.images[link.target])
            && !ports.keeps_inside
    }

    /// Whether the image has a Service called after itself, if it has ports.
    ///
    /// What a controller runs needs one for all its pods, and a port that no node offers needs one at all.
    fn has_own_service(&self, index: usize) -> bool {
        let offers = !self.keeps_host_ports() || self.is_exposed(&self.template.images[index]);
        offers || self.kind_of(index).is_controller()
    }
}

fn objects(template: &Template, options: &Options, findings: &mut Findings) -> Option<Vec<Packed>> {
    let names = naming::component_names(template, findings).all()?;
    let context = Context { template, options, names };
    let share = share::of(template, &options.rules.facts);
    let ports = ports::of_images(&context);
    let links = links::resolve(&context, findings);
    let services = service::plan(&context, &ports, &links, &share, findings);
    hosts::tell(&context, &links, &services, findings);
    environment::tell_service_variables(&context, &services, findings);
    let secrets = secrets::of_images(&context, findings);
    let volumes = volumes::of_images(&context, &share, findings);
    let linked = environment::Linked { links: &links, ports: &ports, secrets: &secrets };
    let mut made = Made::default();
    made.extend(services.iter().map(|service| service.artifact(&context)), findings);
    let mut left = environment::Left::new(&share);
    for (index, mounts) in volumes.iter().enumerate() {
        let mut variables = environment::Entries::default();
        environment::add_own(&context, index, &secrets[index], &mut variables);
        environment::add_links(&context, index, &linked, &mut left, &mut variables, findings);
        made.extend(secrets::artifact(&context, index, &secrets[index]), findings);
        made.extend(volumes::claims(&context, index, mounts), findings);
        let hostname = hosts::hostname(&context, index, &links);
        commands::tell(&template.images[index], index, findings);
        let variables = variables.list();
        let parts = Parts { has_environment: variables.is_some(), mounts, hostname };
        if let Some(workload) = workload::artifact(&context, index, parts, findings) {
            made.push(Packed::with_list(workload, workload::ENVIRONMENT, variables.as_deref()), findings);
        }
    }
    workload::tell_host_ports(&context, &services, findings);
    workload::tell_baseline(&context, &volumes, findings);
    configured::tell(&context, &volumes, findings);
    Some(made.all(findings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;
    use crate::template::validate::{Limits, from_text};

    fn template(text: &str) -> Template {
        let (validated, _) = from_text(text, None, &Limits::default());
        validated.template.unwrap_or_else(|| panic!("{:?}", validated.diagnostics))
    }

    fn codes(text: &str) -> Vec<Code> {
        let options = Options::new(DeploymentName::new("one").unwrap());
        translate(&template(text), &options).diagnostics.iter().map(|found| found.code).collect()
    }

    #[test]
    fn slugs_are_deployment_names_or_nothing() {
        assert_eq!(slug("Wordpress with MySQL").unwrap().as_str(), "wordpress-with-mysql");
        assert_eq!(slug(""), None);
        assert_eq!(slug("___"), None);
        assert_eq!(slug(&"x".repeat(250)).unwrap().as_str().len(), 63);
    }

    #[test]
    fn components_have_their_names_and_counts() {
        let text =
            "images:\n- {name: WP_1, source: 'a:1'}\n- {name: DB, source: 'b:1', deployment: {count: 0}}\n";
        let components = components(&template(text));
        let names: Vec<_> = components.iter().map(|one| (one.name.as_str(), one.count)).collect();
        assert_eq!(names, [("wp-1", 1), ("db", 0)]);
    }

    #[test]
    fn controllers_that_there_are_anyway_make_no_difference() {
        let text =
            "images:\n- {name: one, source: 'a:1'}\n- {name: two, source: 'b:1', deployment: {count: 2}}\n";
        let template = template(text);
        let all = ["one", "two", "gone"].map(|name| ComponentName::new(name).unwrap());
        for workload in [Workload::PodOrReplicationController, Workload::Deployment] {
            let rules = Rules { workload, ..Rules::default() };
            let options = Options::with(DeploymentName::new("app").unwrap(), rules);
            let objects = |controllers: &BTreeSet<ComponentName>| {
                let options = Options { controllers: controllers.clone(), ..options.clone() };
                let artifacts = translate(&template, &options).artifacts.unwrap();
                artifacts.objects().to_vec()
            };
            for chosen in 0..8 {
                let named = all.iter().enumerate().filter(|(index, _)| chosen >> index & 1 == 1);
                let controllers: BTreeSet<_> = named.map(|(_, name)| name.clone()).collect();
                let is_same = objects(&controllers) == objects(&BTreeSet::new());
                assert_eq!(is_same_with(&template, &options, &controllers), is_same, "{controllers:?}");
            }
        }
    }

    #[test]
    fn more_objects_than_allowed_are_refused() {
        let mut text = String::from("images:\n- {name: hub, source: 'mysql:5'}\n");
        for image in 0..3 {
            let links: Vec<_> =
                (0..64).map(|link| format!("{{service: hub, alias: a{image}x{link}}}")).collect();
            text.push_str(&format!("- {{name: i{image}, source: 'a:1', links: [{}]}}\n", links.join(", ")));
        }
        assert!(!codes(&text).contains(&Code::TooManyObjects));
        text.push_str("- name: last\n  source: a:1\n  links:\n");
        for link in 0..60 {
            text.push_str(&format!("  - {{service: hub, alias: last{link}}}\n"));
        }
        assert!(codes(&text).contains(&Code::TooManyObjects));
    }

    #[test]
    fn objects_that_are_too_large_are_refused_before_they_grow() {
        // Declared variables repeat the target's environment in every linker.
        let value = "$(".repeat(14_400);
        let variables: Vec<_> = (0..8)
            // One is shorter, by as much as the link's name takes: `/yy/a0`.
            .map(|index| (index, if index == 0 { &value[6..] } else { &value[..] }))
            .map(|(index, value)| format!("{{variable: V{index}, value: '{value}'}}"))
            .collect();
        let text = format!(
            "images:\n- {{name: big, source: 'a:1', environment: [{}]}}\n- {{name: x, source: 'a:1'}}\n",
            variables.join(", ")
        );
        let linked = |count: usize| {
            let links: Vec<_> = (0..count).map(|link| format!("{{service: big, alias: a{link}}}")).collect();
            format!("{text}- {{name: yy, source: 'a:1', links: [{}]}}\n", links.join(", "))
        };
        let refused = |count: usize| {
            let rules = Rules { link_environment: LinkEnvironment::Declared, ..Rules::default() };
            let options = Options::with(DeploymentName::new("one").unwrap(), rules);
            let found = translate(&template(&linked(count)), &options).diagnostics;
            let refuse = found.into_iter().filter(Diagnostic::is_error);
            refuse.map(|found| (found.code, found.field)).collect::<Vec<_>>()
        };
        // Three links have 675 KiB of values, which are longer in the object; the share is 96 KiB and three times the text.
        assert_eq!(refused(1), []);
        assert_eq!(refused(3), [(Code::ObjectTooLarge, "images[2]".to_owned())]);
        assert_eq!(refused(4), [(Code::ObjectTooLarge, "images[2].links".to_owned())]);
    }

    #[test]
    fn a_service_may_not_hide_the_api_server() {
        let text = "images:\n- {name: a, source: 'a:1', links: [{service: b, alias: kubernetes}]}\n- {name: b, source: 'b:1'}\n";
        assert!(codes(text).contains(&Code::NameReserved));
    }

    #[test]
    fn options_read_back_with_only_the_deployment() {
        let options: Options = serde_json::from_str(r#"{"deployment":"one"}"#).unwrap();
        assert_eq!(options, Options::new(DeploymentName::new("one").unwrap()));
    }
}
