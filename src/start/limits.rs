//! What limits may be: none serves nobody, and none is beyond what another lets come true.

use std::fmt::{self, Display};
use std::time::Duration;

use super::{Refusal, refusal};
use crate::config::{Bytes, Config};

/// The most that most limits can be, and that replicas and calls to the API server can.
const MOST: usize = 1_000_000;
const MOST_OF_FEW: usize = 10_000;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The shortest time of anything that is on its way, and the shortest and longest ones of others.
const MOMENT: Time = Time(Duration::from_millis(100));
const NOTHING: Time = Time(Duration::ZERO);
const SECOND: Time = Time(Duration::from_secs(1));
const MINUTE: Time = Time(Duration::from_secs(60));
const TEN_MINUTES: Time = Time(Duration::from_secs(600));
const HOUR: Time = Time(Duration::from_secs(3600));
const DAY: Time = Time(Duration::from_secs(24 * 3600));

/// Refuses limits that serve nobody, or that are beyond their range.
pub(super) fn ranges(config: &Config) -> Result<(), Refusal> {
    counts(config)?;
    sizes(config)?;
    times(config)
}

/// Refuses a limit that is out of its range; `serving` says what too little does.
fn within_range<T: Copy + Ord + Display>(
    flag: &str,
    limit: T,
    (least, most): (T, T),
    serving: &str,
) -> Result<(), Refusal> {
    if limit < least {
        return Err(refusal(78, format!("{flag} {limit} {serving}; it is {least} at least")));
    }
    if limit > most { Err(refusal(78, format!("{flag} is {most} at most"))) } else { Ok(()) }
}

fn counts(config: &Config) -> Result<(), Refusal> {
    let (callers, limits) = (&config.callers, &config.limits);
    for (flag, limit, least, most) in [
        ("--max-connections", config.max_connections, 1, MOST),
        ("--max-calls", config.max_calls, 1, MOST),
        ("--max-watches", config.max_watches, 1, MOST),
        ("--max-calls-per-caller", callers.max_calls_per_caller, 1, MOST),
        ("--max-reads-per-caller", callers.max_reads_per_caller, 1, MOST),
        ("--max-watches-per-caller", callers.max_watches_per_caller, 1, MOST),
        // One for a watch, and one for a call beside it.
        ("--max-streams-per-connection", limits.max_streams_per_connection, 2, MOST),
        ("--max-watches-per-connection", limits.max_watches_per_connection, 1, MOST),
        ("--max-handshakes", limits.max_handshakes, 1, MOST),
        ("--max-replicas", limits.max_replicas, 1, MOST_OF_FEW),
        ("--max-api-calls", limits.max_api_calls, 1, MOST_OF_FEW),
    ] {
        within_range(flag, limit, (least, most), "serves nobody")?;
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
        within_range(flag, limit, (Bytes(least), Bytes(most)), "serves nobody")?;
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), Refusal> {
    let limits = &config.limits;
    let ends = "ends every connection at once";
    for (flag, time, range, what) in [
        ("--lease", config.lease, (SECOND, TEN_MINUTES), "ends before it is renewed"),
        ("--unschedulable-grace", config.unschedulable_grace, (NOTHING, HOUR), ""),
        ("--drain-timeout", config.drain_timeout, (NOTHING, TEN_MINUTES), ""),
        ("--connection-age", config.connection_age, (SECOND, DAY), ends),
        ("--connection-idle", config.connection_idle, (SECOND, DAY), ends),
        ("--reader-timeout", limits.reader_timeout, (SECOND, TEN_MINUTES), "cuts every reader"),
        ("--request-timeout", limits.request_timeout, (MOMENT, TEN_MINUTES), "takes no request"),
        ("--handshake-timeout", limits.handshake_timeout, (MOMENT, MINUTE), "takes no connection"),
        ("--max-deadline", limits.max_deadline, (MOMENT, HOUR), "answers no call"),
        ("--default-deadline", limits.default_deadline, (MOMENT, HOUR), "answers no call"),
    ] {
        within_range(flag, Time(time), range, what)?;
    }
    Ok(())
}

/// Refuses a limit that another one never lets come true: one that nobody has set was lowered.
pub(super) fn contradictions(config: &Config) -> Result<(), Refusal> {
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
        within(flag, limit, &format!("more than {whole} {all}, which {why}"), all)?;
    }
    let streams = limits.max_streams_per_connection;
    within(
        "--max-watches-per-connection",
        limits.max_watches_per_connection,
        &format!(
            "as many as --max-streams-per-connection {streams} or more, which leaves no stream for a call"
        ),
        limits.most_watches_of_connection(),
    )?;
    within(
        "--max-message",
        limits.max_message,
        &format!(
            "more than a quarter of --max-request-memory {}, which is what one connection may hold",
            limits.max_request_memory
        ),
        limits.most_of_connection(),
    )?;
    let idle = (Time(config.connection_idle), Time(config.connection_age));
    let why = format!("longer than --connection-age {}, which ends every connection", idle.1);
    within("--connection-idle", idle.0, &why, idle.1)?;
    let deadline = (Time(limits.default_deadline), Time(limits.max_deadline));
    let why = format!("longer than --max-deadline {}, which ends every call", deadline.1);
    within("--default-deadline", deadline.0, &why, deadline.1)
}

