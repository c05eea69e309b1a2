//! The size of a volume claim, as a Kubernetes quantity.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NameError;

/// A size that a volume claim may ask for: a Kubernetes quantity above zero, kept as it was written.
///
/// ```
/// use panamax_kubernetes_adapter::artifacts::StorageSize;
/// assert_eq!(StorageSize::default().as_str(), "1Gi");
/// assert!(StorageSize::new("1Gi").unwrap().bytes() < StorageSize::new("1.5Gi").unwrap().bytes());
/// assert!(StorageSize::new("-1Gi").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorageSize(String);

/// The suffixes of quantities of bytes, and what they multiply by.
const SUFFIXES: [(&str, u128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

impl StorageSize {
    /// Takes digits, a fraction if need be, and one of the suffixes of bytes; at most 8 Ei less a byte.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        match bytes(&text) {
            Some(bytes) if bytes > 0 && i64::try_from(bytes).is_ok() => Ok(Self(text)),
            _ => Err(NameError("must be a size above zero, as 500Mi or 10Gi")),
        }
    }

    /// The size as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The size in bytes, rounded up, as Kubernetes counts it.
    pub fn bytes(&self) -> u128 {
        bytes(&self.0).unwrap_or_default()
    }
}

/// Reads the quantity; `None` if it is none.
fn bytes(text: &str) -> Option<u128> {
    let (number, unit) = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts: u128 = whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(fraction.parse().ok()?)?;
    Some(parts.checked_mul(unit)?.div_ceil(scale))
}

impl Default for StorageSize {
    fn default() -> Self {
        Self("1Gi".to_owned())
    }
}

impl fmt::Display for StorageSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for StorageSize {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<StorageSize> for String {
    fn from(size: StorageSize) -> String {
        size.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_as_kubernetes_does() {
        for (text, bytes) in [
            ("1", 1),
            ("1Ki", 1_024),
            ("1k", 1_000),
            ("1.5Gi", 1_610_612_736),
            ("0.5", 1),
            ("500M", 500_000_000),
            ("7Ei", 7 << 60),
        ] {
            assert_eq!(StorageSize::new(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "0", "0Gi", "-1Gi", "+1", "1 Gi", "1gi", "Gi", "1.", ".5", "8Ei", "1e3", "1m", "1Gi\n"]
        {
            assert!(StorageSize::new(text).is_err(), "{text:?}");
        }
    }
}
