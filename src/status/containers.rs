//! The containers of a pod: the component's own is told by its name, and what others have put in beside it is named.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};

use super::{Cause, Grade, Reason};
use crate::artifacts::ComponentName;

/// How often a container may end before a wait gives it up: one that needs another component often ends until that serves.
const TRIES: i32 = 3;

/// One container of a pod.
pub(super) struct Container<'a> {
    status: &'a ContainerStatus,
    place: Place,
}

/// Where a container comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The component's own.
    Own,
    /// One that somebody has put in, to be run before the others or beside them.
    Init,
    /// One that somebody has put in beside it.
    Beside,
}

/// The container of the component, which has its name.
pub(super) fn own<'a>(status: &'a PodStatus, component: &ComponentName) -> Option<&'a ContainerStatus> {
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|container| container.name == component.as_str())
}

/// Every container, the component's own first.
pub(super) fn all<'a>(status: &'a PodStatus, component: &ComponentName) -> Vec<Container<'a>> {
    let init = status.init_container_statuses.iter().flatten();
    let beside = status.container_statuses.iter().flatten();
    let beside = beside.filter(|container| container.name != component.as_str());
    let own = own(status, component).map(|status| Container { status, place: Place::Own });
    let init = init.map(|status| Container { status, place: Place::Init });
    let beside = beside.map(|status| Container { status, place: Place::Beside });
    own.into_iter().chain(init).chain(beside).collect()
}

impl Container<'_> {
    /// Whether it is the component's own.
    pub(super) fn is_own(&self) -> bool {
        self.place == Place::Own
    }

    /// Whether its node waits for what it needs to create it: what is shown beside is what was there before.
    pub(super) fn is_yet_to_be_created(&self) -> bool {
        let waiting = self.status.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
        waiting.is_some_and(|reason| reason != "CrashLoopBackOff" && reason != "RunContainerError")
    }

    /// Its name, and whose it is where it is not the component's.
    fn title(&self) -> String {
        let name = &self.status.name;
        match self.place {
            Place::Own => format!("container {name}"),
            Place::Init if name.starts_with("panamax-fill") => {
                format!("init container {name}, which fills new claims with what the image has")
            }
            Place::Init => format!("init container {name}, which is not of the template"),
            Place::Beside => format!("container {name}, which is not of the template"),
        }
    }

    /// Why it does not run as it should.
    pub(super) fn cause(self) -> Option<Cause> {
        let state = self.status.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        let (reason, grade) = match waiting {
            Some("InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError") => {
                (Reason::ImagePullFailed, Grade::Failed)
            }
            // A registry may have a bad moment: its node tries again.
            Some("ImagePullBackOff" | "ErrImagePull" | "RegistryUnavailable") => {
                (Reason::ImagePullFailed, Grade::Trying)
            }
            Some("CreateContainerConfigError" | "CreateContainerError") => {
                (Reason::ConfigError, Grade::Failed)
            }
            Some("RunContainerError") => (Reason::StartFailed, Grade::Failed),
            Some("CrashLoopBackOff") => return Some(self.crash()),
            None if state.running.is_some() && !self.status.ready && self.place != Place::Init => {
                let message = format!("{} runs and is not ready", self.title());
                return Some(Cause::waiting(Reason::NotReady, message));
            }
            _ => return None,
        };
        let message = format!("{}: {}", self.title(), waiting.unwrap_or_default());
        Some(Cause { grade, ..Cause::failed(reason, message) })
    }

    /// A container that ends again and again.
    fn crash(&self) -> Cause {
        let mut message = format!("{}: CrashLoopBackOff", self.title());
        let code = exit_code(self.status);
        if let Some(code) = code {
            message.push_str(&format!(", last exit code {code}"));
        }
        if last_end(self.status).is_some_and(|(_, reason)| reason == "OOMKilled") {
            message.push_str(", out of memory");
        }
        message.push_str(&format!(", {} restarts", self.status.restart_count));
        if code == Some(0) {
            message.push_str(
                "; it ends by itself without a fault and is started again for ever, give it a command that keeps \
                 running",
            );
        }
        let grade = if self.status.restart_count < TRIES { Grade::Trying } else { Grade::Failed };
        Cause { grade, ..Cause::failed(Reason::CrashLooping, message) }
    }
}

/// The exit code and the reason of a container's last end.
fn last_end(container: &ContainerStatus) -> Option<(i32, &str)> {
    let ended = |state: Option<&'_ ContainerState>| state.is_some_and(|state| state.terminated.is_some());
    let state = if ended(container.state.as_ref()) { &container.state } else { &container.last_state };
    let terminated = state.as_ref()?.terminated.as_ref()?;
    Some((terminated.exit_code, terminated.reason.as_deref().unwrap_or_default()))
}

/// The exit code with which a container last ended.
pub(super) fn exit_code(container: &ContainerStatus) -> Option<i32> {
    last_end(container).map(|(code, _)| code)
}

/// Whether a container that was started from `started` runs the image `wanted`.
///
/// Runtimes spell out what is left out in a name; a bare digest says nothing about the name that it was pulled by.
pub(super) fn is_same_image(wanted: &str, started: &str) -> bool {
    started.is_empty() || started.starts_with("sha256:") || spelt_out(wanted) == spelt_out(started)
}

/// An image's name with the registry, the folder and the tag that Docker adds where they are left out.
fn spelt_out(image: &str) -> String {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let path = path.trim_start_matches("index.docker.io/").trim_start_matches("docker.io/");
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let path = match path.split_once('/') {
        Some((first, _)) if is_registry(first) => path.to_owned(),
        Some(("library", name)) => format!("docker.io/library/{name}"),
        Some(_) => format!("docker.io/{path}"),
        None => format!("docker.io/library/{path}"),
    };
    match digest {
        Some(digest) => format!("{path}@{digest}"),
        None => format!("{path}:{}", tag.unwrap_or("latest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_however_it_is_spelt() {
        for (wanted, started) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("example/web:1", "docker.io/example/web:1"),
            ("docker.io/example/web:1", "index.docker.io/example/web:1"),
            ("localhost:5000/web", "localhost:5000/web:latest"),
            ("web:1@sha256:ab", "docker.io/library/web@sha256:ab"),
            ("web:1", "sha256:0123"),
            ("web:1", ""),
        ] {
            assert!(is_same_image(wanted, started), "{wanted} {started}");
        }
        for (wanted, started) in [
            ("web:1", "web:2"),
            ("web", "example/web"),
            ("a.io/web:1", "b.io/web:1"),
            ("localhost:5000/web", "web"),
        ] {
            assert!(!is_same_image(wanted, started), "{wanted} {started}");
        }
    }
}
