//! Answers for people: tables and sentences.

use super::flags::spoken;
use super::words::said;
use panamax_kubernetes_adapter_client as proto;

/// What is said where there is no deployment.
pub const NONE: &str = "no deployments";

/// The widest column; what is longer moves the rest of its own line alone.
const WIDEST: usize = 64;

/// A text of the adapter's, without what a terminal would act on.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// A sentence of the adapter's, with flags for what it calls by other names.
fn sentence(text: &str) -> String {
    plain(&spoken(text))
}

/// Rows in columns, each as wide as its widest cell, behind an indentation.
fn table(indent: &str, rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count());
        widths.filter(|width| *width <= WIDEST).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{indent}{}", cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(plain).to_vec()
}

fn replicas(component: &proto::Component) -> String {
    let number = |number: Option<i32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    format!("{}/{}", number(component.ready_replicas), number(component.desired_replicas))
}

/// The state of a deployment with its reason.
fn state(deployment: &proto::Deployment) -> String {
    let reason = said::<proto::ComponentReason>(deployment.reason);
    let state = said::<proto::DeploymentState>(deployment.state);
    if reason.is_empty() { state.to_owned() } else { format!("{state} ({reason})") }
}

/// The state of a component, which may be one that nobody knows.
fn component_state(component: &proto::Component) -> &'static str {
    let state = said::<proto::ComponentState>(component.state);
    if state.is_empty() { "UNKNOWN" } else { state }
}

/// A deployment and its components.
pub fn deployment(deployment: &proto::Deployment) -> Vec<String> {
    let head = format!(
        "{}/{}  revision {}  ",
        plain(&deployment.namespace),
        plain(&deployment.name),
        deployment.revision
    );
    let mut lines = vec![format!("{head}{}", state(deployment))];
    if !deployment.message.is_empty() {
        lines.push(format!("  {}", sentence(&deployment.message)));
    }
    let mut rows = vec![row(["COMPONENT", "READY", "STATE", "IMAGE", "WHY"])];
    for one in &deployment.components {
        let reason = said::<proto::ComponentReason>(one.reason);
        let why = spoken(&one.message);
        let why = [reason, &why].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        let state = component_state(one);
        rows.push(row([&one.name, &replicas(one), state, &one.image, &why]));
    }
    if !deployment.components.is_empty() {
        lines.extend(table("  ", &rows));
    }
    lines
}

/// A deployment with all that is told of it.
pub fn whole(one: &proto::Deployment) -> Vec<String> {
    [deployment(one), details(one)].concat()
}

/// Where a deployment's components are reached, its pods, objects and latest Events, and its template, as far as they are
/// told.
pub fn details(deployment: &proto::Deployment) -> Vec<String> {
    let mut lines = Vec::new();
    if !deployment.endpoints.is_empty() {
        let mut rows = vec![row(["ENDPOINT", "PORT", "OF", "OUTSIDE"])];
        for one in &deployment.endpoints {
            let outside = [
                one.host_port.map(|port| format!("host port {port}")),
                one.node_port.map(|port| format!("node port {port}")),
                one.load_balancer.clone(),
            ];
            let outside = outside.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let port = match one.port {
                0 => "-".to_owned(),
                port => format!("{port}/{}", one.protocol.to_lowercase()),
            };
            rows.push(row([&one.host, &port, &one.component, &outside]));
        }
        lines.extend(table("  ", &rows));
    }
    if deployment.components.iter().any(|one| !one.pods.is_empty()) {
        let mut rows = vec![row(["POD", "OF", "PHASE", "READY", "RESTARTS", "NODE", "WHY"])];
        for component in &deployment.components {
            rows.extend(component.pods.iter().map(|one| pod(&component.name, one)));
        }
        lines.extend(table("  ", &rows));
    }
    if !deployment.objects.is_empty() {
        let mut rows = vec![row(["OBJECT", "NAME"])];
        rows.extend(deployment.objects.iter().map(|object| row([&object.kind, &object.name])));
        lines.extend(table("  ", &rows));
    }
    if !deployment.events.is_empty() {
        let mut rows = vec![row(["EVENT", "COMPONENT", "MESSAGE"])];
        let event = |one: &proto::DeploymentEvent| row([&one.reason, &one.component, &spoken(&one.message)]);
        rows.extend(deployment.events.iter().map(event));
        lines.extend(table("  ", &rows));
    }
    if let Some(template) = &deployment.template {
        let mut rows = vec![row(["TEMPLATE", "SOURCE", "PORTS", "LINKS", "VARIABLES"])];
        rows.extend(template.images.iter().map(image));
        lines.extend(table("  ", &rows));
    }
    lines
}

fn pod(component: &str, one: &proto::PodStatus) -> Vec<String> {
    let reason = said::<proto::ComponentReason>(one.reason);
    let why = [reason, &spoken(&one.message)]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let restarts = one.restart_count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let ready = if one.ready { "yes" } else { "no" };
    row([&one.name, component, &one.phase, ready, &restarts, &one.node, &why])
}

