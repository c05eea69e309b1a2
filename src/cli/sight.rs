//! A watch beside a call: it begins as soon as the deployment is there, and again where it breaks.

use std::time::Duration;

use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::connection::Client;
use super::failure::{is_absent, is_for_good};
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::watch_deployment_response::Event;

/// How long a deployment that is not there yet is left alone before it is looked for again.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a refusal: each one doubles it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a watch has shown.
pub enum Seen {
    /// The deployment as it is now.
    Snapshot(Box<proto::Deployment>),
    /// It came to what was waited for.
    Complete,
    /// It is gone.
    Gone,
    /// The watch is refused in a way that time does not change. Nothing more is seen.
    Refused(Status),
}

/// A watch that goes on for as long as it is asked.
pub struct Sight<'c> {
    client: &'c Client,
    request: proto::WatchDeploymentRequest,
    stream: Option<Streaming<proto::WatchDeploymentResponse>>,
    pause: Duration,
    is_refused: bool,
}

impl<'c> Sight<'c> {
    /// A watch of this deployment, without an end: what is at rest before an operation begins would end it.
    pub fn new(client: &'c Client, namespace: &str, name: &str) -> Self {
        let request = proto::WatchDeploymentRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        };
        Self { client, request, stream: None, pause: PAUSE, is_refused: false }
    }

    /// Begins anew, with this end.
    pub fn watch_until(&mut self, until: proto::WatchUntil) {
        self.request.until = until.into();
        self.stream = None;
        self.is_refused = false;
    }

    /// The next that is seen. It may be dropped and asked again: nothing that has come is lost.
    pub async fn next(&mut self) -> Seen {
        loop {
            if self.is_refused {
                std::future::pending::<()>().await;
            }
            let Some(stream) = &mut self.stream else {
                match self.client.deployments().watch_deployment(self.request.clone()).await {
                    Ok(opened) => (self.stream, self.pause) = (Some(opened.into_inner()), PAUSE),
                    Err(status) if is_for_good(&status) => {
                        self.is_refused = true;
                        return Seen::Refused(status);
                    }
                    // A first Deploy has written nothing yet; the call that is waited for tells every failure.
                    Err(status) => {
                        sleep(self.pause).await;
                        let longer = if is_absent(&status) { PAUSE } else { self.pause * 2 };
                        self.pause = longer.min(LONGEST_PAUSE);
                    }
                }
                continue;
            };
            match stream.message().await.map(|message| message.and_then(|message| message.event)) {
                Ok(Some(Event::Snapshot(deployment))) => return Seen::Snapshot(Box::new(deployment)),
                Ok(Some(Event::Complete(complete))) => {
                    use proto::WatchCompleteReason as Reason;
                    self.stream = None;
                    match complete.reason() {
                        Reason::Ready | Reason::Settled => return Seen::Complete,
                        Reason::Gone => return Seen::Gone,
                        Reason::Unspecified
                        | Reason::ServerShutdown
                        | Reason::Deadline
                        | Reason::AuthorizationLost
                        | Reason::SlowClient => sleep(PAUSE).await,
                    }
                }
                Ok(Some(Event::Heartbeat(_))) => {}
                Ok(None) | Err(_) => {
                    self.stream = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
