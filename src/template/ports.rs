//! Ports of an image: those it publishes and those it only exposes.

use core::net::IpAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::accept;
use super::raw::{RawPort, Text};
use super::{Fault, Place};
use crate::diagnostic::{Code, Findings};

/// The most entries of `ports`, and of `expose`, of one image.
pub const MAX_PORTS: usize = 64;

/// A port from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PortNumber(u16);

impl PortNumber {
    /// Takes a number that is not 0.
    pub fn new(number: u16) -> Result<Self, Fault> {
        if number == 0 { Err(Self::out_of_range()) } else { Ok(Self(number)) }
    }

    /// Reads plain decimal digits: no sign, no leading zero, no space, no other base.
    ///
    /// ```
    /// use panamax_kubernetes_adapter::template::PortNumber;
    /// assert_eq!(PortNumber::parse("3306").unwrap().get(), 3306);
    /// assert!(PortNumber::parse("0120").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let decimal = !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        if !decimal {
            let fault = Fault::new(Code::PortNotDecimal, "the port is not a plain decimal number");
            return Err(match advice(text) {
                Some(advice) => fault.advising(advice),
                None => fault,
            });
        }
        text.parse().map_err(|_| Self::out_of_range()).and_then(Self::new)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    fn out_of_range() -> Fault {
        Fault::new(Code::PortRange, "the port is not between 1 and 65535")
    }
}

/// What to write instead of a text that is no port.
fn advice(text: &str) -> Option<&'static str> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = |mark: char| text.split_once(mark).map(|(left, right)| (left.trim(), right.trim()));
    if parts('-').is_some_and(|(first, last)| is_number(first) && is_number(last)) {
        return Some("ranges are not taken: list each port of the range by itself");
    }
    if text.contains(':') {
        return Some("write host_interface, host_port and container_port as keys of their own");
    }
    if parts('/').is_some_and(|(port, _)| is_number(port)) {
        return Some("write the number alone, and the protocol under `proto`");
    }
    if text.starts_with('0') && is_number(text) {
        return Some("write the port without the leading 0");
    }
    if is_number(text.trim()) {
        return Some("remove the blanks around the number");
    }
    text.contains('$').then_some("write the number out: nothing is expanded in a template")
}

impl fmt::Display for PortNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl From<PortNumber> for u16 {
    fn from(port: PortNumber) -> u16 {
        port.0
    }
}

impl TryFrom<u16> for PortNumber {
    type Error = Fault;

    fn try_from(number: u16) -> Result<Self, Fault> {
        Self::new(number)
    }
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// Reads TCP or UDP in any case; an empty text is TCP.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err(Fault::new(Code::PortProtocol, "the protocol is neither TCP nor UDP")),
        }
    }

    /// The protocol as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }

    /// The protocol as Docker's link variables spell it in values.
    pub fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// On what of the host alone a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interface {
    /// On this address.
    Address(IpAddr),
    /// On one that was written in a way that a template does not have.
    Unread,
}

impl Interface {
    /// Reads an address; none is an empty text, and one that means every address.
    fn parse(text: &str) -> Result<Option<Self>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match plain.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Ok(None),
            Ok(address) => Ok(Some(Self::Address(address))),
            Err(_) => Err(Fault::new(Code::HostInterface, "the host interface is not an IP address")),
        }
    }
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// On what of the host alone it is published; `None`: on every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// The port on the host, if one is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<PortNumber>,
    /// The port in the container.
    pub container: PortNumber,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it was written, as `images[0].ports[1]`.
    pub field: Place,
    /// Where its interface was written, if an override has kept that of the entry it replaces.
    #[serde(default, skip_serializing_if = "Place::is_empty")]
    pub kept: Place,
}

impl Port {
    /// Where its interface was written.
    pub fn interface_field(&self) -> String {
        let key = if self.interface == Some(Interface::Unread) { "" } else { ".host_interface" };
        self.kept.or(|| format!("{}{key}", self.field))
    }

    /// Whether it is published to all who reach the host.
    pub fn is_open(&self) -> bool {
        self.interface.is_none()
    }
}

/// One port of `expose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposed {
    /// The port in the container.
    pub container: PortNumber,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it was written, as `images[0].expose[1]`.
    pub field: Place,
}

