//! The health protocol of gRPC, as its contract says: an unknown service can be watched, and all can be listed.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};

/// The services that need the cluster.
const CLUSTERED: [&str; 2] = ["", "panamax.kubernetes.v1.DeploymentService"];
/// The services that do not.
const ALWAYS: [&str; 2] = ["panamax.kubernetes.v1.TemplateService", "panamax.kubernetes.v1.ServerService"];

/// How each service is.
#[derive(Default)]
struct Statuses {
    each: BTreeMap<&'static str, ServingStatus>,
    /// Whether the server ends: what is said then is the last word.
    is_last: bool,
}

impl Statuses {
    fn of(&self, service: &str) -> ServingStatus {
        self.each.get(service).copied().unwrap_or(ServingStatus::ServiceUnknown)
    }
}

/// The health of all services; cheap to clone.
#[derive(Clone)]
pub(super) struct Health(watch::Sender<Statuses>);

impl Health {
    /// At the start nobody knows about the cluster.
    pub(super) fn new() -> Self {
        let clustered = CLUSTERED.map(|service| (service, ServingStatus::NotServing));
        let always = ALWAYS.map(|service| (service, ServingStatus::Serving));
        let each = clustered.into_iter().chain(always).collect();
        Self(watch::Sender::new(Statuses { each, is_last: false }))
    }

    /// Notes whether the cluster can be reached.
    pub(super) fn cluster(&self, is_reachable: bool) {
        let status = if is_reachable { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.send_modify(|statuses| statuses.each.extend(CLUSTERED.map(|service| (service, status))));
    }

    /// Whether the services that need the cluster are served.
    pub(super) fn is_ready(&self) -> bool {
        self.0.borrow().each.values().all(|status| *status == ServingStatus::Serving)
    }

    /// Nothing is served any more.
    pub(super) fn stop(&self) {
        self.0.send_modify(|statuses| {
            statuses.each.values_mut().for_each(|one| *one = ServingStatus::NotServing);
            statuses.is_last = true;
        });
    }

    /// The status of one service at once, and then whenever it changes, until the server ends.
    fn follow(&self, service: String) -> impl Stream<Item = ServingStatus> + Send + use<> {
        let statuses = self.0.subscribe();
        stream::unfold((statuses, service, None), |(mut statuses, service, last)| async move {
            let is_new = |statuses: &Statuses| statuses.is_last || Some(statuses.of(&service)) != last;
            let now = statuses.wait_for(is_new).await.map(|statuses| statuses.of(&service)).ok()?;
            (Some(now) != last).then_some((now, (statuses, service, Some(now))))
        })
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.0.borrow().each.get(request.get_ref().service.as_str()).copied();
        let status = status.ok_or_else(|| Status::not_found("there is no such service"))?;
        Ok(Response::new(response(status)))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.0.borrow();
        let statuses =
            statuses.each.iter().map(|(service, status)| ((*service).to_owned(), response(*status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let statuses = self.follow(request.into_inner().service);
        Ok(Response::new(Box::pin(statuses.map(|status| Ok(response(status))))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_tells_each_change_once_and_ends_with_the_server() {
        let health = Health::new();
        let mut all = Box::pin(health.follow(String::new()));
        let mut unknown = Box::pin(health.follow("no.Service".to_owned()));
        assert_eq!(all.next().await, Some(ServingStatus::NotServing));
        assert_eq!(unknown.next().await, Some(ServingStatus::ServiceUnknown));
        health.cluster(false);
        health.cluster(true);
        assert_eq!(all.next().await, Some(ServingStatus::Serving));
        assert!(health.is_ready());
        health.stop();
        assert_eq!(all.next().await, Some(ServingStatus::NotServing));
        assert_eq!((all.next().await, unknown.next().await), (None, None));
        assert!(!health.is_ready());
    }
}
