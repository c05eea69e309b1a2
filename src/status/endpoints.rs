//! Where the deployment's Services can be reached.

use crate::artifacts::{ANNOTATION_ALIAS, LABEL_NAME, Namespace, Observed};

/// One port of one Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The component behind it.
    pub component: String,
    /// The Service's name.
    pub service: String,
    /// The DNS name inside the cluster.
    pub host: String,
    /// The Service's port.
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
    /// The address or name of the load balancer, once the cluster has provided one.
    pub load_balancer: Option<String>,
}

/// Lists the endpoints of all Services, by component, Service and port.
pub(super) fn conclude(namespace: &Namespace, observed: &Observed) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
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
        for port in spec.ports.as_deref().unwrap_or_default() {
            use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
            let container_port = match &port.target_port {
                Some(IntOrString::Int(number)) => *number,
                Some(IntOrString::String(_)) | None => port.port,
            };
            endpoints.push(Endpoint {
                component: labels.get(LABEL_NAME).cloned().unwrap_or_default(),
                service: name.clone(),
                host: format!("{name}.{namespace}.svc"),
                port: port.port,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                container_port,
                alias: annotations.get(ANNOTATION_ALIAS).cloned(),
                cluster_ip: spec.cluster_ip.clone().filter(|ip| ip != "None"),
                node_port: port.node_port.filter(|port| *port != 0),
                load_balancer: load_balancer.clone(),
            });
        }
    }
    endpoints.sort();
    endpoints
}
