//! Variables whose names look secret: which they are, and the Secret of a component that holds them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::inherited::inherited;
use super::naming::{object_name, with_hash};
use super::{Context, SecretHandling, labels};
use crate::artifacts::{Artifact, Kind, ObjectRef};
use crate::diagnostic::{Code, Findings};
use crate::template::{Image, Variable, VariableName};

/// The longest key of a Secret (Kubernetes).
const MAX_KEY: usize = 253;

/// The secret variables of one image: each one's name and its key in the Secret.
#[derive(Default)]
pub(super) struct SecretVariables(BTreeMap<VariableName, String>);

impl SecretVariables {
    /// The key of a variable; `None` if the variable is not secret.
    pub(super) fn key(&self, variable: &VariableName) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }
}

/// Finds the secret variables of every image, in the order of the images; none where they stay plain.
pub(super) fn of_images(context: &Context<'_>, findings: &mut Findings) -> Vec<SecretVariables> {
    let lifts = context.rules().secrets == SecretHandling::Secret;
    let images = context.template.images.iter().enumerate();
    images
        .map(|(index, image)| {
            for variable in image.environment.iter().filter(|variable| variable.value.ends_with('\n')) {
                if looks_secret(variable.name.in_full()) {
                    let message = format!("the value of `{}` ends with a line end", variable.name.shown());
                    findings.report(Code::SecretLineEnd, format!("{}.value", variable.field), message);
                }
            }
            if !lifts {
                return SecretVariables::default();
            }
            let handed_on = inherited(context, index).map(|(name, _)| name);
            let secrets = of_names(names_of(image).chain(handed_on));
            let own = image.environment.iter().map(|variable| (&variable.name, variable.field.to_string()));
            let handed_on =
                inherited(context, index).map(|(name, _)| (name, format!("images[{index}].source")));
            for (name, field) in own.chain(handed_on) {
                if secrets.key(name).is_some() {
                    let message =
                        format!("`{}` is kept in Secret `{}`", name.shown(), secret_name(context, index));
                    findings.report(Code::SecretLifted, field, message);
                }
            }
            secrets
        })
        .collect()
}

fn names_of(image: &Image) -> impl Iterator<Item = &VariableName> {
    image.environment.iter().map(|variable| &variable.name)
}

/// Keys for the secret names among these; a name has the same key whatever comes after it.
fn of_names<'n>(names: impl Iterator<Item = &'n VariableName>) -> SecretVariables {
    let mut taken = BTreeSet::new();
    let pairs = names.filter(|name| looks_secret(name.in_full())).map(|name| {
        let mut key = key_of(name);
        if !taken.insert(key.clone()) {
            key = with_hash(&key, name.in_full(), MAX_KEY);
            taken.insert(key.clone());
        }
        (name.clone(), key)
    });
    SecretVariables(pairs.collect())
}

/// The variable of an image whose value its Secret keeps under a key.
pub(super) fn kept_under<'i>(image: &'i Image, key: &str) -> Option<&'i Variable> {
    let secrets = of_names(names_of(image));
    image.environment.iter().find(|variable| secrets.key(&variable.name) == Some(key))
}

/// A variable's name as the key of a Secret, which may hold letters, digits, `-`, `_` and `.` only.
///
/// Keys are shown: in paths, and by Kubernetes. So of the name the key has what people may see.
fn key_of(name: &VariableName) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let (open, _) = name.in_full().split_once(':').unwrap_or((name.in_full(), ""));
    let mut key: String =
        open.chars().map(|character| if plain(character) { character } else { '_' }).collect();
    // Keys are names of files: none begins with two dots or is one.
    if key.starts_with("..") || key == "." {
        key = key.replacen('.', "_", 2);
    }
    if key == name.in_full() { key } else { with_hash(&key, name.in_full(), MAX_KEY) }
}

/// Parts of names that mean a secret wherever they occur.
const ANYWHERE: &[&str] =
    &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "PRIVATEKEY"];
/// Words that say secret when a word of the name ends with them.
const WORD_ENDS: &[&str] = &["PASS", "KEY", "KEYS", "PWD"];
/// Words with such an end that have nothing secret.
const HARMLESS: &[&str] = &["BYPASS", "COMPASS", "HOTKEY", "MONKEY", "OLDPWD", "PWD", "TURKEY"];
/// Words that say secret beside another; alone they are a directory, or an answer to yes or no.
const BESIDE_OTHERS: &[&str] = &["PWD", "AUTH", "PW"];

