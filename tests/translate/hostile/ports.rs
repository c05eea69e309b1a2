//! Rows of section P: ports that are none, and ports that clash.

use panamax_kubernetes_adapter::artifacts::Kind;
use panamax_kubernetes_adapter::diagnostic::Code;

use super::{How, Row, containers, fine, image, refused, told};

/// A template with this container port, and one with this host port.
fn both(id: &'static str, port: &str, code: Code) -> [Row; 2] {
    let container = image(&format!("  ports: [{{container_port: {port}}}]\n"));
    let host = image(&format!("  ports: [{{container_port: 80, host_port: {port}}}]\n"));
    [
        refused(id, container, code, "images[0].ports[0].container_port").at(5, 28),
        refused(id, host, code, "images[0].ports[0].host_port").at(5, 43),
    ]
}

fn protocol(protocol: &str) -> String {
    image(&format!("  ports: [{{container_port: 80, proto: {protocol}}}]\n"))
}

fn two_images(first: &str, second: &str) -> String {
    image(&format!("  ports: [{first}]\n- name: c\n  source: d:1\n  ports: [{second}]\n"))
}

/// A row whose host ports become ports of Services, which is told at these paths.
fn dropped(how: How, id: &'static str, text: &str, paths: &[&str]) -> Row {
    let mut told = Vec::new();
    for path in paths {
        // Where the kubelet sets variables, each image hears of it once.
        let name = path.replace("ports[0].host_port", "name");
        if how == How::HostPortsDropped && name != *path {
            told.push((Code::ServiceVariables, name));
        }
        told.push((Code::HostPortMoved, (*path).to_owned()));
    }
    super::row(id, text, super::Outcome::Told(told)).how(how)
}

pub(super) fn rows() -> Vec<Row> {
    use Code::{LimitExceeded, PortNotDecimal, PortProtocol, PortRange};
    let mut rows: Vec<Row> = [
        ("P1", "0", PortRange),
        ("P2", "-1", PortRange),
        ("P3", "65536", PortRange),
        ("P4", "65616", PortRange),
        ("P5", "80.0", PortNotDecimal),
        ("P6", "8e1", PortNotDecimal),
        ("P7", "0x50", PortNotDecimal),
        ("P8", "0o120", PortNotDecimal),
        ("P9", "0120", PortNotDecimal),
        ("P10", "8_0", PortNotDecimal),
        ("P11", "1:20", PortNotDecimal),
        ("P12", "'80 '", PortNotDecimal),
        ("P13", "８０", PortNotDecimal),
        ("P15", "18446744073709551616", PortRange),
    ]
    .into_iter()
    .flat_map(|(id, port, code)| both(id, port, code))
    .collect();
    let many: String = (1..=65).map(|port| format!("{{container_port: {port}}}, ")).collect();
    let shared = two_images("{container_port: 80, host_port: 80}", "{container_port: 81, host_port: 80}");
    let node = "  ports: [{container_port: 1, host_port: 22}, {container_port: 2, host_port: 6443}, {container_port: 3, host_port: 10250}]\n";
    rows.extend([
        fine("P14", image("  ports: [{container_port: \"80\", host_port: '80'}]\n"))
            .check(|artifacts| assert_eq!(containers(artifacts)[0]["ports"][0]["hostPort"], 80)),
        fine("P16", protocol("tcp"))
            .check(|artifacts| assert_eq!(containers(artifacts)[0]["ports"][0]["protocol"], "TCP")),
        refused("P16", protocol("sctp"), PortProtocol, "images[0].ports[0].proto"),
        refused("P16", protocol("ICMP"), PortProtocol, "images[0].ports[0].proto"),
        refused("P16", protocol("\"TCP\\n\""), PortProtocol, "images[0].ports[0].proto"),
        // The design's answer: merged, and told.
        told(
            "P17",
            image("  ports: [{container_port: 80}, {container_port: 80, proto: TCP}]\n"),
            Code::PortRepeated,
            "images[0].ports[1]",
        )
        .check(|artifacts| assert_eq!(containers(artifacts)[0]["ports"].as_array().map(Vec::len), Some(1))),
        // The design's answer: such pods cannot share a node, which is told.
        told("P18", shared.clone(), Code::HostPortShared, "images[1].ports[0].host_port"),
        refused("P19", image(&format!("  ports: [{many}]\n")), LimitExceeded, "images[0].ports"),
        // The design's answer: the template's host ports are kept under KEEP, as the seed has it, and no other.
        fine("P20", image(node)).check(|artifacts| {
            let ports = containers(artifacts)[0]["ports"].as_array().expect("ports").iter();
            assert_eq!(
                ports.map(|port| port["hostPort"].as_u64().unwrap_or_default()).collect::<Vec<_>>(),
                [22, 6443, 10250]
            );
        }),
    ]);
    for how in [How::HostPortsDropped, How::Modern] {
        let dropped = |text: &str, id, paths: &[&str]| dropped(how, id, text, paths);
        rows.push(
            dropped(&shared, "P18", &["images[0].ports[0].host_port", "images[1].ports[0].host_port"]).check(
                |artifacts| {
                    let services =
                        artifacts.objects().iter().filter(|object| object.reference.kind == Kind::Service);
                    assert_eq!(
                        services.map(|service| service.reference.name.as_str()).collect::<Vec<_>>(),
                        ["a", "c"]
                    );
                },
            ),
        );
        rows.push(
            dropped(
                &image(node),
                "P20",
                &[
                    "images[0].ports[0].host_port",
                    "images[0].ports[1].host_port",
                    "images[0].ports[2].host_port",
                ],
            )
            .check(|artifacts| assert!(!format!("{:?}", containers(artifacts)).contains("hostPort"))),
        );
    }
    rows
}
