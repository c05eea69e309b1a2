//! What is said in words of the contract, in the words of whoever typed flags: `options.volumes` is `--volumes`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::contract::{Contract, Enum, Field};

/// Fields that are no flag: what is named without one, the file, and what `--output` decides.
const NO_FLAGS: [&str; 7] =
    ["format", "name", "object_manifests", "options", "replicas", "template", "template_yaml"];

/// The calls that a text may advise, each with its command.
const CALLS: [(&str, &str); 11] = [
    ("Deploy", "deploy"),
    ("GetDeployment", "get"),
    ("ListDeployments", "list"),
    ("ListRevisions", "revisions"),
    ("PlanDeploy", "plan"),
    ("Rollback", "rollback"),
    ("Scale", "scale"),
    ("Teardown", "teardown"),
    ("TranslateTemplate", "translate"),
    ("ValidateTemplate", "validate"),
    ("WatchDeployment", "watch"),
];

/// What is said of what has a word of its own in calls alone, and what one types for it.
const PHRASES: [(&str, &str); 5] = [
    ("`name` of the request (`--name`)", "--name"),
    ("`name` of the request", "--name"),
    ("send a token, as `authorization: Bearer TOKEN`", "name the file of a token with --token-file"),
    ("connect with one", "name yours with --cert-file and --key-file"),
    (
        "meant for somebody else; get new ones",
        "meant for somebody else; get new ones for --token-file, or --cert-file and --key-file",
    ),
];

/// Before the field of an option.
const OPTIONS: &str = "options.";

/// The values of an enum, each with its word.
type Values = BTreeMap<String, String>;

/// Every flag that stands for a field of the contract.
#[derive(Default)]
struct Flags {
    /// The fields of DeployOptions; each with the values of its enum.
    options: BTreeMap<String, Values>,
    /// The fields of requests.
    requests: BTreeMap<String, Values>,
    /// The values of all of these.
    values: Values,
}

/// Read from the contract's own descriptors, so that no option is forgotten.
static FLAGS: LazyLock<Flags> = LazyLock::new(|| {
    let mut flags = Flags::default();
    // The binary carries its own contract; without it, texts stay as they are.
    let Some(contract) = Contract::carried() else { return flags };
    let values = |field: &Field| contract.values(field).map(words).unwrap_or_default();
    for request in contract.requests() {
        for field in &request.fields {
            match contract.message(field) {
                Some(options) if field.name == "options" => {
                    options.fields.iter().for_each(|field| flags.add_option(field, values(field)));
                }
                _ if NO_FLAGS.contains(&field.name.as_str()) => {}
                _ => flags.add(field, values(field)),
            }
        }
    }
    flags
});

impl Flags {
    fn add_option(&mut self, field: &Field, values: Values) {
        self.values.extend(values.clone());
        self.options.insert(field.name.clone(), values);
    }

    /// Two requests may have fields of one name, as `wait`: each value belongs to one of them.
    fn add(&mut self, field: &Field, values: Values) {
        self.values.extend(values.clone());
        self.requests.entry(field.name.clone()).or_default().extend(values);
    }

    /// The flag that a word of a text means, and its values.
    fn of(&self, word: &str) -> Option<(String, &Values)> {
        let (field, values) = match word.strip_prefix(OPTIONS) {
            Some(option) => self.options.get_key_value(option)?,
            // One plain word may be any other word.
            None => {
                let fields = [&self.requests, &self.options];
                fields.iter().find_map(|fields| fields.get_key_value(word)).filter(|_| word.contains('_'))?
            }
        };
        Some((flag(field), values))
    }
}

/// The values of an enum, each with the word that a flag takes; the first one means that nobody has said any.
fn words(kind: &Enum) -> Values {
    let Some((first, named)) = kind.values.split_first() else { return Values::new() };
    let prefix = first.name.trim_end_matches("UNSPECIFIED");
    let word = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', "-");
    named.iter().map(|value| (value.name.clone(), word(&value.name))).collect()
}

fn flag(field: &str) -> String {
    format!("--{}", field.replace('_', "-"))
}

