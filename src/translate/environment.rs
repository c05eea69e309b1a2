//! The environment of a container: the template's variables unharmed, then the variables of its links.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Context;
use super::links::ResolvedLink;
use super::service::PlannedService;
use crate::diagnostic::{Code, Findings};
use crate::template::{Image, shown};

/// The most bytes of link variables that are made for one container; an object above 900 KiB is refused anyway.
const MAX_DECLARED: usize = 900 * 1024;

/// Doubles dollar signs where the kubelet would take one away or put another variable's value in.
///
/// The kubelet replaces `$(NAME)` and halves `$$` in values and arguments. So in every run of `$` that is longer
/// than one or stands before `(`, each `$` is doubled; all others arrive as they are.
pub(super) fn literal(text: &str) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let mut literal = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        literal.push_str(&rest[..start]);
        let run = rest[start..].bytes().take_while(|byte| *byte == b'$').count();
        let doubled = run > 1 || rest[start + run..].starts_with('(');
        literal.extend(std::iter::repeat_n('$', if doubled { run * 2 } else { run }));
        rest = &rest[start + run..];
    }
    literal.push_str(rest);
    literal
}

/// The template's own variables of an image.
pub(super) fn own(image: &Image) -> impl Iterator<Item = Value> {
    image.environment.iter().map(|variable| entry(variable.name.as_str(), &variable.value))
}

fn entry(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": literal(value) })
}

/// The variables of an image's declared links, exactly Docker's set, in a fixed order.
///
/// A variable that the template sets stays the template's, and that is told. `None` when they grow too large.
pub(super) fn of_links(
    context: &Context<'_>,
    linker: usize,
    links: &[ResolvedLink<'_>],
    services: &[PlannedService<'_>],
    findings: &mut Findings,
) -> Option<Vec<Value>> {
    let image = &context.template.images[linker];
    let mut taken: BTreeSet<String> =
        image.environment.iter().map(|variable| variable.name.as_str().to_owned()).collect();
    let own: BTreeSet<String> = taken.clone();
    let mut declared = Vec::new();
    let mut bytes = 0;
    let first = links.partition_point(|link| link.linker < linker);
    let links = links[first..].iter().take_while(|link| link.linker == linker);
    for link in links.filter(|link| link.declared) {
        for (name, value) in docker_variables(context, link, services) {
            if own.contains(&name) {
                let message = format!("`{}` keeps the template's value", shown(&name));
                findings.report(Code::VariableKept, link.field, message);
            } else if !taken.contains(&name) {
                bytes += name.len() + value.len();
                if bytes > MAX_DECLARED {
                    let message = "the variables of the image's links are larger than 900 KiB";
                    findings.report(Code::ObjectTooLarge, format!("images[{linker}].links"), message);
                    return None;
                }
                declared.push(entry(&name, &value));
                taken.insert(name);
            }
        }
    }
    Some(declared)
}

/// What Docker set for one link: name, address and ports of the target, then the target's own variables.
fn docker_variables<'a>(
    context: &'a Context<'_>,
    link: &ResolvedLink<'_>,
    services: &[PlannedService<'_>],
) -> impl Iterator<Item = (String, String)> + use<'a> {
    let prefix = prefix(link.alias);
    let mut variables =
        vec![(format!("{prefix}_NAME"), format!("/{}/{}", context.names[link.linker], link.alias))];
    let service = services.binary_search_by(|service| service.name().cmp(&link.service));
    let ports = service.map(|index| services[index].ports.as_slice()).unwrap_or_default();
    let url = |protocol: &str, port: u16| format!("{protocol}://{}:{port}", link.service);
    if let Some(first) = ports.first() {
        variables.push((format!("{prefix}_PORT"), url(first.protocol.lower(), first.number)));
    }
    for port in ports {
        let name = format!("{prefix}_PORT_{}_{}", port.number, port.protocol.as_str());
        let protocol = port.protocol.lower();
        variables.push((name.clone(), url(protocol, port.number)));
        variables.push((format!("{name}_ADDR"), link.service.clone()));
        variables.push((format!("{name}_PORT"), port.number.to_string()));
        variables.push((format!("{name}_PROTO"), protocol.to_owned()));
    }
    let target = &context.template.images[link.target];
    let inherited = target
        .environment
        .iter()
        .map(move |variable| (format!("{prefix}_ENV_{}", variable.name.as_str()), variable.value.clone()));
    variables.into_iter().chain(inherited)
}

/// The alias as the beginning of variable names: upper case, every other character an underscore.
fn prefix(alias: &str) -> String {
    alias
        .chars()
        .map(|character| match character.to_ascii_uppercase() {
            kept @ ('A'..='Z' | '0'..='9') => kept,
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kubelet makes of a value when every variable is set to «EXPANDED».
    fn kubelet(text: &str) -> String {
        let bytes = text.as_bytes();
        let mut out = String::new();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'$' && at + 1 < bytes.len() {
                match bytes[at + 1] {
                    b'$' => {
                        out.push('$');
                        at += 2;
                    }
                    b'(' => match text[at + 2..].find(')') {
                        Some(end) => {
                            out.push_str("EXPANDED");
                            at += end + 3;
                        }
                        None => {
                            out.push_str("$(");
                            at += 2;
                        }
                    },
                    _ => {
                        out.push('$');
                        at += 1;
                    }
                }
            } else {
                let character = text[at..].chars().next().unwrap();
                out.push(character);
                at += character.len_utf8();
            }
        }
        out
    }

    #[test]
    fn dollars_arrive_as_written() {
        for text in [
            "",
            "$",
            "$$",
            "$$$",
            "$(A)",
            "$$(A)",
            "a$b",
            "a$$b$",
            "$(",
            "$()",
            "é$é$(é)",
            "$1$2",
            "$$$(A)$",
            "($)",
        ] {
            assert_eq!(kubelet(&literal(text)), text, "{text}");
        }
        assert_eq!(literal("a$b"), "a$b");
    }

    proptest::proptest! {
        #[test]
        fn any_text_arrives_as_written(text in "[$()A-Cé ]{0,20}") {
            proptest::prop_assert_eq!(kubelet(&literal(&text)), text);
        }
    }

    #[test]
    fn prefixes_are_dockers() {
        assert_eq!(prefix("DB_1"), "DB_1");
        assert_eq!(prefix("Drupal_7.28"), "DRUPAL_7_28");
        assert_eq!(prefix("my-db"), "MY_DB");
    }
}
