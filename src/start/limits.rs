//! What limits may be: none serves nobody, and none is beyond what another lets come true.

use std::fmt::{Debug, Display};
use std::time::Duration;

use super::{Refusal, refusal};
use crate::config::{Bytes, Config};

/// The most that most limits can be, and that replicas and calls to the API server can.
const MOST: usize = 1_000_000;
const MOST_OF_FEW: usize = 10_000;
/// The shortest time of a connection, and of a reader.
const SECOND: Duration = Duration::from_secs(1);
/// The shortest time of anything that is on its way.
const MOMENT: Duration = Duration::from_millis(100);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Refuses limits that serve nobody, that are beyond their range, or that contradict each other.
pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    counts(config)?;
    sizes(config)?;
    times(config)?;
    contradictions(config)
}

fn counts(config: &Config) -> Result<(), Refusal> {
    let (callers, limits) = (&config.callers, &config.limits);
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    for (flag, limit, least, most) in [
        ("--max-connections", config.max_connections, 1, MOST),
        ("--max-calls", config.max_calls, 1, MOST),
        ("--max-watches", config.max_watches, 1, MOST),
        ("--max-calls-per-caller", callers.max_calls_per_caller, 1, MOST),
        ("--max-reads-per-caller", callers.max_reads_per_caller, 1, MOST),
        ("--max-watches-per-caller", callers.max_watches_per_caller, 1, MOST),
        // One for a watch, and one for a call beside it.
        ("--max-streams-per-connection", number(limits.max_streams_per_connection), 2, MOST),
        ("--max-watches-per-connection", limits.max_watches_per_connection, 1, MOST),
        ("--max-handshakes", limits.max_handshakes, 1, MOST),
        ("--max-replicas", number(limits.max_replicas), 1, MOST_OF_FEW),
        ("--max-api-calls", limits.max_api_calls, 1, MOST_OF_FEW),
    ] {
        if limit < least {
            return Err(refusal(78, format!("{flag} {limit} serves nobody; it is {least} at least")));
        }
        if limit > most {
            return Err(refusal(78, format!("{flag} is {most} at most")));
        }
    }
    Ok(())
}

fn sizes(config: &Config) -> Result<(), Refusal> {
    let limits = &config.limits;
    for (flag, limit, least, most) in [
        ("--max-request-memory", limits.max_request_memory, 4 * KIB, 1024 * MIB),
        ("--max-message", limits.max_message, KIB, 16 * MIB),
        ("--max-metadata", limits.max_metadata, KIB, 128 * KIB),
    ] {
        let (least, most) = (Bytes(least), Bytes(most));
        if limit < least {
            return Err(refusal(78, format!("{flag} {limit} serves nobody; it is {least} at least")));
        }
        if limit > most {
            return Err(refusal(78, format!("{flag} is {most} at most")));
        }
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), Refusal> {
    let limits = &config.limits;
    for (flag, time, least, what) in [
        ("--connection-age", config.connection_age, SECOND, "ends every connection at once"),
        ("--connection-idle", config.connection_idle, SECOND, "ends every connection at once"),
        ("--reader-timeout", limits.reader_timeout, SECOND, "cuts every reader"),
        ("--request-timeout", limits.request_timeout, MOMENT, "takes no request"),
        ("--handshake-timeout", limits.handshake_timeout, MOMENT, "takes no connection"),
        ("--max-deadline", limits.max_deadline, MOMENT, "answers no call"),
        ("--default-deadline", limits.default_deadline, MOMENT, "answers no call"),
    ] {
        if time < least {
            return Err(refusal(78, format!("{flag} {time:?} {what}; it is {least:?} at least")));
        }
    }
    Ok(())
}

/// Refuses a limit that another one never lets come true: a limit that nobody has set was lowered when it was read.
fn contradictions(config: &Config) -> Result<(), Refusal> {
    let (callers, limits) = (&config.callers, &config.limits);
    let (calls, watches) = (config.max_calls, config.max_watches);
    for (flag, limit, whole, all, why) in [
        ("--max-calls-per-caller", callers.max_calls_per_caller, "--max-calls", calls, "all callers share"),
        ("--max-reads-per-caller", callers.max_reads_per_caller, "--max-calls", calls, "all callers share"),
        (
            "--max-watches-per-caller",
            callers.max_watches_per_caller,
            "--max-watches",
            watches,
            "all callers share",
        ),
        (
            "--max-watches-per-connection",
            limits.max_watches_per_connection,
            "--max-watches",
            watches,
            "all connections share",
        ),
        (
            "--max-handshakes",
            limits.max_handshakes,
            "--max-connections",
            config.max_connections,
            "all of them count among",
        ),
    ] {
        within(flag, limit, format!("more than {whole} {all}, which {why}"), all)?;
    }
    let streams = limits.max_streams_per_connection;
    within(
        "--max-watches-per-connection",
        limits.max_watches_per_connection,
        format!(
            "as many as --max-streams-per-connection {streams} or more, which leaves no stream for a call"
        ),
        limits.most_watches_of_connection(),
    )?;
    within(
        "--max-message",
        limits.max_message,
        format!(
            "more than a quarter of --max-request-memory {}, which is what one connection may hold",
            limits.max_request_memory
        ),
        limits.most_of_connection(),
    )?;
    let idle = (Spelt(config.connection_idle), Spelt(config.connection_age));
    let why = format!("longer than --connection-age {}, which ends every connection", idle.1);
    within("--connection-idle", idle.0, why, idle.1)?;
    let deadline = (Spelt(limits.default_deadline), Spelt(limits.max_deadline));
    let why = format!("longer than --max-deadline {}, which ends every call", deadline.1);
    within("--default-deadline", deadline.0, why, deadline.1)
}

/// Refuses a limit that is beyond what another allows.
fn within<T: Ord + Display>(flag: &str, limit: T, why: String, most: T) -> Result<(), Refusal> {
    if limit <= most {
        return Ok(());
    }
    Err(refusal(78, format!("{flag} {limit} is {why}; lower the one or raise the other")))
}

/// A time as refusals show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spelt(Duration);

impl Display for Spelt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(&self.0, formatter)
    }
}
