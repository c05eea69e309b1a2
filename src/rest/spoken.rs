//! Says what is said in words of the contract in those of the agents: the keys that they send, and no option.

/// Keys of a template, each with the one that the agents send.
const KEYS: [(&str, &str); 8] = [
    ("container_path", "containerPath"),
    ("container_port", "containerPort"),
    ("host_interface", "hostInterface"),
    ("host_path", "hostPath"),
    ("host_port", "hostPort"),
    ("read_only", "readOnly"),
    // The field that a text is in over gRPC.
    ("template_yaml", "body"),
    ("volumes_from", "volumesFrom"),
];
/// Where the other image stands in an entry of these, and what the agents call it.
const OF_OTHERS: [&str; 3] = ["links[", "volumes_from[", "volumesFrom["];
/// What begins the name of an option, which a request of an agent has not.
const OPTION: &str = "options.";
/// What is said of an option that would be the only remedy.
const ELSEWHERE: &str = "that takes an option, which a Deploy over gRPC has";

/// A sentence, in the agents' words.
pub(super) fn spoken(text: &str) -> String {
    with_their_keys(&without_options(text)).replace("the link's service", "the link's name")
}

/// Leaves out what advises to set an option; where nothing else is advised, it says where there are options.
fn without_options(text: &str) -> String {
    if !text.contains(OPTION) {
        return text.to_owned();
    }
    let clauses = text.split("; ").map(|clause| {
        if !clause.contains(OPTION) {
            return clause.to_owned();
        }
        let others: Vec<&str> = clause.split(", or ").filter(|part| !part.contains(OPTION)).collect();
        if others.is_empty() {
            // What introduces an advice is said of what stands in its place.
            let begin = clause.strip_prefix("hint: ").map_or("", |_| "hint: ");
            format!("{begin}{ELSEWHERE}")
        } else {
            others.join(", or ")
        }
    });
    clauses.collect::<Vec<_>>().join("; ")
}

/// Renames the keys wherever they stand as words.
fn with_their_keys(text: &str) -> String {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length.max(if length == 0 { first.len_utf8() } else { 0 }));
        told.push_str(theirs(&told, word));
        rest = behind;
    }
    told
}

/// The agents' word for one that stands behind these.
fn theirs<'w>(before: &str, word: &'w str) -> &'w str {
    let entry = before.strip_suffix("].").map(|path| path.trim_end_matches(|one: char| one.is_ascii_digit()));
    match word {
        "proto" if entry.is_some() => "protocol",
        "service" if entry.is_some_and(|path| OF_OTHERS.iter().any(|list| path.ends_with(list))) => "name",
        _ => KEYS.iter().find(|(ours, _)| *ours == word).map_or(word, |(_, theirs)| theirs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_the_agents_send() {
        for (ours, theirs) in [
            ("images[0].ports[1].container_port: is missing", "images[0].ports[1].containerPort: is missing"),
            ("images[0].ports[12].proto: is none", "images[0].ports[12].protocol: is none"),
            ("images[0].links[0].service: there is no image", "images[0].links[0].name: there is no image"),
            ("images[3].volumes_from[0].service: none", "images[3].volumesFrom[0].name: none"),
            ("write `host_port` and `container_port`", "write `hostPort` and `containerPort`"),
            // What is no key stays.
            ("my_host_port is the service of proto", "my_host_port is the service of proto"),
            ("größer als 8\u{a0}KiB", "größer als 8\u{a0}KiB"),
            ("", ""),
        ] {
            assert_eq!(spoken(ours), theirs);
        }
    }

    #[test]
    fn no_option_is_advised() {
        for (ours, theirs) in [
            (
                "namespace a does not exist; create it, or set options.create_namespace",
                "namespace a does not exist; create it",
            ),
            (
                "it is held by kubectl; undo that change, or set options.conflicts",
                "it is held by kubectl; undo that change",
            ),
            (
                "it cannot shrink; set options.volume_size to 5Gi or more",
                "it cannot shrink; that takes an option, which a Deploy over gRPC has",
            ),
            (
                "no; hint: set options.volumes to say what volumes become",
                "no; hint: that takes an option, which a Deploy over gRPC has",
            ),
        ] {
            assert_eq!(spoken(ours), theirs);
            assert!(!spoken(ours).contains(OPTION));
        }
    }
}
