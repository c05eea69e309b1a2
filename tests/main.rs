//! The one test binary: everything that is shown from outside the crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

/// What the tests stand on; a toolbox, from which a test takes what it needs.
#[allow(dead_code, reason = "not every tool is in use at every time")]
mod support {
    pub mod adapter;
    pub mod agent;
    pub mod alerts;
    pub mod bearer;
    pub mod calls;
    pub mod certificates;
    pub mod control_plane;
    pub mod document;
    pub mod front;
    pub mod image;
    pub mod kubernetes;
    pub mod looking;
    pub mod metrics;
    pub mod namespace;
    pub mod node;
    pub mod order;
    pub mod patience;
    pub mod policy;
    pub mod printed;
    pub mod programs;
    pub mod proxy;
    pub mod raw;
    pub mod recipe;
    pub mod relay;
    pub mod survey;
    pub mod templates;
    pub mod tunnel;
    pub mod warning;
}

/// The conformance report: its walk and its judgement are the tests' own, too.
#[allow(dead_code, reason = "the example prints what the tests only count")]
#[path = "../examples/conformance"]
mod conformance {
    pub mod links;
    pub mod looking;
    pub mod report;
    pub mod walk;
}

/// The rules of the house.
mod tidy;

/// A template in, YAML out.
mod translate;

/// On the real control plane, a namespace per test.
mod cluster {
    mod audit;
    mod callers;
    mod causes;
    mod chaos;
    mod claims;
    mod crashes;
    mod damaged;
    mod dead_ends;
    mod drift;
    mod ended;
    mod events;
    mod faults;
    mod fencing;
    mod fields;
    mod hostile;
    mod kills;
    mod knobs;
    mod layouts;
    mod lent;
    mod lent_later;
    mod lifecycle;
    mod limits;
    mod lost_records;
    mod main_job;
    mod manifests;
    mod modern;
    mod on_failure;
    mod owners;
    mod ownership;
    mod plane;
    mod plans;
    mod portable;
    mod promises;
    mod races;
    mod readiness;
    mod refusals;
    mod refused;
    mod remembered;
    mod removal;
    mod requests;
    mod rest;
    mod restored;
    mod revisions;
    mod rights;
    mod road;
    mod rollout;
    mod round_trips;
    mod secrets;
    mod sizes;
    mod slow_roads;
    mod templates;
    mod told;
    mod updates;
    mod upgrades;
    mod watching;
}

/// From outside the process: the binary, the examples, and what the documents say.
mod edge {
    mod agent;
    mod alerts;
    mod alerts_cluster;
    mod api;
    mod audit;
    mod callers;
    mod commands;
    mod commands_printed;
    mod conformance;
    mod connections;
    mod diagnostics;
    mod ending;
    mod flood;
    mod growing;
    mod identity;
    mod identity_printed;
    mod known_images;
    mod limits;
    mod lost;
    mod metrics;
    mod options;
    mod panics;
    mod proxied;
    mod readme;
    mod rest;
    mod rest_callers;
    mod rest_hostile;
    mod spans;
    mod start;
    mod tls;
    mod translating;
    mod unseen;
    mod versions;
    mod waits;
}

/// What is handed out: the packages, and the files of a release.
mod release {
    mod archives;
    mod contents;
    mod packages;
}

/// Every fault that can be, in memory and in no time.
mod sim {
    mod agents;
    mod histories;
    mod judge;
    mod outside;
    mod replica;
    mod road;
    mod scenarios;
    mod schedules;
    mod templates;
    mod work;
    mod world;
}

/// The sandbox: beside the real API server, and as its callers use it.
mod sandbox {
    mod differential;
    mod life;
}

/// In real containers, on a node of its own.
mod node {
    mod examples;
    mod in_cluster;
    mod links;
    mod narrow;
    mod place;
    mod values;
    mod volumes;
}
