//! Counts calls at the API server, by reading its audit log.

use super::control_plane::{ControlPlane, User};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// One call as the API server saw it; a watch counts from its start and stays one call when it ends.
#[derive(Clone, Debug)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural, such as `pods`; empty for calls about no resource, such as `/version`.
    pub resource: String,
    pub subresource: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub user: String,
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    pub code: u16,
    pub received: Timestamp,
    /// When the answer was complete; for a running watch, when it began.
    pub answered: Timestamp,
    pub dry_run: bool,
}

/// Reads the calls that arrive after its making, of one user and one namespace where that was asked for.
///
/// A call is in the log before its answer leaves the API server, so a number read after the answer is exact.
/// The harness's own calls and those of the control plane's programs are never in the log.
pub struct Recorder {
    log: File,
    rest: Vec<u8>,
    /// Whether the first line to be read began before the recorder.
    torn: bool,
    namespace: Option<String>,
    user: Option<User>,
    agent: Option<String>,
    calls: Vec<Call>,
    known: HashMap<String, usize>,
}

impl Recorder {
    /// Starts at the end of the log.
    pub fn start(plane: &ControlPlane) -> Recorder {
        let mut log = File::open(&plane.audit).expect("the API server writes its audit log");
        let end = log.seek(SeekFrom::End(0)).expect("the audit log is a file");
        // The API server may be in the middle of a line, whose rest is no event; the byte before tells.
        let mut last = [b'\n'];
        if end > 0 {
            log.seek(SeekFrom::Start(end - 1)).expect("the audit log is a file");
            log.read_exact(&mut last).expect("the audit log can be read");
        }
        Recorder {
            log,
            rest: Vec::new(),
            torn: last != [b'\n'],
            namespace: None,
            user: None,
            agent: None,
            calls: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Keeps only calls about one namespace or in it.
    pub fn namespace(mut self, name: &str) -> Recorder {
        self.namespace = Some(name.to_owned());
        self
    }

    /// Keeps only calls of one user.
    pub fn user(mut self, user: User) -> Recorder {
        self.user = Some(user);
        self
    }

    /// Keeps only calls whose User-Agent begins like this.
    pub fn agent(mut self, prefix: &str) -> Recorder {
        self.agent = Some(prefix.to_owned());
        self
    }

    /// All calls so far, in the order of their first lines in the log.
    pub fn calls(&mut self) -> &[Call] {
        self.log.read_to_end(&mut self.rest).expect("the audit log can be read");
        // The API server may be in the middle of a line.
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut lines: Vec<u8> = self.rest.drain(..complete).collect();
        if self.torn && complete > 0 {
            self.torn = false;
            let first = lines.iter().position(|byte| *byte == b'\n').map_or(complete, |end| end + 1);
            lines.drain(..first);
        }
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Event = serde_json::from_slice(line).expect("an audit event per line");
            self.take(event);
        }
        &self.calls
    }

    /// The calls so far that cost a round trip: neither watches nor Events.
    pub fn requests(&mut self) -> Vec<Call> {
        let counts = |call: &&Call| call.verb != "watch" && call.resource != "events";
        self.calls().iter().filter(counts).cloned().collect()
    }

    /// Forgets the calls so far.
    pub fn restart(&mut self) {
        self.calls();
        self.calls.clear();
        self.known.clear();
    }

    fn take(&mut self, event: Event) {
        if let Some(place) = self.known.get(&event.audit_id) {
            let call = &mut self.calls[*place];
            call.answered = event.stage_timestamp;
            return;
        }
        let id = event.audit_id.clone();
        let call = Call::from(event);
        let same = |wish: Option<&str>, have: &str| wish.is_none_or(|wish| wish == have);
        if same(self.namespace.as_deref(), call.namespace.as_deref().unwrap_or_default())
            && same(self.user.map(User::name), &call.user)
            && self.agent.as_ref().is_none_or(|prefix| call.user_agent.starts_with(prefix))
        {
            self.known.insert(id, self.calls.len());
            self.calls.push(call);
        }
    }
}

/// The calls of an operation itself: not the lists its watches begin with, nor what renews its lease or records
/// its outcome.
pub fn counted(calls: &mut Recorder) -> Vec<Call> {
    let mut counted = calls.requests();
    let beside = ["limit=500", "fieldManager=panamax-keeper", "fieldManager=panamax-lease"];
    counted.retain(|call| !beside.iter().any(|mark| call.uri.contains(mark)));
    // A server that is too busy has not taken it, and is asked again.
    counted.retain(|call| !matches!(call.code, 429 | 500 | 503 | 504));
    without_conflicts(counted)
}

/// Kinds whose status the control plane writes, whenever it gets round to that.
const WITH_STATUS: [&str; 4] = ["deployments", "replicationcontrollers", "pods", "persistentvolumeclaims"];

/// Leaves out the write that met a status written since the object was read, and the look that follows it; of each object
/// once: who meets one again and again is no victim of others.
fn without_conflicts(mut calls: Vec<Call>) -> Vec<Call> {
    let mut met_before = HashSet::new();
    let mut is_conflict = |call: &Call| {
        call.code == 409
            && WITH_STATUS.contains(&call.resource.as_str())
            && met_before.insert((call.resource.clone(), call.name.clone()))
    };
    while let Some(place) = calls.iter().position(&mut is_conflict) {
        let met = calls.remove(place);
        let is_look =
            |call: &Call| call.verb == "get" && (&call.resource, &call.name) == (&met.resource, &met.name);
        if let Some(look) = calls.iter().skip(place).position(is_look) {
            calls.remove(place + look);
        }
    }
    calls
}

/// Fails unless an operation has made exactly so many calls.
pub fn makes(calls: &mut Recorder, count: usize) {
    let made = counted(calls);
    let told: Vec<String> = made.iter().map(ToString::to_string).collect();
    assert_eq!(made.len(), count, "{told:#?}");
}

/// Fails unless a call that changes nothing makes exactly so many calls. It is made up to three times: a keeper that has not
/// heard the answer to what it recorded looks once more, at any moment, and nothing tells its look from the call's own.
pub async fn makes_unchanged(calls: &mut Recorder, count: usize, mut call: impl AsyncFnMut()) {
    for _ in 1..3 {
        calls.restart();
        call().await;
        if counted(calls).len() == count {
            return;
        }
    }
    calls.restart();
    call().await;
    makes(calls, count);
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.user, self.verb, self.uri, self.code)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: EventUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct EventUser {
    /// Absent where the credentials were refused.
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Event> for Call {
    fn from(event: Event) -> Call {
        Call {
            dry_run: event.request_uri.contains("dryRun="),
            verb: event.verb,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            user: event.user.username,
            user_agent: event.user_agent,
            uri: event.request_uri,
            code: event.response_status.code,
            received: event.request_received_timestamp,
            answered: event.stage_timestamp,
        }
    }
}