/// Whether a variable's name says that its value is secret.
///
/// A rule of thumb with a bias: what is lifted without need costs nothing.
pub(super) fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    if ANYWHERE.iter().any(|part| upper.contains(part)) {
        return true;
    }
    let words = || upper.split(|character: char| !character.is_ascii_alphanumeric());
    let several = words().nth(1).is_some();
    words().any(|word| {
        let ends = WORD_ENDS.iter().any(|end| word.ends_with(end)) && !HARMLESS.contains(&word);
        ends || (several && BESIDE_OTHERS.contains(&word))
    })
}

/// The name of a component's Secret.
pub(super) fn secret_name(context: &Context<'_>, index: usize) -> String {
    format!("{}-environment", context.names[index])
}

/// The reference to a secret variable of an image, as the value of a variable.
pub(super) fn reference(context: &Context<'_>, index: usize, key: &str) -> Value {
    json!({ "secretKeyRef": { "key": key, "name": secret_name(context, index) } })
}

/// Builds the Secret of an image; `None` if it has no secret variable.
pub(super) fn artifact(context: &Context<'_>, index: usize, secrets: &SecretVariables) -> Option<Artifact> {
    let image = &context.template.images[index];
    let own = image.environment.iter().map(|variable| (&variable.name, variable.value.as_str()));
    let data: Map<String, Value> = own
        .chain(inherited(context, index))
        .filter_map(|(name, value)| {
            let key = secrets.key(name)?;
            Some((key.to_owned(), json!(STANDARD.encode(value))))
        })
        .collect();
    if data.is_empty() {
        return None;
    }
    let name = object_name(secret_name(context, index))?;
    let manifest = json!({
        "apiVersion": Kind::Secret.api_version(),
        "data": data,
        "kind": Kind::Secret.as_str(),
        "metadata": labels::metadata(context, index, name.as_str()),
        "type": "Opaque",
    });
    Some(Artifact {
        reference: ObjectRef::new(Kind::Secret, name),
        component: context.names[index].clone(),
        origin: format!("images[{index}].environment"),
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_secret() {
        for name in [
            "MYSQL_ROOT_PASSWORD",
            "PGPASSWORD",
            "adminPassword",
            "DB_PASS",
            "ROOTPASS",
            "db.passwd",
            "AWS_ACCESS_KEY_ID",
            "APIKEY",
            "SSH_KEYS",
            "GITHUB_TOKEN",
            "SESSION_SECRET",
            "credentials",
            "DB_PWD",
            "DBPWD",
            "REDIS_AUTH",
        ] {
            assert!(looks_secret(name), "{name}");
        }
    }

    #[test]
    fn names_that_do_not() {
        for name in [
            "DB_NAME",
            "PWD",
            "OLDPWD",
            "AUTH",
            "PATH",
            "KEYBOARD",
            "BYPASS_CACHE",
            "MONKEY",
            "PASSENGER_ENV",
            "USER",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn keys_are_what_a_secret_takes_and_stay_apart() {
        let key_of = |name: &str| key_of(&VariableName::new(name).unwrap());
        assert_eq!(key_of("DB_PASSWORD"), "DB_PASSWORD");
        let (one, two) = (key_of("a;TOKEN"), key_of("a/TOKEN"));
        assert!(key_of("..TOKEN").starts_with("__TOKEN-") && key_of(".").starts_with("_-"));
        assert_eq!(key_of(".TOKEN"), ".TOKEN");
        assert!(one != two && one.starts_with("a_TOKEN-") && two.starts_with("a_TOKEN-"), "{one} {two}");
    }

    #[test]
    fn a_key_holds_no_more_of_a_name_than_people_may_see() {
        let key_of = |name: &str| key_of(&VariableName::new(name).unwrap());
        let (one, two) = (key_of("PASSWORD:canary"), key_of("PASSWORD:other"));
        assert!(one.starts_with("PASSWORD-") && one.len() == "PASSWORD-".len() + 8 && one != two, "{one}");
        assert!(key_of(":TOKEN").starts_with('-') && key_of("..:TOKEN").starts_with("__-"));
    }
}
