//! One type per Kubernetes name, each with the one constructor that knows its rule.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the name it was meant to be; says the rule, not the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(pub(super) &'static str);

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for NameError {}

/// Lower-case letters, digits and dashes, a letter or digit at both ends (RFC 1123).
fn is_label(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.len() <= limit
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// Labels in a row with dots between them (RFC 1123).
fn is_subdomain(text: &str, limit: usize) -> bool {
    text.len() <= limit && text.split('.').all(|part| is_label(part, limit))
}

/// Letters, digits, `-`, `_` and `.`, a letter or digit at both ends: what labels are made of.
fn is_label_text(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= limit
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The key of a label or annotation: a name of 63 characters, behind a domain and a slash if need be.
fn is_key(text: &str, limit: usize) -> bool {
    text.len() <= limit
        && match text.split_once('/') {
            Some((domain, name)) => is_subdomain(domain, 253) && is_label_text(name, 63),
            None => is_label_text(text, 63),
        }
}

/// A label's value, which may be empty.
fn is_label_value(text: &str, limit: usize) -> bool {
    text.is_empty() || is_label_text(text, limit)
}

/// Writes a name type: a text that its rule let through.
macro_rules! name {
    ($(#[$doc:meta])+ $type:ident, $keeps:ident, $limit:literal, $rule:literal) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The longest text allowed, in characters.
            pub const LIMIT: usize = $limit;

            /// Takes a text that keeps the rule; never changes it.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if $keeps(&text, Self::LIMIT) { Ok(Self(text)) } else { Err(NameError($rule)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name! {
    /// A Kubernetes namespace: a DNS label (RFC 1123).
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::Namespace;
    /// assert!(Namespace::new("default").is_ok());
    /// assert!(Namespace::new("../kube-system").is_err());
    /// ```
    Namespace, is_label, 63, "must be a DNS label: at most 63 lower-case letters, digits and dashes, a letter or digit at both ends"
}
name! {
    /// The name of a deployment: a DNS label, short enough for the records' names.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::DeploymentName;
    /// assert!(DeploymentName::new("wordpress-with-mysql").is_ok());
    /// assert!(DeploymentName::new("Wordpress").is_err());
    /// ```
    DeploymentName, is_label, 63, "must be a DNS label: at most 63 lower-case letters, digits and dashes, a letter or digit at both ends"
}
name! {
    /// The name of a component: an image's name after sanitising.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::ComponentName;
    /// assert!(ComponentName::new("db-1").is_ok());
    /// assert!(ComponentName::new("DB_1").is_err());
    /// ```
    ComponentName, is_label, 63, "must be at most 63 lower-case letters, digits and dashes, a letter or digit at both ends"
}
name! {
    /// The name of an object; safe in a URL, which kube does not see to.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::ObjectName;
    /// assert!(ObjectName::new("wp-replication-controller").is_ok());
    /// assert!(ObjectName::new("a/b").is_err());
    /// ```
    ObjectName, is_label, 253, "must be at most 253 lower-case letters, digits and dashes, a letter or digit at both ends"
}
name! {
    /// The name of an object that is not ours: a Secret of the namespace, a storage class. A DNS subdomain.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::ForeignName;
    /// assert!(ForeignName::new("registry.example.key").is_ok());
    /// assert!(ForeignName::new("../key").is_err());
    /// ```
    ForeignName, is_subdomain, 253, "must be a DNS subdomain: lower-case letters, digits, dashes and dots, a letter or digit at both ends of each part"
}
name! {
    /// The key of a label, as `team` or `example.com/team`.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::LabelKey;
    /// assert!(LabelKey::new("example.com/team").is_ok());
    /// assert!(LabelKey::new("/team").is_err());
    /// ```
    LabelKey, is_key, 317, "must be a qualified name: at most 63 letters, digits, `-`, `_` and `.`, if need be behind a DNS subdomain and a slash"
}
name! {
    /// The value of a label; may be empty.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::LabelValue;
    /// assert!(LabelValue::new("").is_ok());
    /// assert!(LabelValue::new("two words").is_err());
    /// ```
    LabelValue, is_label_value, 63, "must be at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends, or empty"
}
name! {
    /// The key of an annotation; the rule is that of labels.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::artifacts::AnnotationKey;
    /// assert!(AnnotationKey::new("example.com/owner").is_ok());
    /// assert!(AnnotationKey::new("two words").is_err());
    /// ```
    AnnotationKey, is_key, 317, "must be a qualified name: at most 63 letters, digits, `-`, `_` and `.`, if need be behind a DNS subdomain and a slash"
}

/// Names one deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment.
    pub name: DeploymentName,
}
