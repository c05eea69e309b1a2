//! Labels and selectors, side by side: what an object carries, and what finds it.

use serde_json::{Map, Value, json};

use super::Context;
use crate::artifacts::{LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, MANAGED_BY};

/// The labels of every object of the component, its pods included.
pub(super) fn of(context: &Context<'_>, component: usize) -> Value {
    let name = context.names[component].as_str();
    json!({
        LABEL_COMPONENT: name,
        LABEL_INSTANCE: context.options.deployment.as_str(),
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_NAME: name,
    })
}

/// Selects the component's pods, and no pod of another deployment.
pub(super) fn selector(context: &Context<'_>, component: usize) -> Value {
    json!({
        LABEL_INSTANCE: context.options.deployment.as_str(),
        LABEL_NAME: context.names[component].as_str(),
    })
}

/// Annotations from pairs.
pub(super) fn annotations(pairs: &[(&str, &str)]) -> Value {
    let map: Map<String, Value> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    Value::Object(map)
}