/// An image of a template, without what its variables hold.
fn image(one: &proto::Image) -> Vec<String> {
    let port = |port: &proto::PortMapping| {
        let [host, container] = [port.host_port, port.container_port]
            .map(|number| number.map(|number| number.to_string()).unwrap_or_default());
        if host.is_empty() { container } else { format!("{host}:{container}") }
    };
    let link = |link: &proto::Link| match link.alias.as_str() {
        "" => link.service.clone(),
        alias => format!("{} as {alias}", link.service),
    };
    let ports = one.ports.iter().map(port).collect::<Vec<_>>().join(", ");
    let links = one.links.iter().map(link).collect::<Vec<_>>().join(", ");
    let variables = one.environment.iter().map(|one| one.variable.as_str()).collect::<Vec<_>>().join(", ");
    row([&one.name, &one.source, &ports, &links, &variables])
}

/// A deployment as one line.
pub fn summary(deployment: &proto::Deployment) -> String {
    let component = |one: &proto::Component| {
        let reason = said::<proto::ComponentReason>(one.reason);
        let state = if reason.is_empty() { component_state(one) } else { reason };
        format!("{} {} {state}", plain(&one.name), replicas(one))
    };
    let components: Vec<String> = deployment.components.iter().map(component).collect();
    format!("{}  {}  {}", plain(&deployment.name), state(deployment), components.join(", "))
        .trim_end()
        .to_owned()
}

/// The same where there are deployments of several namespaces.
pub fn summary_of_all(deployment: &proto::Deployment) -> String {
    format!("{}/{}", plain(&deployment.namespace), summary(deployment))
}

/// A table of deployments.
pub fn deployments(deployments: &[proto::Deployment]) -> Vec<String> {
    if deployments.is_empty() {
        return vec![NONE.to_owned()];
    }
    let mut rows = vec![row(["NAMESPACE", "NAME", "STATE", "REVISION", "COMPONENTS"])];
    for one in deployments {
        let components = one.components.iter();
        let components: Vec<String> =
            components.map(|component| format!("{} {}", component.name, replicas(component))).collect();
        let revision = one.revision.to_string();
        rows.push(row([&one.namespace, &one.name, &state(one), &revision, &components.join(", ")]));
    }
    table("", &rows)
}

/// A table of revisions.
pub fn revisions(revisions: &[proto::Revision]) -> Vec<String> {
    let mut rows = vec![row(["REVISION", "CREATED", "RESULT", "BY", "PUTS BACK", "WHY IT FAILED"])];
    for one in revisions {
        let created = one.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
        let back = one.rollback_of.map(|number| number.to_string()).unwrap_or_default();
        let result = said::<proto::RevisionResult>(one.result);
        let why = spoken(&one.message);
        rows.push(row([&one.number.to_string(), &created, result, &one.created_by, &back, &why]));
    }
    table("", &rows)
}

/// What is still there of a deployment that goes, and what holds it, if anything does.
pub fn blocked(blocked: &[proto::BlockedObject]) -> Vec<String> {
    let line = |one: &proto::BlockedObject| {
        let object = one.object.clone().unwrap_or_default();
        let object = format!("{} {}", object.kind, object.name);
        let line = match (one.message.as_str(), one.finalizers.as_slice()) {
            ("", []) => format!("still there: {object}"),
            ("", finalizers) => format!("held back: {object} by {}", finalizers.join(", ")),
            (message, _) => format!("held back: {object}: {}", spoken(message)),
        };
        format!("  {}", plain(&line))
    };
    blocked.iter().map(line).collect()
}

/// A change as cells: `create`, `Service`, `wp`, `(WP)`.
fn change(change: &proto::ObjectChange) -> Vec<String> {
    let action = said::<proto::ObjectAction>(change.action).to_lowercase();
    let (kind, name) = change.r#ref.as_ref().map_or(("", ""), |object| (&object.kind, &object.name));
    let component = match change.component.as_str() {
        "" => String::new(),
        component => format!("({component})"),
    };
    row([&action, kind, name, &component])
}

/// What is done, or would be done, to each object; with the fields, if they are wanted.
pub fn changes(changes: &[proto::ObjectChange], with_fields: bool) -> Vec<String> {
    let rows: Vec<Vec<String>> = changes.iter().map(change).collect();
    let mut lines = Vec::new();
    for (line, change) in table("  ", &rows).into_iter().zip(changes) {
        lines.push(line);
        for field in change.fields.iter().filter(|_| with_fields) {
            let side = |side: &Option<String>| side.as_deref().map_or_else(|| "-".to_owned(), plain);
            lines.push(format!(
                "    {}: {} -> {}",
                plain(&field.path),
                side(&field.before),
                side(&field.after)
            ));
        }
    }
    if lines.is_empty() {
        lines.push("  nothing changes".to_owned());
    }
    lines
}