/// Refuses a limit that is beyond what another allows.
fn within<T: Copy + Ord + Display>(flag: &str, limit: T, why: &str, most: T) -> Result<(), Refusal> {
    if limit <= most {
        return Ok(());
    }
    Err(refusal(78, format!("{flag} {limit} is {why}; lower the one or raise the other")))
}

/// A time as settings write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let time = self.0.as_millis();
        match units.into_iter().find(|(_, each)| time != 0 && time.is_multiple_of(*each)) {
            Some((unit, each)) => write!(formatter, "{}{unit}", time / each),
            None => formatter.write_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn told(flag: &str, value: &str) -> Config {
        let matches = Config::command().try_get_matches_from(["adapter", flag, value]);
        Config::of(&matches.unwrap_or_else(|error| panic!("{flag} {value}: {error}"))).unwrap()
    }

    #[test]
    fn every_limit_has_the_range_that_its_help_says_whatever_another_would_lower_it_to() {
        let mut limits = 0;
        for setting in Config::command().get_arguments() {
            let (little, much) =
                match setting.get_value_names().and_then(|names| names.first()?.as_str().into()) {
                    Some("NUMBER") => ("0", "99999999999999999999999"),
                    Some("SIZE") => ("0KiB", "99999999999999999999999MiB"),
                    Some("TIME") => ("0s", "99999999999999999999999h"),
                    _ => continue,
                };
            limits += 1;
            let flag = format!("--{}", setting.get_long().unwrap());
            let help = setting.get_help().unwrap().to_string();
            let words: Vec<&str> = help.split([' ', ';', ',']).collect();
            let said =
                words.windows(3).find(|words| words[1] == "to" && words[0].starts_with(char::is_numeric));
            let least = said.map_or(if help.contains("2 at least") { "2" } else { "1" }, |words| words[0]);
            let most = said.map_or("1000000", |words| words[2]);
            let refused = ranges(&told(&flag, much)).unwrap_err();
            assert_eq!(
                (refused.code, refused.sentence.replace(' ', "")),
                (78, format!("{flag}is{most}atmost"))
            );
            assert!(ranges(&told(&flag, most)).is_ok(), "{flag} {most}");
            assert!(ranges(&told(&flag, least)).is_ok(), "{flag} {least}");
            let refused = ranges(&told(&flag, little))
                .map_err(|refused| (refused.code, refused.sentence.replace(' ', "")));
            match refused {
                Ok(()) => assert_eq!(least, "0s", "{flag}"),
                Err((code, sentence)) => {
                    assert!(code == 78 && sentence.ends_with(&format!("itis{least}atleast")), "{sentence}");
                }
            }
        }
        assert_eq!(limits, 24);
    }

    #[test]
    fn times_are_shown_as_they_are_written() {
        for (millis, shown) in
            [(0, "0s"), (1, "1ms"), (1500, "1500ms"), (90_000, "90s"), (600_000, "10m"), (86_400_000, "24h")]
        {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), shown);
        }
    }
}
