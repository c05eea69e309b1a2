//! The environment of a container: the template's variables unharmed, then the variables of its links.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::inherited::{inherited, is_handed_on};
use super::links::ResolvedLink;
use super::ports::{ImagePorts, ServicePort};
use super::secrets::{self, SecretVariables};
use super::service::PlannedService;
use super::share::Share;
use super::{Context, LinkEnvironment};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Protocol, VariableName, shown, variable_prefix as prefix};

/// The variables of a container as a JSON list: as a tree of values many would take ten times as much memory.
#[derive(Default)]
pub(super) struct Entries(String);

impl Entries {
    /// What an item takes beside its name and its value.
    const FRAME: usize = 24;

    /// Makes room for so many variables with so many bytes, and no more: doubling a long list would take twice as much.
    fn reserve(&mut self, count: usize, bytes: usize) {
        self.0.reserve_exact(Self::FRAME * count + bytes + 1);
    }

    /// Adds a variable: its name, and its value or where that is kept.
    fn push(&mut self, name: &VariableName, value: Variable<'_>) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        let (key, value) = match value {
            Variable::Plain(value) => ("value", Value::from(literal(&value))),
            Variable::Kept(reference) => ("valueFrom", reference),
        };
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{{\"name\":{},\"{key}\":{value}}}", Value::from(name.in_full()));
    }

    /// The whole list, if there is a variable.
    pub(super) fn list(mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| {
            self.0.push(']');
            self.0
        })
    }
}

/// What the link variables of a template may still take, all images together.
pub(super) struct Left<'s> {
    share: &'s Share,
    bytes: usize,
    variables: usize,
}

impl<'s> Left<'s> {
    /// What they may take before there is one.
    pub(super) fn new(share: &'s Share) -> Self {
        Self { share, bytes: share.bytes, variables: share.variables }
    }

    /// Takes the variables of one link, of an image whose links have taken some already; says why it cannot.
    fn take(&mut self, (count, bytes): (usize, usize), of_image: &mut (usize, usize)) -> Result<(), Excess> {
        let all = (of_image.0 + count, of_image.1 + bytes);
        let Share { variables_of_image, variables, bytes_of_image, .. } = *self.share;
        if all.0 > variables_of_image || count > self.variables {
            return Err(Excess::Many(format!(
                "the link has {count} variables, and the links of its image more than {variables_of_image}, or all links more than {variables}; the link is refused whole"
            )));
        }
        if all.1 > bytes_of_image || bytes > self.bytes {
            return Err(Excess::Large(format!(
                "the variables of the image's links are larger than {} bytes",
                bytes_of_image.min(self.bytes)
            )));
        }
        (self.variables, self.bytes) = (self.variables - count, self.bytes - bytes);
        *of_image = all;
        Ok(())
    }
}

/// Why a link cannot have its variables.
enum Excess {
    /// They are too many.
    Many(String),
    /// They are too large.
    Large(String),
}

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

/// What a variable says.
enum Variable<'v> {
    /// The value itself.
    Plain(Cow<'v, str>),
    /// Where the value is kept.
    Kept(Value),
}

impl Variable<'_> {
    /// Its bytes, without what JSON adds.
    fn size(&self) -> usize {
        match self {
            Variable::Plain(value) => value.len(),
            Variable::Kept(_) => 0,
        }
    }
}

/// Adds the template's own variables of an image; what is secret is referred to.
pub(super) fn add_own(context: &Context<'_>, index: usize, secrets: &SecretVariables, entries: &mut Entries) {
    for variable in &context.template.images[index].environment {
        let value = value_of(context, index, (&variable.name, &variable.value), secrets);
        entries.push(&variable.name, value);
    }
}

fn value_of<'v>(
    context: &Context<'_>,
    index: usize,
    (name, value): (&VariableName, &'v str),
    secrets: &SecretVariables,
) -> Variable<'v> {
    match secrets.key(name) {
        Some(key) => Variable::Kept(secrets::reference(context, index, key)),
        None => Variable::Plain(Cow::Borrowed(value)),
    }
}

/// The inputs of link variables.
pub(super) struct Linked<'a, 't> {
    pub(super) links: &'a [ResolvedLink<'t>],
    pub(super) ports: &'a [ImagePorts<'t>],
    pub(super) secrets: &'a [SecretVariables],
}