/// A text of the adapter's in the words of the command line. What stands between backticks is somebody's own.
pub fn spoken(text: &str) -> String {
    let text = PHRASES.iter().fold(text.to_owned(), |text, (said, typed)| text.replace(said, typed));
    let mut said = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut is_quoted = false;
    while let Some(start) = rest.find(is_of_word) {
        let (before, begun) = rest.split_at(start);
        said.push_str(before);
        is_quoted ^= before.matches('`').count() % 2 == 1;
        let end = begun.find(|letter| !is_of_word(letter)).unwrap_or(begun.len());
        let word = begun[..end].trim_end_matches('.');
        rest = &begun[word.len().max(1)..];
        if is_quoted || word.is_empty() {
            said.push_str(&begun[..word.len().max(1)]);
            continue;
        }
        let (words, taken) = told(word, rest);
        said.push_str(&words);
        rest = &rest[taken..];
    }
    said.push_str(rest);
    said
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.')
}

/// The words for one word of a text, and how many bytes behind it they cover as well.
fn told(word: &str, behind: &str) -> (String, usize) {
    let flags = &*FLAGS;
    // A name of a call that is no word of a sentence, as `Deploy` is.
    if let Some((_, command)) =
        CALLS.iter().find(|(call, command)| *call == word && !call.eq_ignore_ascii_case(command))
    {
        return (format!("`{command}`"), 0);
    }
    // `call Scale`, and `volumes VOLUME_POLICY_DELETE` of a request.
    if word == "call"
        && let Some((name, taken)) = next(behind, &[" "])
        && let Some((_, command)) = CALLS.iter().find(|(call, _)| *call == name)
    {
        return (format!("use `{command}`"), taken);
    }
    let named = flags.of(word).or_else(|| {
        let values = flags.requests.get(word)?;
        next(behind, &[" "]).filter(|(value, _)| values.contains_key(*value))?;
        Some((flag(word), values))
    });
    let Some((flag, values)) = named else {
        return (flags.values.get(word).cloned().unwrap_or_else(|| word.to_owned()), 0);
    };
    match next(behind, &[" to ", " "]).and_then(|(value, taken)| Some((values.get(value)?, taken))) {
        Some((value, taken)) => (format!("{flag} {value}"), taken),
        None => (flag, 0),
    }
}

/// The next word, if it stands behind one of these, and where it ends.
fn next<'t>(behind: &'t str, between: &[&str]) -> Option<(&'t str, usize)> {
    between.iter().find_map(|between| {
        let rest = behind.strip_prefix(between)?;
        let word = &rest[..rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len())];
        let word = word.trim_end_matches('.');
        (!word.is_empty() && word != "to").then_some((word, between.len() + word.len()))
    })
}