/// Checks `ports`; entries that say the same are merged.
pub(super) fn check(raw: Vec<RawPort>, image: &str, findings: &mut Findings) -> Vec<Port> {
    limit(raw.len(), || format!("{image}.ports"), findings);
    let mut ports: Vec<Port> = Vec::with_capacity(raw.len());
    for (index, entry) in raw.into_iter().enumerate().take(MAX_PORTS) {
        let field = entry.field.clone().unwrap_or_else(|| format!("{image}.ports[{index}]"));
        let Some(port) = check_port(&entry, field, findings) else {
            continue;
        };
        let same = |known: &&mut Port| {
            (known.container, known.protocol, known.interface)
                == (port.container, port.protocol, port.interface)
        };
        let compatible =
            |known: &&mut Port| known.host.is_none() || port.host.is_none() || known.host == port.host;
        if let Some(known) = ports.iter_mut().filter(same).find(compatible) {
            let message = format!("port {} is listed twice", port.container);
            findings.report(Code::PortRepeated, port.field.clone(), message);
            if known.host.is_none() && port.host.is_some() {
                *known = port;
            }
        } else {
            ports.push(port);
        }
    }
    ports
}

fn check_port(entry: &RawPort, field: String, findings: &mut Findings) -> Option<Port> {
    let container = if entry.container_port.is_empty() {
        findings.report(
            Code::PortMissing,
            format!("{field}.container_port"),
            "the container port is missing",
        );
        None
    } else {
        accept(PortNumber::parse(&entry.container_port), || format!("{field}.container_port"), findings)
    };
    let host = if entry.host_port.is_empty() {
        Some(None)
    } else {
        accept(PortNumber::parse(&entry.host_port), || format!("{field}.host_port"), findings).map(Some)
    };
    let protocol = accept(Protocol::parse(&entry.proto), || format!("{field}.proto"), findings);
    let interface = Interface::parse(&entry.host_interface.value);
    let interface_field = || entry.host_interface.place(|| format!("{field}.host_interface"));
    let interface = accept(interface, interface_field, findings);
    let unread = entry.closed.then_some(Interface::Unread);
    let interface = interface?.or(unread);
    let kept = entry.host_interface.field.clone().unwrap_or_default().into();
    let (container, protocol) = (container?, protocol?);
    Some(Port { interface, host: host?, container, protocol, field: field.into(), kept })
}

/// Checks `expose`; a text may hold several ports, and each may name its protocol as Docker does (`53/udp`).
pub(super) fn check_exposed(raw: &[Text], image: &str, findings: &mut Findings) -> Vec<Exposed> {
    let mut exposed: Vec<Exposed> = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        if index == MAX_PORTS {
            limit(raw.len(), || format!("{image}.expose"), findings);
            break;
        }
        let field = text.field.clone().unwrap_or_else(|| format!("{image}.expose[{index}]"));
        let parts = text.value.split([' ', ',', '\t', '\n']).filter(|part| !part.is_empty());
        for part in parts.take(MAX_PORTS + 1) {
            let Some((container, protocol)) = accept(exposed_port(part), || field.clone(), findings) else {
                continue;
            };
            if exposed.iter().any(|known| known.container == container && known.protocol == protocol) {
                let message = format!("port {container} is listed twice");
                findings.report(Code::PortRepeated, field.clone(), message);
            } else if exposed.len() == MAX_PORTS {
                limit(MAX_PORTS + 1, || format!("{image}.expose"), findings);
                return exposed;
            } else {
                exposed.push(Exposed { container, protocol, field: field.clone().into() });
            }
        }
    }
    exposed
}

fn exposed_port(text: &str) -> Result<(PortNumber, Protocol), Fault> {
    match text.split_once('/') {
        None => Ok((PortNumber::parse(text)?, Protocol::Tcp)),
        Some((_, "")) => Err(Fault::new(Code::PortProtocol, "the protocol is neither TCP nor UDP")),
        Some((port, protocol)) => Ok((PortNumber::parse(port)?, Protocol::parse(protocol)?)),
    }
}