/// Adds the variables of an image's declared links, exactly Docker's set, in a fixed order.
///
/// A variable that the template sets stays the template's, and that is told. A link whose variables would be too many
/// or too large, alone or with those of other images, is refused whole: never a part of its set is made.
pub(super) fn add_links(
    context: &Context<'_>,
    linker: usize,
    linked: &Linked<'_, '_>,
    left: &mut Left<'_>,
    entries: &mut Entries,
    findings: &mut Findings,
) {
    let image = &context.template.images[linker];
    let own: BTreeSet<&VariableName> = image.environment.iter().map(|variable| &variable.name).collect();
    let mut taken: BTreeSet<VariableName> = BTreeSet::new();
    let (mut of_image, before) = ((0, 0), entries.0.len());
    let all = context.rules().link_environment == LinkEnvironment::Declared;
    let first = linked.links.partition_point(|link| link.linker < linker);
    let links = linked.links[first..].iter().take_while(|link| link.linker == linker);
    // The kubelet's variables begin with the Service's name, which may have been cut, trimmed or kept apart.
    let differs = |link: &ResolvedLink<'_>| prefix(link.alias) != prefix(&link.service);
    for link in links {
        // The kubelet sets none for a Service without ports; a guess lives here alone.
        let is_guess = !linked.ports[link.target].guessed.is_empty();
        if !all && !differs(link) && !is_guess {
            tell_kubelet(context, link, findings);
            continue;
        }
        let count = count_of(context, link, linked);
        // Too many are not even named.
        let few = count <= left.share.variables_of_image;
        let set: Vec<_> =
            few.then(|| docker_variables(context, link, linked)).into_iter().flatten().collect();
        let size = set.iter().map(|(name, value)| name.in_full().len() + value.size()).sum();
        match left.take((count, size), &mut of_image) {
            Ok(()) => {}
            Err(Excess::Many(message)) => {
                let advice = "remove links or ports that nothing needs, or set options.link_environment to LINK_ENVIRONMENT_KUBELET";
                findings.push(Diagnostic::new(Code::LimitExceeded, link.field, message).advising(advice));
                continue;
            }
            Err(Excess::Large(message)) => {
                findings.report(Code::ObjectTooLarge, format!("images[{linker}].links"), message);
                entries.0.truncate(before);
                return;
            }
        }
        tell_digit(link, findings);
        entries.reserve(count, size);
        for (name, value) in set {
            if own.contains(&name) {
                let message = format!("`{}` keeps the template's value", name.shown());
                findings.report(Code::VariableKept, link.field, message);
            } else if taken.contains(&name) {
                let message = format!("`{}` is already set by another link", name.shown());
                findings.report(Code::LinkVariableTaken, link.field, message);
            } else {
                entries.push(&name, value);
                taken.insert(name);
            }
        }
    }
}

/// How many variables Docker set for a link, at the most.
fn count_of(context: &Context<'_>, link: &ResolvedLink<'_>, linked: &Linked<'_, '_>) -> usize {
    let ports = ports_of(context, link, linked);
    let handed_on =
        context.template.images[link.target].environment.len() + inherited(context, link.target).count();
    2 + 4 * ports.len() + 4 * runs(&ports).len() + handed_on
}

/// The ports that variables of a link name: a Docker link knows nothing of host ports.
fn ports_of<'a>(
    context: &Context<'_>,
    link: &ResolvedLink<'_>,
    linked: &'a Linked<'_, '_>,
) -> Vec<&'a ServicePort<'a>> {
    let target = &linked.ports[link.target];
    let ports = target.of_link(context.opens_outside(link, target)).chain(&target.guessed);
    ports.filter(|port| port.number == port.target && !port.is_further).collect()
}

