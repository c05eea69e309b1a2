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

/// The suffixes of quantities, and what they multiply and divide by.
const SUFFIXES: [(&str, u128, u128); 16] = [
    ("", 1, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
];
/// The longest whole part, the longest fraction, and the largest exponent.
const LONGEST: usize = 19;

impl StorageSize {
    /// Takes a quantity as Kubernetes does: digits with a point or without, and a suffix or an exponent; at most 8 Ei less
    /// a byte.
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
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_long = whole.len() > LONGEST || fraction.len() > LONGEST || number.is_empty() || number == ".";
    if is_long || fraction.contains('.') {
        return None;
    }
    let (times, by) = multiplier(suffix)?;
    let by = by.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let parts = format!("0{whole}{fraction}").parse::<u128>().ok()?;
    Some(parts.checked_mul(times)?.div_ceil(by))
}

/// What a suffix multiplies and divides by, an exponent as `e3` or `E-3` among them.
fn multiplier(suffix: &str) -> Option<(u128, u128)> {
    if let Some((_, times, by)) = SUFFIXES.iter().find(|(known, _, _)| *known == suffix) {
        return Some((*times, *by));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let power = digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let power = 10_u128.checked_pow(power)?;
    Some(if exponent.starts_with('-') { (1, power) } else { (power, 1) })
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
            ("1e3", 1_000),
            ("1E3", 1_000),
            ("2E", 2_000_000_000_000_000_000),
            ("15e-1", 2),
            ("+1Gi", 1 << 30),
            (".5Gi", 1 << 29),
            ("5.", 5),
            ("1.50Gi", 1_610_612_736),
            ("1000m", 1),
            ("1m", 1),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(StorageSize::new(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "0", "0Gi", "-1Gi", "++1", "1 Gi", "1gi", "Gi", ".", ".Gi", "1.2.3", "8Ei", "1e", "1e+",
            "1e99", "e3", "1Gi\n",
        ] {
            assert!(StorageSize::new(text).is_err(), "{text:?}");
        }
    }
}
