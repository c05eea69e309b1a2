//! Who refuses an object, where the API server's text says so: names alone, since the text may quote what was sent.

/// Who refuses an object; a name is empty where the text has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A quota that is not counted yet: it may pass.
    QuotaUncounted(String),
    /// A quota that is used up.
    QuotaUsedUp(String),
    /// A quota of something that pods do not say they need.
    QuotaUnspecified(String),
    /// A webhook.
    Webhook(String),
    /// A ValidatingAdmissionPolicy.
    Policy(String),
    /// The Pod Security level of the namespace.
    PodSecurity(String),
    /// A range that the namespace allows.
    LimitRange,
}

impl Denial {
    /// Who refuses an object by this text of the API server; `None` if it does not say.
    pub fn of(text: &str) -> Option<Self> {
        let named = [
            ("status unknown for quota: ", Self::QuotaUncounted as fn(String) -> Self),
            ("exceeded quota: ", Self::QuotaUsedUp),
            ("failed quota: ", Self::QuotaUnspecified),
            ("admission webhook \"", Self::Webhook),
            ("violates PodSecurity \"", Self::PodSecurity),
        ];
        let mut found = named.into_iter().filter_map(|(words, who)| name_after(text, words).map(who));
        if let Some(found) = found.next().or_else(|| policy(text).map(Self::Policy)) {
            return Some(found);
        }
        if text.contains("exceeded quota") {
            return Some(Self::QuotaUsedUp(String::new()));
        }
        let is_range = text.contains("usage per ") || text.contains("limits.") && text.contains("forbidden");
        is_range.then_some(Self::LimitRange)
    }

    /// The sentence about it; `what` is refused: `it`, or `its pods`.
    pub fn told(&self, what: &str) -> String {
        let called = |name: &String| if name.is_empty() { String::new() } else { format!(" {name}") };
        match self {
            Self::QuotaUncounted(name) => {
                format!("the cluster has yet to count what ResourceQuota{} allows", called(name))
            }
            Self::QuotaUsedUp(name) if name.is_empty() => {
                "a ResourceQuota of the namespace is used up".to_owned()
            }
            Self::QuotaUsedUp(name) => format!("ResourceQuota {name} of the namespace is used up"),
            Self::QuotaUnspecified(name) => {
                format!(
                    "ResourceQuota{} of the namespace asks for requests or limits of every pod",
                    called(name)
                )
            }
            Self::Webhook(name) => format!("admission webhook{} refuses {what}", called(name)),
            Self::Policy(name) => format!("ValidatingAdmissionPolicy{} refuses {what}", called(name)),
            Self::PodSecurity(level) => {
                format!("the namespace's Pod Security level{} refuses {what}", called(level))
            }
            Self::LimitRange => format!("a LimitRange of the namespace refuses {what}"),
        }
    }
}

/// The name of the policy that refuses an object, where one does: `ValidatingAdmissionPolicy 'few' with binding 'few'
/// denied request: …`.
fn policy(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("ValidatingAdmissionPolicy '")?;
    let (_, told) = rest.split_once('\'')?;
    let is_refusal = told.trim_start().starts_with("with binding '") && told.contains("denied request");
    name_after(text, "ValidatingAdmissionPolicy '").filter(|_| is_refusal)
}

/// The name that follows these words up to where it has to end; empty if what follows is none.
fn name_after(text: &str, words: &str) -> Option<String> {
    let (_, rest) = text.split_once(words)?;
    let is_part =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let (name, after) = rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()));
    let is_name = name.len() < 254 && after.starts_with(['"', '\'', ',', ':']);
    Some(if is_name { name.to_owned() } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_named_and_nothing_else_is_quoted() {
        for (text, told) in [
            (
                "pods \"a\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1",
                "ResourceQuota few of the namespace is used up",
            ),
            (
                "pods \"a\" is forbidden: status unknown for quota: few, resources: pods",
                "the cluster has yet to count what ResourceQuota few allows",
            ),
            (
                "pods \"a\" is forbidden: failed quota: cpu: must specify limits.cpu for: web",
                "ResourceQuota cpu of the namespace asks for requests or limits of every pod",
            ),
            (
                "admission webhook \"no.example.com\" denied the request: env PASSWORD=secret",
                "admission webhook no.example.com refuses it",
            ),
            ("admission webhook \"a secret text\" denied", "admission webhook refuses it"),
            (
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'few.example.com' with binding 'few' denied \
                 request: failed expression: PASSWORD=secret",
                "ValidatingAdmissionPolicy few.example.com refuses it",
            ),
            (
                "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
                "the namespace's Pod Security level restricted refuses it",
            ),
            (
                "pods \"a\" is forbidden: maximum memory usage per Pod is 1Gi, but limit is 2Gi",
                "a LimitRange of the namespace refuses it",
            ),
        ] {
            assert_eq!(Denial::of(text).map(|denial| denial.told("it")).as_deref(), Some(told));
        }
        assert_eq!(Denial::of("PASSWORD=secret"), None);
    }
}