fn limit(count: usize, field: impl FnOnce() -> String, findings: &mut Findings) {
    if count > MAX_PORTS {
        findings.report(Code::LimitExceeded, field(), format!("more than {MAX_PORTS} ports"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host_port: &str, container_port: &str, proto: &str) -> RawPort {
        let text = str::to_owned;
        RawPort {
            host_port: text(host_port),
            container_port: text(container_port),
            proto: text(proto),
            ..RawPort::default()
        }
    }

    fn codes(raw: Vec<RawPort>) -> (Vec<Port>, Vec<(Code, String)>) {
        let mut findings = Findings::default();
        let ports = check(raw, "images[0]", &mut findings);
        (ports, findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect())
    }

    #[test]
    fn each_bad_number_has_its_code() {
        for (text, code) in [
            ("0", Code::PortRange),
            ("-1", Code::PortRange),
            ("65536", Code::PortRange),
            ("65616", Code::PortRange),
            ("18446744073709551616", Code::PortRange),
            ("80.0", Code::PortNotDecimal),
            ("8e1", Code::PortNotDecimal),
            ("0x50", Code::PortNotDecimal),
            ("0o120", Code::PortNotDecimal),
            ("0120", Code::PortNotDecimal),
            ("8_0", Code::PortNotDecimal),
            ("1:20", Code::PortNotDecimal),
            ("80 ", Code::PortNotDecimal),
            ("+80", Code::PortNotDecimal),
            ("８０", Code::PortNotDecimal),
            ("-", Code::PortNotDecimal),
        ] {
            assert_eq!(PortNumber::parse(text).unwrap_err().code, code, "{text}");
        }
        assert_eq!(PortNumber::parse("65535").unwrap().get(), 65_535);
    }

    #[test]
    fn faults_name_their_field() {
        assert_eq!(
            codes(vec![entry("80", "", "")]).1,
            [(Code::PortMissing, "images[0].ports[0].container_port".into())]
        );
        assert_eq!(
            codes(vec![entry("0", "80", "")]).1,
            [(Code::PortRange, "images[0].ports[0].host_port".into())]
        );
        for proto in ["sctp", "ICMP", "TCP\n"] {
            assert_eq!(
                codes(vec![entry("", "80", proto)]).1,
                [(Code::PortProtocol, "images[0].ports[0].proto".into())]
            );
        }
    }

    #[test]
    fn ranges_pairs_and_blanks_have_their_advice() {
        let advice = |text: &str| PortNumber::parse(text).unwrap_err().advice.unwrap_or_default();
        assert!(advice("9000-9002").contains("each port") && advice("8080:80").contains("container_port"));
        assert!(
            advice("53/udp").contains("proto")
                && advice("080").contains('0')
                && advice("80 ").contains("blank")
        );
        assert_eq!(advice("http"), "");
        let (_, found) = codes(vec![entry("9000-9002", "9000-9002", "udp")]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_port_may_be_bound_to_an_address() {
        let bound = |text: &str| RawPort { host_interface: text.into(), ..entry("8080", "80", "") };
        for (text, open) in [
            ("", true),
            ("0.0.0.0", true),
            ("::", true),
            ("127.0.0.1", false),
            ("[::1]", false),
            ("10.1.2.3", false),
        ] {
            let (ports, found) = codes(vec![bound(text)]);
            assert_eq!((ports[0].is_open(), found), (open, vec![]), "{text}");
        }
        for text in ["localhost", "eth0", "127.0.0.1:80", "127.0.0.256", "10.0.0.0/8"] {
            let found = codes(vec![bound(text)]).1;
            assert_eq!(found, [(Code::HostInterface, "images[0].ports[0].host_interface".into())], "{text}");
        }
        let closed = RawPort { closed: true, ..entry("8080", "80", "") };
        assert_eq!(codes(vec![closed]).0[0].interface, Some(Interface::Unread));
        // An entry that opens a port is not merged into one that narrows it.
        assert_eq!(codes(vec![bound("127.0.0.1"), entry("", "80", "")]).0.len(), 2);
    }

    #[test]
    fn equal_entries_are_merged_and_different_host_ports_kept() {
        let (ports, found) =
            codes(vec![entry("", "80", "tcp"), entry("8080", "80", ""), entry("8081", "80", "TCP")]);
        assert_eq!(ports.len(), 2);
        assert_eq!(ports[0].host.unwrap().get(), 8080);
        assert_eq!(ports[0].field.as_str(), "images[0].ports[1]");
        assert_eq!(found, [(Code::PortRepeated, "images[0].ports[1]".into())]);
    }

    #[test]
    fn the_limit_is_64() {
        let many = |count: u16| (1..=count).map(|port| entry("", &port.to_string(), "")).collect();
        assert!(codes(many(64)).1.is_empty());
        assert_eq!(codes(many(65)).1, [(Code::LimitExceeded, "images[0].ports".into())]);
    }

    #[test]
    fn exposed_ports_come_one_by_one_or_together() {
        let mut findings = Findings::default();
        let raw: Vec<Text> = vec!["80 443".into(), "53/udp".into(), "".into(), "80".into(), "x".into()];
        let exposed = check_exposed(&raw, "images[0]", &mut findings);
        let numbers: Vec<_> = exposed.iter().map(|port| (port.container.get(), port.protocol)).collect();
        assert_eq!(numbers, [(80, Protocol::Tcp), (443, Protocol::Tcp), (53, Protocol::Udp)]);
        let found: Vec<_> = findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect();
        assert_eq!(
            found,
            [
                (Code::PortRepeated, "images[0].expose[3]".into()),
                (Code::PortNotDecimal, "images[0].expose[4]".into())
            ]
        );
    }
}
