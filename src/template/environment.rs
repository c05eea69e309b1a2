//! The environment of an image: names, values, and what neither may contain.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{accept, boolean, check_text, shown};
use super::raw::RawVariable;
use super::{Fault, Place};
use crate::diagnostic::{Code, Findings};

/// The most variables of one image.
pub const MAX_VARIABLES: usize = 128;
/// The longest name, in bytes.
const MAX_NAME: usize = 253;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 32 * 1024;
/// The most bytes of all names and values of one image.
pub const MAX_TOTAL: usize = 256 * 1024;

/// The name of an environment variable: visible ASCII without `=` and spaces (Kubernetes from 1.34 on).
///
/// A `:` in it is legal, but who writes `PASSWORD:secret` has put a value where the name belongs. So no text for people
/// shows a name beyond its first `:`: messages take [`VariableName::shown`], and what is deployed
/// [`VariableName::in_full`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

impl VariableName {
    /// Takes a text that keeps the rule; at most 253 characters.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::VariableName;
    /// assert!(VariableName::new("DB_PASSWORD").is_ok());
    /// assert!(VariableName::new("A=B").is_err());
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self, Fault> {
        let text = text.into();
        if text.len() > MAX_NAME {
            let message = format!("the name of the variable is longer than {MAX_NAME} characters");
            return Err(Fault::new(Code::LimitExceeded, message));
        }
        if text.chars().any(char::is_control) {
            return Err(Fault::new(
                Code::ControlCharacter,
                "the name of the variable contains a control character",
            ));
        }
        if text.is_empty() {
            let fault = Fault::new(Code::VariableName, "the variable has no name");
            return Err(fault.advising("write the name of the variable under `variable`"));
        }
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
        if !text.bytes().all(visible) {
            let message = "the name of a variable may contain only visible ASCII characters other than `=`";
            return Err(Fault::new(Code::VariableName, message));
        }
        Ok(Self(text))
    }

    /// The name of a variable that a link sets, which may be longer than one that a template sets.
    pub(crate) fn of_link(text: String) -> Self {
        Self(text)
    }

    /// The whole name, for what is deployed and for comparing; never for a message, an error or a log line.
    pub fn in_full(&self) -> &str {
        &self.0
    }

    /// What people may see of the name: all up to its first `:` or white space, at any length.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::VariableName;
    /// assert_eq!(VariableName::new("DB_PASSWORD").unwrap().open_part(), "DB_PASSWORD");
    /// assert_eq!(VariableName::new("DB_PASSWORD:secret").unwrap().open_part(), "DB_PASSWORD…");
    /// ```
    pub fn open_part(&self) -> String {
        open_part(&self.0)
    }

    /// Whether people see only the beginning of it.
    fn is_shown_in_part(&self) -> bool {
        self.0.contains(ends_name)
    }

    /// The name for a message.
    pub fn shown(&self) -> String {
        shown(&self.open_part())
    }

    /// Whether every server takes it: letters, digits, `-`, `_` and `.`, no digit and not two dots first.
    pub fn is_strict(&self) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let begins_well = !self.0.starts_with(|first: char| first.is_ascii_digit());
        self.0.bytes().all(allowed) && begins_well && !self.0.starts_with("..") && self.0 != "."
    }
}

impl fmt::Debug for VariableName {
    /// Shows what people may see of it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("VariableName").field(&self.open_part()).finish()
    }
}

/// What ends the name of a variable for people: a value may follow.
fn ends_name(letter: char) -> bool {
    matches!(letter, ':' | '=') || letter.is_whitespace()
}

/// Cuts the text in the place of a variable's name at its first `:`, `=` or white space: a value may follow.
pub fn open_part(name: &str) -> String {
    match name.split_once(ends_name) {
        Some((open, _)) => format!("{open}…"),
        None => name.to_owned(),
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> String {
        name.0
    }
}

impl TryFrom<String> for VariableName {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::new(text)
    }
}

