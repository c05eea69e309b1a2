//! The objects of a deployment, each as the text it is sent as: a tree of values takes ten times as much memory.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

use super::{Artifact, ComponentName, Namespace, ObjectRef};

/// One object a template becomes, with its manifest as JSON text.
#[derive(Clone)]
pub struct Packed {
    /// Kind and name.
    pub reference: ObjectRef,
    /// The template's part it was made from.
    pub origin: String,
    component: ComponentName,
    text: Box<str>,
}

impl Packed {
    /// Packs an object.
    pub fn new(artifact: Artifact) -> Self {
        let Artifact { reference, component, origin, manifest } = artifact;
        Self { reference, origin, component, text: manifest.to_string().into_boxed_str() }
    }

    /// Packs an object and puts a list, as JSON text, where the manifest says null under a key.
    pub fn with_list(artifact: Artifact, key: &str, list: Option<&str>) -> Self {
        let mut packed = Self::new(artifact);
        let empty = format!("\"{key}\":null");
        // No text in JSON has an unescaped quote, so this is a key.
        if let (Some(list), Some((before, behind))) = (list, packed.text.split_once(&empty)) {
            let key = empty.strip_suffix("null").unwrap_or_default();
            packed.text = [before, key, list, behind].concat().into_boxed_str();
        }
        packed
    }

    /// The bytes of its manifest, in JSON or with the escapes that YAML demands beside those of JSON.
    pub fn size(&self) -> usize {
        // Each has three bytes, the first of which few others have, and six as an escape.
        let escaped = match self.text.as_bytes().contains(&0xef) {
            true => self.text.matches(['\u{feff}', '\u{fffe}', '\u{ffff}']).count(),
            false => 0,
        };
        self.text.len() + 3 * escaped
    }

    fn unpacked(&self) -> Artifact {
        Artifact {
            reference: self.reference.clone(),
            component: self.component.clone(),
            origin: self.origin.clone(),
            // What was written from a value is read as that value.
            manifest: serde_json::from_str(&self.text).unwrap_or(Value::Null),
        }
    }
}

impl fmt::Debug for Packed {
    /// Leaves the manifest out: it holds the values of the environment.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Packed").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// The objects of one deployment, in the order of applying.
///
/// They stay packed until somebody asks for all of them at once.
#[derive(Clone, Debug)]
pub struct Artifacts {
    packed: Vec<Packed>,
    objects: OnceLock<Vec<Artifact>>,
}

impl Artifacts {
    /// Sorts the objects into the order of applying: by kind, then by name.
    pub fn new(mut objects: Vec<Artifact>) -> Self {
        objects.sort_by(|left, right| left.reference.cmp(&right.reference));
        Self { packed: Vec::new(), objects: OnceLock::from(objects) }
    }

    /// The same of packed objects.
    pub fn of_packed(mut packed: Vec<Packed>) -> Self {
        packed.sort_by(|left, right| left.reference.cmp(&right.reference));
        Self { packed, objects: OnceLock::new() }
    }

    /// The same objects, each with the namespace in its manifest.
    pub fn within(&self, namespace: &Namespace) -> Self {
        let named = |artifact: Cow<'_, Artifact>| {
            let mut artifact = artifact.into_owned();
            artifact.manifest["metadata"]["namespace"] = namespace.as_str().into();
            Packed::new(artifact)
        };
        Self { packed: self.one_by_one().map(named).collect(), objects: OnceLock::new() }
    }

    /// The objects, in the order of applying; from now on all of them are held unpacked.
    pub fn objects(&self) -> &[Artifact] {
        self.objects.get_or_init(|| self.packed.iter().map(Packed::unpacked).collect())
    }

    /// The objects one after the other, in the order of applying; none is held longer than its reader does.
    pub fn one_by_one(&self) -> impl Iterator<Item = Cow<'_, Artifact>> {
        let held = self.objects.get();
        let packed = self.packed.iter().filter(move |_| held.is_none());
        let held = held.into_iter().flatten().map(Cow::Borrowed);
        held.chain(packed.map(|packed| Cow::Owned(packed.unpacked())))
    }

    /// The object of that kind and name.
    pub fn get(&self, reference: &ObjectRef) -> Option<&Artifact> {
        self.objects().iter().find(|artifact| artifact.reference == *reference)
    }
}

impl PartialEq for Artifacts {
    /// Compares the objects, packed or not.
    fn eq(&self, other: &Self) -> bool {
        self.one_by_one().eq(other.one_by_one())
    }
}

impl Eq for Artifacts {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Kind, ObjectName};
    use super::*;

    fn artifact(name: &str) -> Artifact {
        Artifact {
            reference: ObjectRef::new(Kind::Pod, ObjectName::new(name).unwrap()),
            component: ComponentName::new("web").unwrap(),
            origin: "images[0]".to_owned(),
            manifest: json!({ "a": [1, -2, 1.5, true, null, "\u{fffe}\n\"é"], "name": name }),
        }
    }

    #[test]
    fn a_list_stands_where_nothing_was() {
        let mut with = artifact("a");
        with.manifest["name"] = json!("\"list\":null");
        with.manifest["spec"] = json!({ "list": null });
        let packed = Artifacts::of_packed(vec![Packed::with_list(with.clone(), "list", Some("[1,{}]"))]);
        with.manifest["spec"]["list"] = json!([1, {}]);
        assert_eq!(packed.objects(), [with]);
    }

    #[test]
    fn a_namespace_stands_in_every_manifest_and_nothing_else_changes() {
        let plain = Artifacts::new(vec![artifact("b"), artifact("a")]);
        let within = plain.within(&Namespace::new("shop").unwrap());
        for (mut within, plain) in within.one_by_one().map(Cow::into_owned).zip(plain.objects()) {
            let metadata = within.manifest.as_object_mut().unwrap().remove("metadata").unwrap();
            assert_eq!(metadata, json!({ "namespace": "shop" }));
            assert_eq!(&within, plain);
        }
    }

    #[test]
    fn what_was_packed_is_unpacked_unchanged_and_in_order() {
        let all = || vec![artifact("b"), artifact("a")];
        let packed = Artifacts::of_packed(all().into_iter().map(Packed::new).collect());
        let plain = Artifacts::new(all());
        assert_eq!(packed, plain);
        assert_eq!(packed.one_by_one().map(Cow::into_owned).collect::<Vec<_>>(), plain.objects());
        assert_eq!(packed.objects(), plain.objects());
        assert_eq!(packed.one_by_one().count(), 2);
        assert_eq!(packed.get(&artifact("b").reference), Some(&artifact("b")));
        assert!(!format!("{:?}", Packed::new(artifact("a"))).contains("fffe"));
    }
}
