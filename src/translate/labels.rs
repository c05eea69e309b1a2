//! Labels and selectors, side by side: what an object carries, and what finds it.

use serde_json::{Map, Value, json};

use super::Context;
use super::manifest::object;
use crate::artifacts::{
    ANNOTATION_IMAGE, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY,
};

/// The labels of every object of the component, its pods included: the user's, then ours.
pub(super) fn of(context: &Context<'_>, component: usize) -> Value {
    let name = context.names[component].as_str();
    let users = context.rules().labels.iter();
    let mut labels: Map<String, Value> =
        users.map(|(key, value)| (key.to_string(), json!(value.as_str()))).collect();
    for (key, value) in [
        (LABEL_COMPONENT, name),
        (LABEL_INSTANCE, context.options.deployment.as_str()),
        (LABEL_MANAGED_BY, MANAGED_BY),
        (LABEL_NAME, name),
    ] {
        labels.insert(key.to_owned(), json!(value));
    }
    Value::Object(labels)
}

/// Selects the component's pods, and no pod of another deployment.
pub(super) fn selector(context: &Context<'_>, component: usize) -> Value {
    json!({
        LABEL_INSTANCE: context.options.deployment.as_str(),
        LABEL_NAME: context.names[component].as_str(),
    })
}

/// The annotations of an object of the component: the user's, the image's name as written, and one more.
pub(super) fn annotations(context: &Context<'_>, component: usize, more: Option<(&str, &str)>) -> Value {
    let users = context.rules().annotations.iter();
    let mut annotations: Map<String, Value> =
        users.map(|(key, value)| (key.to_string(), json!(value))).collect();
    let image = context.template.images[component].name.as_str();
    for (key, value) in std::iter::once((ANNOTATION_IMAGE, image)).chain(more) {
        annotations.insert(key.to_owned(), json!(value));
    }
    Value::Object(annotations)
}

/// The metadata of an object of the component.
pub(super) fn metadata(context: &Context<'_>, component: usize, name: &str) -> Value {
    metadata_with(context, component, name, None)
}

/// The same with one more annotation.
pub(super) fn metadata_with(
    context: &Context<'_>,
    component: usize,
    name: &str,
    more: Option<(&str, &str)>,
) -> Value {
    object([
        ("annotations", annotations(context, component, more)),
        ("labels", of(context, component)),
        ("name", name.into()),
    ])
}