/// One variable of an image.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: VariableName,
    /// Its value exactly as written; empty when none was given.
    pub value: String,
    /// Whether the template says that it needs a value.
    #[serde(default)]
    pub required: bool,
    /// Where it was written, as `images[0].environment[1]`.
    pub field: Place,
}

impl fmt::Debug for Variable {
    /// Leaves the value out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Variable")
            .field("name", &self.name)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// Checks `environment`; of a variable that is listed twice, the last counts, at its own place.
pub(super) fn check(raw: Vec<RawVariable>, image: &str, findings: &mut Findings) -> Vec<Variable> {
    let list = || format!("{image}.environment");
    if raw.len() > MAX_VARIABLES {
        findings.report(Code::LimitExceeded, list(), format!("more than {MAX_VARIABLES} variables"));
    }
    let total: usize = raw.iter().map(|entry| entry.variable.len() + entry.value.len()).sum();
    if total > MAX_TOTAL {
        findings.report(
            Code::LimitExceeded,
            list(),
            format!("the names and values of all variables are larger than {MAX_TOTAL} bytes together"),
        );
    }
    let mut variables: BTreeMap<VariableName, (usize, Variable)> = BTreeMap::new();
    for (index, entry) in raw.into_iter().enumerate().take(MAX_VARIABLES) {
        let Some(variable) = check_variable(entry, index, image, findings) else {
            continue;
        };
        if let Some((_, earlier)) = variables.insert(variable.name.clone(), (index, variable)) {
            let message = format!("`{}` is set twice; the last value counts", earlier.name.shown());
            findings.report(Code::VariableRepeated, format!("{}.variable", earlier.field), message);
        }
    }
    let mut variables: Vec<_> = variables.into_values().collect();
    variables.sort_by_key(|(index, _)| *index);
    variables.into_iter().map(|(_, variable)| variable).collect()
}

fn check_variable(
    entry: RawVariable,
    index: usize,
    image: &str,
    findings: &mut Findings,
) -> Option<Variable> {
    let field = entry.field.unwrap_or_else(|| format!("{image}.environment[{index}]"));
    let name = accept(VariableName::new(entry.variable), || format!("{field}.variable"), findings);
    let required = boolean(&entry.required.value);
    let required = accept(required, || entry.required.place(|| format!("{field}.required")), findings);
    let value = accept(check_value(&entry.value), || format!("{field}.value"), findings);
    let (name, required) = (name?, required?.unwrap_or(false));
    value?;
    if !name.is_strict() {
        let advice = if name.is_shown_in_part() { "; a value belongs under `value`" } else { "" };
        let message = format!("servers before 1.34 may refuse the name `{}`{advice}", name.shown());
        findings.report(Code::VariableNameRelaxed, format!("{field}.variable"), message);
    }
    if required && entry.value.is_empty() {
        let message = format!("`{}` is required but has no value", name.shown());
        findings.report(Code::VariableRequired, format!("{field}.value"), message);
    }
    Some(Variable { name, value: entry.value, required, field: field.into() })
}

fn check_value(value: &str) -> Result<(), Fault> {
    if value.len() > MAX_VALUE {
        return Err(Fault::new(Code::LimitExceeded, format!("the value is longer than {MAX_VALUE} bytes")));
    }
    check_text(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> RawVariable {
        RawVariable { variable: name.into(), value: value.into(), ..RawVariable::default() }
    }

    fn run(raw: Vec<RawVariable>) -> (Vec<Variable>, Vec<(Code, String)>) {
        let mut findings = Findings::default();
        let variables = check(raw, "images[0]", &mut findings);
        (variables, findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect())
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "A=B", "A B", "Ä"] {
            let found = run(vec![variable(name, "x")]).1;
            assert_eq!(found, [(Code::VariableName, "images[0].environment[0].variable".into())], "{name}");
        }
        assert_eq!(run(vec![variable("A\0", "x")]).1[0].0, Code::ControlCharacter);
        assert_eq!(run(vec![variable("A\n", "x")]).1[0].0, Code::ControlCharacter);
        assert_eq!(run(vec![variable(&"A".repeat(254), "x")]).1[0].0, Code::LimitExceeded);
    }

    #[test]
    fn a_name_that_is_missing_is_told_as_missing() {
        let mut findings = Findings::default();
        check(vec![variable("", "x")], "images[0]", &mut findings);
        let found = findings.into_vec();
        assert_eq!((found.len(), found[0].message.as_ref()), (1, "the variable has no name"));
        assert!(found[0].hint().contains("under `variable`"), "{}", found[0].hint());
    }

    #[test]
    fn names_that_only_new_servers_take_are_told() {
        for name in ["1A", "a:b", ".", "..", "..A"] {
            let (variables, found) = run(vec![variable(name, "x")]);
            assert_eq!(found, [(Code::VariableNameRelaxed, "images[0].environment[0].variable".into())]);
            assert_eq!(variables.len(), 1);
        }
        for name in ["LD_PRELOAD", "PATH", "KUBERNETES_SERVICE_HOST", "a.b-c"] {
            assert!(run(vec![variable(name, "x")]).1.is_empty());
        }
    }

    #[test]
    fn a_name_is_shown_up_to_where_a_value_may_begin() {
        let mut findings = Findings::default();
        let entries = ["P:canary", "P:canary", "P=canary", ":canary"].map(|name| variable(name, "x"));
        let variables = check(entries.into(), "images[0]", &mut findings);
        let names: Vec<_> = variables.iter().map(|one| one.name.in_full()).collect();
        assert_eq!(names, ["P:canary", ":canary"]);
        let found = findings.into_vec();
        assert!(found[0].message.contains("`P…`; a value belongs under `value`"), "{}", found[0].message);
        assert!(!format!("{found:?} {variables:?} {:?}", variable("P=canary", "x")).contains("canary"));
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let (variables, found) = run(vec![variable("A", "1"), variable("B", "2"), variable("A", "3")]);
        let names: Vec<_> = variables.iter().map(|one| (one.name.in_full(), one.value.as_str())).collect();
        assert_eq!(names, [("B", "2"), ("A", "3")]);
        assert_eq!(found, [(Code::VariableRepeated, "images[0].environment[0].variable".into())]);
        assert_eq!(variables[1].field.as_str(), "images[0].environment[2]");
    }

    #[test]
    fn values_have_limits_and_no_control_characters() {
        let value = "images[0].environment[0].value".to_owned();
        assert_eq!(
            run(vec![variable("A", &"x".repeat(32 * 1024 + 1))]).1,
            [(Code::LimitExceeded, value.clone())]
        );
        assert_eq!(run(vec![variable("A", "\u{1b}[2J")]).1, [(Code::ControlCharacter, value)]);
        assert!(run(vec![variable("A", "two\nlines\tand a tab")]).1.is_empty());
        let large = (0..9).map(|index| variable(&format!("A{index}"), &"x".repeat(32 * 1024))).collect();
        assert_eq!(run(large).1, [(Code::LimitExceeded, "images[0].environment".into())]);
        let many = (0..129).map(|index| variable(&format!("A{index}"), "")).collect();
        assert_eq!(run(many).1, [(Code::LimitExceeded, "images[0].environment".into())]);
    }

    #[test]
    fn a_required_variable_wants_a_value() {
        let mut entry = variable("A", "");
        entry.required = "yes".into();
        assert_eq!(
            run(vec![entry.clone()]).1,
            [(Code::VariableRequired, "images[0].environment[0].value".into())]
        );
        entry.required = "perhaps".into();
        assert_eq!(run(vec![entry]).1, [(Code::NotABoolean, "images[0].environment[0].required".into())]);
    }

    #[test]
    fn debug_shows_no_value() {
        let (variables, _) = run(vec![variable("A", "canary")]);
        assert!(!format!("{variables:?}").contains("canary"));
    }
}