/// The place of a fault as the command line has it: `options.labels[team]` is `--labels team`.
pub fn place(field: &str) -> String {
    let (name, entry) = match field.split_once('[') {
        Some((name, entry)) => (name, entry.strip_suffix(']')),
        None => (field, Some("")),
    };
    let flags = &*FLAGS;
    let is_flag = match name.strip_prefix(OPTIONS) {
        Some(option) => flags.options.contains_key(option),
        None => flags.requests.contains_key(name),
    };
    let flag = flag(name.strip_prefix(OPTIONS).unwrap_or(name));
    match entry.filter(|_| is_flag) {
        None => field.to_owned(),
        Some("") => flag,
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{flag}[{number}]"),
        Some(key) => format!("{flag} {key}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::Commands;
    use crate::diagnostic::Code;
    use clap::CommandFactory;

    /// The flags of all commands, each with the words that it takes where these are few.
    fn typed() -> BTreeMap<String, BTreeSet<String>> {
        let mut program = Commands::command();
        program.build();
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for flag in program.get_subcommands().flat_map(clap::Command::get_arguments) {
            let words = flag.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
            all.entry(format!("--{}", flag.get_long().unwrap_or_default()))
                .or_default()
                .extend::<BTreeSet<String>>(words);
        }
        all
    }

    #[test]
    fn every_option_is_told_as_the_flag_that_there_is() {
        let typed = typed();
        let mut told = 0;
        for (fields, before) in [(&FLAGS.options, OPTIONS), (&FLAGS.requests, "")] {
            for (field, values) in fields {
                let name = flag(field);
                let words = typed.get(&name).unwrap_or_else(|| panic!("no command has {name}"));
                if before.is_empty() {
                    assert_eq!(place(field), name);
                } else {
                    let place = self::place(&format!("{before}{field}"));
                    assert_eq!(
                        (place.as_str(), spoken(&format!("{before}{field}")).as_str()),
                        (&*name, &*name)
                    );
                }
                for (value, word) in values {
                    assert!(words.contains(word), "{name} takes no {word}");
                    let is_plain = before.is_empty() && !field.contains('_');
                    let text = format!("{before}{field}{}{value}.", if is_plain { " " } else { " to " });
                    assert_eq!(spoken(&text), format!("{name} {word}."));
                    assert_eq!(&spoken(value), word);
                    told += 1;
                }
            }
        }
        assert!(told > 40 && FLAGS.options.len() > 18, "{told} values");
    }

    /// Whether a text has a word that nobody types.
    fn is_of_the_wire(text: &str) -> bool {
        let mut words = text.split(|letter: char| !is_of_word(letter));
        words.any(|word| {
            word.starts_with(OPTIONS) || FLAGS.values.contains_key(word) || FLAGS.of(word).is_some()
        })
    }

    #[test]
    fn no_hint_names_what_nobody_types() {
        let typed = typed();
        let mut named = BTreeSet::new();
        for code in Code::ALL {
            for text in [code.hint(), code.meaning()] {
                let said = spoken(text);
                assert!(!is_of_the_wire(&said), "{}: {said}", code.as_str());
                // What stands between backticks is of other programs.
                let own = said.split('`').step_by(2).flat_map(str::split_whitespace);
                let flags = own.filter(|word| word.starts_with("--"));
                for flag in flags.map(|flag| flag.trim_end_matches([',', ':', ';', '.'])) {
                    assert!(typed.contains_key(flag), "{}: {flag}", code.as_str());
                    named.insert(flag.to_owned());
                }
            }
        }
        assert!(named.len() > 7, "{named:?}");
        assert!(is_of_the_wire("set options.volumes") && is_of_the_wire("EXPOSURE_NODE_PORT"));
    }

    #[test]
    fn sentences_are_told_as_one_would_type_them() {
        for (text, said) in [
            (
                "set options.volumes to VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM to keep it",
                "set --volumes persistent-volume-claim to keep it",
            ),
            ("set options.volumes to say what volumes become", "set --volumes to say what volumes become"),
            ("set options.volume_size to 5Gi or more.", "set --volume-size to 5Gi or more."),
            ("with options.replicas_policy REPLICAS_POLICY_TEMPLATE", "with --replicas-policy template"),
            ("down with volumes VOLUME_POLICY_DELETE", "down with --volumes delete"),
            ("set it to LINK_ENVIRONMENT_KUBELET, or not", "set it to kubelet, or not"),
            ("bring it in image_configs", "bring it in --image-configs"),
            ("create it, or set options.create_namespace", "create it, or set --create-namespace"),
            ("deploy with the new plan_id", "deploy with the new --plan-id"),
            ("change deployment.count, or call Scale", "change deployment.count, or use `scale`"),
            ("call Teardown, or wait", "use `teardown`, or wait"),
            ("read it again with GetDeployment", "read it again with `get`"),
            ("call ValidateTemplate", "use `validate`"),
            ("is required; set `name` of the request", "is required; set --name"),
            ("a Deploy needs one", "a Deploy needs one"),
            // What stands in a template, and what somebody has called so.
            ("add host_path and container_port", "add host_path and container_port"),
            ("no image is called `image_configs`", "no image is called `image_configs`"),
            ("… options. and more…", "… options. and more…"),
            ("", ""),
        ] {
            assert_eq!(spoken(text), said);
        }
    }

    #[test]
    fn places_are_those_of_flags() {
        for (field, said) in [
            ("options.volume_size", "--volume-size"),
            ("options.labels[team]", "--labels team"),
            ("options.labels[a.example/b[c]]", "--labels a.example/b[c]"),
            ("options.image_pull_secrets[1]", "--image-pull-secrets[1]"),
            ("image_configs[mysql:5.6]", "--image-configs mysql:5.6"),
            ("namespace", "--namespace"),
            ("page_size", "--page-size"),
            ("name", "name"),
            ("replicas[WP]", "replicas[WP]"),
            ("images[0].ports[1]", "images[0].ports[1]"),
            ("options.unheard", "options.unheard"),
        ] {
            assert_eq!(place(field), said);
        }
    }
}
