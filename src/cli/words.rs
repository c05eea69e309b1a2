//! Words of the command line for what requests hold: enums, times, and pairs of a key and its value.

use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};

use panamax_kubernetes_adapter_client as proto;

/// An enum of the contract, each of whose values has a word.
pub trait Word: Sized {
    /// What its values' names begin with.
    const PREFIX: &'static str;

    /// The name and the value of a number, if it has one.
    fn numbered(number: i32) -> Option<(&'static str, Self)>;

    /// The word of a value: its name without the prefix, as flags are written.
    fn word(name: &str) -> String {
        name.strip_prefix(Self::PREFIX).unwrap_or(name).to_lowercase().replace('_', "-")
    }
}

macro_rules! words {
    ($($message:ident $prefix:literal)+) => {$(
        impl Word for proto::$message {
            const PREFIX: &'static str = $prefix;

            fn numbered(number: i32) -> Option<(&'static str, Self)> {
                Self::try_from(number).ok().map(|value| (value.as_str_name(), value))
            }
        }
    )+};
}

words! {
    ComponentReason "COMPONENT_REASON_"
    ComponentState "COMPONENT_STATE_"
    ConflictPolicy "CONFLICT_POLICY_"
    DeployOutcome "DEPLOY_OUTCOME_"
    DeploymentState "DEPLOYMENT_STATE_"
    DeploymentView "DEPLOYMENT_VIEW_"
    Exposure "EXPOSURE_"
    FailurePolicy "FAILURE_POLICY_"
    HostPorts "HOST_PORTS_"
    LinkEnvironment "LINK_ENVIRONMENT_"
    ObjectAction "OBJECT_ACTION_"
    Profile "PROFILE_"
    PrunePolicy "PRUNE_POLICY_"
    ReplicasPolicy "REPLICAS_POLICY_"
    RevisionResult "REVISION_RESULT_"
    SecretHandling "SECRET_HANDLING_"
    Severity "SEVERITY_"
    Strictness "STRICTNESS_"
    TeardownWait "TEARDOWN_WAIT_"
    VolumeFilling "VOLUME_FILLING_"
    VolumeMapping "VOLUME_MAPPING_"
    VolumePolicy "VOLUME_POLICY_"
    WaitMode "WAIT_MODE_"
    WatchCompleteReason "WATCH_COMPLETE_REASON_"
    WatchUntil "WATCH_UNTIL_"
    WorkloadKind "WORKLOAD_KIND_"
}

/// The values that an enum has beside its zero, each with its number.
fn all<E: Word>() -> impl Iterator<Item = (i32, String)> {
    let named = |number| E::numbered(number).map(|(name, _)| (number, E::word(name)));
    (1..).map_while(named)
}

/// Reads a word of an enum as its number.
pub fn word<E: Word + 'static>() -> impl TypedValueParser<Value = i32> {
    PossibleValuesParser::new(all::<E>().map(|(_, word)| word)).map(|chosen| {
        let found = all::<E>().find(|(_, word)| *word == chosen);
        found.map_or(0, |(number, _)| number)
    })
}

/// What a number of an answer says, in capitals as the contract has it; empty for the zero. A newer adapter may say what
/// has no word here yet.
pub fn said<E: Word>(number: i32) -> &'static str {
    let name = if number == 0 { "" } else { E::numbered(number).map_or("UNKNOWN", |(name, _)| name) };
    name.strip_prefix(E::PREFIX).unwrap_or(name)
}

/// A time of the command line, as a request has it.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

impl Time {
    /// The form of a request.
    pub fn encoded(self) -> Option<prost_types::Duration> {
        prost_types::Duration::try_from(self.0).ok()
    }
}

/// Reads `500ms`, `30s`, `5m` or `1h`.
pub fn time(text: &str) -> Result<Time, String> {
    let asked = || "write a number and ms, s, m or h, as 30s".to_owned();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| asked())?;
    let milliseconds = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(asked()),
    };
    number.checked_mul(milliseconds).map(|time| Time(Duration::from_millis(time))).ok_or_else(asked)
}

/// A text that says something: `--etag ""` of a script whose variable is unset would protect nothing.
pub fn text() -> impl TypedValueParser<Value = String> {
    NonEmptyStringValueParser::new()
}

/// A number that counts something; a request that has 0 says nothing.
pub fn positive() -> impl TypedValueParser<Value = i32> {
    clap::value_parser!(i32).range(1..)
}

/// Reads `KEY=VALUE`.
///
/// The error never quotes what was written.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key.is_empty() { Err("write KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// Reads `COMPONENT=NUMBER`.
pub fn count(text: &str) -> Result<(String, i32), String> {
    let (name, count) = text.rsplit_once('=').ok_or("write COMPONENT=NUMBER, as WP=3")?;
    let count = count.parse().map_err(|_| "write COMPONENT=NUMBER, as WP=3".to_owned())?;
    if name.is_empty() {
        Err("write COMPONENT=NUMBER, as WP=3".to_owned())
    } else {
        Ok((name.to_owned(), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_contract() {
        let words: Vec<_> = all::<proto::VolumeMapping>().map(|(_, word)| word).collect();
        assert_eq!(words, ["omit", "empty-dir", "host-path", "persistent-volume-claim"]);
        assert_eq!(said::<proto::DeploymentState>(proto::DeploymentState::Active.into()), "ACTIVE");
        assert_eq!(said::<proto::DeploymentState>(0), "");
        assert_eq!(said::<proto::DeploymentState>(99), "UNKNOWN");
    }

    #[test]
    fn times_pairs_and_counts_are_read() {
        assert_eq!(time("90s").map(|time| time.0), Ok(Duration::from_secs(90)));
        assert_eq!(time("2h").map(|time| time.0), Ok(Duration::from_secs(7_200)));
        for wrong in ["", "5", "s", "-1s", "5d", "99999999999999999999s", "99999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert_eq!(count("WP=3"), Ok(("WP".into(), 3)));
        assert!(count("WP").is_err() && count("WP=x").is_err() && count("=1").is_err());
    }
}