/// What the cluster warned of.
pub fn warnings(warnings: &[String]) -> Vec<String> {
    warnings.iter().map(|warning| format!("  the cluster warns: {}", plain(warning))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordpress() -> proto::Deployment {
        let component = |name: &str, ready| proto::Component {
            name: name.into(),
            image: "a:1".into(),
            state: proto::ComponentState::Progressing.into(),
            ready_replicas: Some(ready),
            desired_replicas: Some(1),
            message: "waits\u{1b}[2J".into(),
            ..Default::default()
        };
        proto::Deployment {
            namespace: "default".into(),
            name: "wp".into(),
            revision: 2,
            state: proto::DeploymentState::Deploying.into(),
            components: vec![component("wp", 0), component("db-long", 1)],
            ..Default::default()
        }
    }

    #[test]
    fn what_is_still_there_is_held_back_only_by_somebody() {
        let one = |name: &str, finalizers: &[&str], message: &str| proto::BlockedObject {
            object: Some(proto::ObjectRef { kind: "Pod".into(), name: name.into(), ..Default::default() }),
            finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
            message: message.into(),
            ..Default::default()
        };
        let told = blocked(&[
            one("a", &[], ""),
            one("b", &["example.com/hold", "example.com/too"], ""),
            one("c", &[], "policy keep refuses it"),
        ]);
        let expected = [
            "  still there: Pod a",
            "  held back: Pod b by example.com/hold, example.com/too",
            "  held back: Pod c: policy keep refuses it",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        assert_eq!(
            deployment(&wordpress()),
            [
                "default/wp  revision 2  DEPLOYING",
                "  COMPONENT  READY  STATE        IMAGE  WHY",
                "  wp         0/1    PROGRESSING  a:1    waits\u{fffd}[2J",
                "  db-long    1/1    PROGRESSING  a:1    waits\u{fffd}[2J",
            ]
        );
        assert_eq!(summary(&wordpress()), "wp  DEPLOYING  wp 0/1 PROGRESSING, db-long 1/1 PROGRESSING");
    }

    #[test]
    fn changes_stand_in_columns_however_long_their_names_are() {
        let change = |name: &str, component: &str| proto::ObjectChange {
            action: proto::ObjectAction::Create.into(),
            r#ref: Some(proto::ObjectRef { kind: "Service".into(), name: name.into(), ..Default::default() }),
            component: component.into(),
            ..Default::default()
        };
        let long = "a-name-of-more-than-twenty-eight-letters";
        let endless = "x".repeat(WIDEST + 1);
        let told = changes(&[change("db", "DB"), change(long, "WP"), change(&endless, "X")], false);
        assert_eq!(
            told,
            [
                format!("  create  Service  db{}  (DB)", " ".repeat(long.len() - 2)),
                format!("  create  Service  {long}  (WP)"),
                format!("  create  Service  {endless}  (X)"),
            ]
        );
        assert_eq!(changes(&[], false), ["  nothing changes"]);
    }

    #[test]
    fn pods_and_the_template_are_told_without_values() {
        let mut deployment = wordpress();
        let pod = proto::PodStatus {
            name: "wp-1".into(),
            phase: "Running".into(),
            ready: true,
            ..Default::default()
        };
        deployment.components[0].pods = vec![pod];
        let variable =
            proto::Environment { variable: "A".into(), value: Some("canary".into()), required: false };
        let port =
            proto::PortMapping { host_port: Some(8080), container_port: Some(80), ..Default::default() };
        let image = proto::Image {
            name: "WP".into(),
            source: "a:1".into(),
            ports: vec![port],
            links: vec![proto::Link { service: "DB".into(), alias: "DB_1".into() }],
            environment: vec![variable],
            ..Default::default()
        };
        deployment.template = Some(proto::Template { images: vec![image], ..Default::default() });
        let expected = [
            "  POD   OF  PHASE    READY  RESTARTS  NODE  WHY",
            "  wp-1  wp  Running  yes    -",
            "  TEMPLATE  SOURCE  PORTS    LINKS       VARIABLES",
            "  WP        a:1     8080:80  DB as DB_1  A",
        ];
        assert_eq!(details(&deployment), expected);
    }

    #[test]
    fn what_was_refused_is_told_with_flags() {
        let mut deployment = wordpress();
        deployment.message = "undo that change, or set options.conflicts".into();
        deployment.components[0].message = "set options.create_namespace".into();
        let lines = self::deployment(&deployment).join("\n");
        assert!(lines.contains("or set --conflicts") && lines.contains("set --create-namespace"), "{lines}");
    }

    #[test]
    fn no_answer_moves_the_cursor() {
        let mut deployment = wordpress();
        deployment.message = "a\u{1b}[2Jb\r".into();
        let event = proto::DeploymentEvent { message: "\u{7}".into(), ..Default::default() };
        deployment.events = vec![event];
        let lines =
            [self::deployment(&deployment), details(&deployment), deployments(&[deployment])].concat();
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }
}
