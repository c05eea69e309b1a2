//! What an apply may do to an object, as its body says it.

use serde_json::Value;

use crate::artifacts::Form;

/// What an apply may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Make the object; it must not be there.
    CreateOnly,
    /// Change this object; never make one.
    UpdateOnly(Form),
    /// The same, and take every field from whoever holds it.
    TakeFields(Form),
}

impl Guard {
    /// Whether it means a later form of the object that `earlier` means.
    pub(super) fn is_later_form_of(&self, earlier: &Guard) -> bool {
        match (self, earlier) {
            (Guard::UpdateOnly(now), Guard::UpdateOnly(then))
            | (Guard::TakeFields(now), Guard::TakeFields(then)) => {
                now.uid == then.uid && now.version != then.version
            }
            _ => false,
        }
    }

    /// The form of the object that is meant, if there is to be one.
    pub fn form(&self) -> Option<&Form> {
        match self {
            Guard::CreateOnly => None,
            Guard::UpdateOnly(form) | Guard::TakeFields(form) => Some(form),
        }
    }

    /// The same for the form that is there now.
    pub(super) fn on(&self, form: Form) -> Guard {
        match self {
            Guard::CreateOnly | Guard::UpdateOnly(_) => Guard::UpdateOnly(form),
            Guard::TakeFields(_) => Guard::TakeFields(form),
        }
    }
}

/// The manifest with its guard: a resourceVersion no object has, or the uid and version of the object that is meant.
pub(super) fn guarded(manifest: &Value, guard: &Guard) -> Value {
    let (uid, version) = match guard {
        Guard::CreateOnly => (None, Some("1")),
        Guard::UpdateOnly(form) | Guard::TakeFields(form) => {
            (Some(form.uid.as_str()), form.version.as_deref())
        }
    };
    let mut body = manifest.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        let marks = [("uid", uid), ("resourceVersion", version)].into_iter();
        let marks = marks.filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
        metadata.extend(marks);
    }
    body
}
