//! Where the deployment's Services can be reached.

use super::pods;
use crate::artifacts::{ANNOTATION_ALIAS, LABEL_NAME, Namespace, Observed};

/// The protocol of a port that names none.
const TCP: &str = "TCP";

/// One port of one Service, or of a node where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The component behind it.
    pub component: String,
    /// The Service's name; empty if there is none.
    pub service: String,
    /// The DNS name inside the cluster; without a Service the address of the node.
    pub host: String,
    /// The port there; 0: the Service names none, and the protocol is empty.
    pub port: i32,
    /// The protocol, TCP or UDP.
    pub protocol: String,
    /// The container's port.
    pub container_port: i32,
    /// The link's alias as the template has it.
    pub alias: Option<String>,
    /// The cluster IP; `None` for a headless Service.
    pub cluster_ip: Option<String>,
    /// The port on every node that leads here.
    pub node_port: Option<i32>,
    /// The port that the container takes on its node.
    pub host_port: Option<i32>,
    /// The address or name of the load balancer, once the cluster has provided one.
    pub load_balancer: Option<String>,
}

/// Lists the endpoints of all Services, by component, Service and port.
pub(super) fn conclude(namespace: &Namespace, observed: &Observed) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    let taken = taken(observed);
    for service in &observed.services {
        let labels = service.metadata.labels.clone().unwrap_or_default();
        let annotations = service.metadata.annotations.clone().unwrap_or_default();
        let name = service.metadata.name.clone().unwrap_or_default();
        let Some(spec) = service.spec.as_ref() else { continue };
        let ingress =
            service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
        let load_balancer = ingress.and_then(|ingress| {
            ingress.iter().find_map(|one| one.ip.clone().or_else(|| one.hostname.clone()))
        });
        let component = labels.get(LABEL_NAME).cloned().unwrap_or_default();
        let portless = Endpoint {
            component: component.clone(),
            service: name.clone(),
            host: format!("{name}.{namespace}.svc"),
            alias: annotations.get(ANNOTATION_ALIAS).cloned(),
            cluster_ip: spec.cluster_ip.clone().filter(|ip| ip != "None"),
            load_balancer,
            ..Endpoint::default()
        };
        let ports = spec.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            endpoints.push(portless.clone());
        }
        for port in ports {
            use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
            let container_port = match &port.target_port {
                Some(IntOrString::Int(number)) => *number,
                Some(IntOrString::String(_)) | None => port.port,
            };
            let protocol = port.protocol.clone().unwrap_or_else(|| TCP.to_owned());
            let taken = taken.iter().find(|taken| {
                taken.component == component
                    && (taken.container, taken.protocol.as_str()) == (container_port, protocol.as_str())
            });
            endpoints.push(Endpoint {
                host_port: taken.map(|taken| taken.host),
                port: port.port,
                protocol,
                container_port,
                node_port: port.node_port.filter(|port| *port != 0),
                ..portless.clone()
            });
        }
    }
    let is_served = |taken: &Taken| {
        endpoints.iter().any(|endpoint: &Endpoint| {
            endpoint.component == taken.component
                && (endpoint.container_port, &endpoint.protocol) == (taken.container, &taken.protocol)
        })
    };
    let unserved: Vec<Endpoint> =
        taken.iter().filter(|taken| !is_served(taken)).map(Taken::endpoint).collect();
    endpoints.extend(unserved);
    endpoints.sort();
    endpoints.dedup();
    endpoints
}

/// A port that a container takes on its node.
struct Taken {
    component: String,
    address: String,
    host: i32,
    container: i32,
    protocol: String,
}

impl Taken {
    /// The way to a component that has no Service for it.
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            component: self.component.clone(),
            service: String::new(),
            host: self.address.clone(),
            port: self.host,
            protocol: self.protocol.clone(),
            container_port: self.container,
            alias: None,
            cluster_ip: None,
            node_port: None,
            host_port: Some(self.host),
            load_balancer: None,
        }
    }
}

/// The ports that the components' own containers take on their nodes.
fn taken(observed: &Observed) -> Vec<Taken> {
    let mut found = Vec::new();
    for pod in observed.pods.iter().filter(|pod| pods::is_alive(pod)) {
        let component = pod.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_NAME));
        let (Some(component), Some(spec)) = (component, pod.spec.as_ref()) else { continue };
        let address = pod.status.as_ref().and_then(|status| status.host_ip.clone()).unwrap_or_default();
        let own = spec.containers.iter().filter(|container| container.name == *component);
        for port in own.flat_map(|container| container.ports.iter().flatten()) {
            let Some(host) = port.host_port.filter(|host| *host != 0) else { continue };
            found.push(Taken {
                component: component.clone(),
                // A port may be taken on one address of its node alone.
                address: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| address.clone()),
                host,
                container: port.container_port,
                protocol: port.protocol.clone().unwrap_or_else(|| TCP.to_owned()),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_without_ports_is_reached_under_its_name() {
        let service = json!({
            "metadata": {"name": "cache", "labels": {"name": "web"}},
            "spec": {"clusterIP": "None"},
        });
        let service = Arc::new(serde_json::from_value(service).expect("a Service"));
        let observed = Observed { services: vec![service], ..Observed::default() };
        let found = conclude(&Namespace::new("apps").expect("a namespace"), &observed);
        let [endpoint] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((endpoint.component.as_str(), endpoint.host.as_str()), ("web", "cache.apps.svc"));
        assert_eq!((endpoint.port, endpoint.container_port), (0, 0));
        assert_eq!((endpoint.protocol.as_str(), &endpoint.cluster_ip), ("", &None));
    }
}
