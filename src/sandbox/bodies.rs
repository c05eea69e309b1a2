//! Reads the bodies of requests and refuses those that do not fit.
use super::failure::Failure;
use super::fields;
use super::kinds::unknown_fields;
use super::writes::{Options, Target};
use serde_json::{Value, json};

/// Reads a whole object; unknown fields are refused in strict mode and dropped otherwise.
pub fn whole(target: &Target, body: &Value, options: &Options) -> Result<Value, Failure> {
    check_identity(target, body)?;
    let kind = target.kind;
    let cannot = |why: String| {
        let name = kind.name;
        Failure::bad_request(format!("{name} in version \"v1\" cannot be handled as a {name}: {why}"))
    };
    let mut typed = body.clone();
    typed["apiVersion"] = json!(kind.api_version());
    typed["kind"] = json!(kind.name);
    let object = kind.read(&typed).map_err(cannot)?;
    let unknown = unknown_fields(body, &object);
    if options.strict && !unknown.is_empty() {
        let list: Vec<_> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
        return Err(cannot(format!("strict decoding error: {}", list.join(", "))));
    }
    Ok(object)
}

/// Checks a configuration; what does not fit the schema is refused in every mode, as the real server does.
pub fn configuration(target: &Target, config: &Value) -> Result<(), Failure> {
    check_identity(target, config)?;
    let cannot = |why: String| Failure::schema(format!("failed to create typed patch object: {why}"));
    let read = target.kind.read(config).map_err(cannot)?;
    if let Some(field) = unknown_fields(config, &read).first() {
        return Err(cannot(format!(".{field}: field not declared in schema")));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    match fields::duplicate_key(&mut Vec::new(), config) {
        Some(list) => Err(cannot(format!("{list}: duplicate entries for one key"))),
        None => Ok(()),
    }
}

fn check_identity(target: &Target, body: &Value) -> Result<(), Failure> {
    let kind = target.kind;
    let differs =
        |field: &Value, wanted: &str| field.as_str().is_some_and(|text| !text.is_empty() && text != wanted);
    if !body.is_object() || !(body["metadata"].is_object() || body["metadata"].is_null()) {
        return Err(Failure::bad_request("the body is not an object"));
    }
    if differs(&body["kind"], kind.name) || differs(&body["apiVersion"], &kind.api_version()) {
        let message =
            format!("the object provided is unrecognized: expected {} {}", kind.api_version(), kind.name);
        return Err(Failure::bad_request(message));
    }
    if kind.namespaced && differs(&body["metadata"]["namespace"], target.namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(message));
    }
    if !target.name.is_empty() && differs(&body["metadata"]["name"], target.name) {
        let message = format!("the name of the object does not match the name on the URL ({})", target.name);
        return Err(Failure::bad_request(message));
    }
    Ok(())
}