/// Tells what the kubelet sets in pods that have no link: Docker set variables for links alone, and an image may bring
/// a default under the name that its own Service gives.
pub(super) fn tell_service_variables(
    context: &Context<'_>,
    services: &[PlannedService<'_>],
    findings: &mut Findings,
) {
    if context.rules().link_environment == LinkEnvironment::Declared {
        return;
    }
    for (index, image) in
        context.template.images.iter().enumerate().filter(|(_, image)| image.links.is_empty())
    {
        let name = context.names[index].as_str();
        if services.iter().any(|service| service.target() == index && service.name() == name) {
            let message = format!(
                "the kubelet sets `{}_PORT` and others in its pods, over what `{}` may bring itself",
                prefix(name),
                shown(image.name.as_str())
            );
            findings.report(Code::ServiceVariables, format!("images[{index}].name"), message);
        }
    }
}

/// Tells which of Docker's variables the kubelet does not give.
fn tell_kubelet(context: &Context<'_>, link: &ResolvedLink<'_>, findings: &mut Findings) {
    if !context.template.images[link.target].environment.is_empty() {
        let prefix = prefix(link.alias);
        let message = format!("the kubelet sets no `{prefix}_ENV_…` variables");
        findings.report(Code::LinkVariablesPartial, link.field, message);
    }
}

/// Tells of variables whose names begin with a digit.
fn tell_digit(link: &ResolvedLink<'_>, findings: &mut Findings) {
    let prefix = prefix(link.alias);
    if prefix.starts_with(|first: char| first.is_ascii_digit()) {
        let message =
            format!("servers before 1.34 may refuse the names `{}_…` of its variables", shown(&prefix));
        findings.report(Code::VariableNameRelaxed, format!("{}.alias", link.field), message);
    }
}

/// What Docker set for one link: name, address and container ports of the target, then its own variables.
fn docker_variables<'a>(
    context: &'a Context<'_>,
    link: &ResolvedLink<'_>,
    linked: &'a Linked<'_, '_>,
) -> impl Iterator<Item = (VariableName, Variable<'a>)> + use<'a> {
    let prefix = prefix(link.alias);
    let plain = |mut name: String, value: String| {
        // Formatting leaves room behind a text, and there may be hundreds of long ones.
        name.shrink_to_fit();
        (VariableName::of_link(name), Variable::Plain(Cow::Owned(value)))
    };
    let own_name = format!("/{}/{}", context.names[link.linker], link.alias);
    let mut variables = vec![plain(format!("{prefix}_NAME"), own_name)];
    let ports = ports_of(context, link, linked);
    let url = |protocol: &str, port: u16| format!("{protocol}://{}:{port}", link.service);
    for (position, port) in ports.iter().enumerate() {
        let protocol = port.protocol.lower();
        if position == 0 {
            variables.push(plain(format!("{prefix}_PORT"), url(protocol, port.number)));
        }
        let name = format!("{prefix}_PORT_{}_{}", port.number, port.protocol.as_str());
        variables.push(plain(name.clone(), url(protocol, port.number)));
        variables.push(plain(format!("{name}_ADDR"), link.service.clone()));
        variables.push(plain(format!("{name}_PORT"), port.number.to_string()));
        variables.push(plain(format!("{name}_PROTO"), protocol.to_owned()));
    }
    for (first, last, protocol) in runs(&ports) {
        let name = format!("{prefix}_PORT_{first}_{}", protocol.as_str());
        variables.push(plain(format!("{name}_START"), url(protocol.lower(), first)));
        variables.push(plain(format!("{name}_PORT_START"), first.to_string()));
        variables.push(plain(format!("{name}_END"), url(protocol.lower(), last)));
        variables.push(plain(format!("{name}_PORT_END"), last.to_string()));
    }
    let target = link.target;
    let own = context.template.images[target].environment.iter();
    let own = own.map(|variable| (&variable.name, variable.value.as_str()));
    let own = own.filter(|(name, _)| is_handed_on(name));
    let handed_on = own.chain(inherited(context, target)).map(move |(name, value)| {
        let value = value_of(context, target, (name, value), &linked.secrets[target]);
        (VariableName::of_link(format!("{prefix}_ENV_{}", name.in_full())), value)
    });
    variables.into_iter().chain(handed_on)
}

/// Runs of three and more container ports of one protocol that follow each other: first, last and protocol of each.
fn runs(ports: &[&ServicePort<'_>]) -> Vec<(u16, u16, Protocol)> {
    let mut runs = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let own = ports.iter().filter(|port| port.number == port.target && port.protocol == protocol);
        let mut numbers: Vec<u16> = own.map(|port| port.number).collect();
        numbers.sort_unstable();
        let follows = |left: &u16, right: &u16| left.checked_add(1) == Some(*right);
        for run in numbers.chunk_by(follows).filter(|run| run.len() >= 3) {
            runs.extend(run.first().zip(run.last()).map(|(first, last)| (*first, *last, protocol)));
        }
    }
    runs
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
