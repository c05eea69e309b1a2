//! Bytes to facts: the JSON of an image's configuration, in the forms that tools print.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{ImageFacts, MAX_CONFIG};
use crate::diagnostic::{Code, Findings};
use crate::template::{
    MAX_PORTS, MAX_VARIABLES, MAX_VOLUMES, PortNumber, Protocol, VariableName, ending, plain_path,
};

/// The longest user of an image, in bytes.
const MAX_USER: usize = 256;
/// The longest path of a volume: Linux's PATH_MAX.
const MAX_PATH: usize = 4_096;
/// The longest first word of a command, in bytes; a longer one is no program that is known here.
const MAX_WORD: usize = 256;

/// The part that says what a container is run with. Keys are the same in all forms.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    env: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    user: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    /// Only Docker's forms have it, and whatever it is, it refuses nothing.
    healthcheck: Value,
}

/// Reads one configuration; `None`, and an error at the field, if it is none.
pub(super) fn read(json: &str, field: &str, findings: &mut Findings) -> Option<ImageFacts> {
    if json.len() > MAX_CONFIG {
        let message = format!("the configuration is larger than {MAX_CONFIG} bytes");
        findings.report(Code::LimitExceeded, field, message);
        return None;
    }
    let Some(config) = parse(json) else {
        let message = "the text is not the configuration of one image";
        findings.report(Code::ImageConfig, field, message);
        return None;
    };
    Some(Reading { field, findings }.facts(config))
}

/// The configuration of exactly one image: OCI and Docker's registry form write `config`, `docker image inspect` writes
/// `Config` and puts it into a list.
///
/// What the parser says is dropped: it quotes the text.
fn parse(json: &str) -> Option<Config> {
    let outer = match serde_json::from_str(json).ok()? {
        Value::Array(images) => match <[Value; 1]>::try_from(images) {
            Ok([only]) => only,
            Err(_) => return None,
        },
        outer => outer,
    };
    let config = outer.get("config").or_else(|| outer.get("Config"))?;
    if config.is_object() { Config::deserialize(config).ok() } else { None }
}

/// Whether a `HEALTHCHECK` has a test: without one, or with `NONE`, Docker made none.
fn checks_health(check: &Value) -> bool {
    let test = check.get("Test").and_then(Value::as_array);
    test.and_then(|words| words.first()?.as_str()).is_some_and(|first| matches!(first, "CMD" | "CMD-SHELL"))
}

/// One configuration while it is read.
struct Reading<'r> {
    field: &'r str,
    findings: &'r mut Findings,
}

impl Reading<'_> {
    fn facts(&mut self, config: Config) -> ImageFacts {
        let entrypoint = config.entrypoint.unwrap_or_default();
        let (has_entrypoint, command) = (!entrypoint.is_empty(), config.cmd.unwrap_or_default());
        let ends = ending(&[&entrypoint[..], &command[..]].concat()).is_some();
        let command = command.into_iter().next();
        let user = config.user.unwrap_or_default();
        if user.len() > MAX_USER {
            self.left_out("a user longer than 256 bytes");
        }
        ImageFacts {
            ports: self.ports(config.exposed_ports.unwrap_or_default().into_keys()),
            environment: self.environment(&config.env.unwrap_or_default()),
            volumes: self.volumes(config.volumes.unwrap_or_default().into_keys()),
            user: if user.len() > MAX_USER { String::new() } else { user },
            has_entrypoint,
            command: command.filter(|word| word.len() <= MAX_WORD),
            ends,
            has_health_check: checks_health(&config.healthcheck),
        }
    }

    /// Tells what the image has and is not used.
    fn left_out(&mut self, what: &str) {
        self.findings.report(Code::ImageConfigPartial, self.field, format!("left out: {what}"));
    }

    /// `5672/tcp`, or without a protocol as the first versions of Docker wrote it.
    fn ports(&mut self, keys: impl Iterator<Item = String>) -> BTreeSet<(PortNumber, Protocol)> {
        let mut ports = BTreeSet::new();
        let mut unread = 0_usize;
        for key in keys {
            let (number, protocol) = key.split_once('/').unwrap_or((&key, ""));
            match (PortNumber::parse(number), Protocol::parse(protocol)) {
                (Ok(number), Ok(protocol)) => {
                    ports.insert((number, protocol));
                }
                _ => unread += 1,
            }
        }
        if unread > 0 {
            self.left_out(&format!(
                "{unread} ports that are neither TCP nor UDP, or have no number from 1 to 65535"
            ));
        }
        if ports.len() > MAX_PORTS {
            self.left_out(&format!("all ports but the lowest {MAX_PORTS}"));
            ports = ports.into_iter().take(MAX_PORTS).collect();
        }
        ports
    }

    /// `NAME=value`; what has no `=` sets nothing.
    fn environment(&mut self, entries: &[String]) -> BTreeMap<VariableName, String> {
        let mut variables = BTreeMap::new();
        let (mut unnamed, mut more) = (0_usize, 0_usize);
        for entry in entries {
            let Some((name, value)) = entry.split_once('=') else { continue };
            match VariableName::new(name) {
                Ok(name) if variables.len() < MAX_VARIABLES || variables.contains_key(&name) => {
                    variables.insert(name, value.to_owned());
                }
                Ok(_) => more += 1,
                Err(_) => unnamed += 1,
            }
        }
        if unnamed > 0 {
            self.left_out(&format!("{unnamed} variables with names that Kubernetes does not take"));
        }
        if more > 0 {
            self.left_out(&format!("{more} variables beyond {MAX_VARIABLES}"));
        }
        variables
    }

    fn volumes(&mut self, paths: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut volumes = BTreeSet::new();
        let mut unread = 0_usize;
        for path in paths {
            let is_plain = path.starts_with('/')
                && path.len() <= MAX_PATH
                && !path.contains(':')
                && !path.chars().any(char::is_control)
                && path.split('/').all(|part| part != "..");
            if is_plain && volumes.len() < MAX_VOLUMES {
                volumes.insert(plain_path(&path));
            } else {
                unread += 1;
            }
        }
        if unread > 0 {
            self.left_out(&format!(
                "{unread} volumes without a plain absolute path, or beyond {MAX_VOLUMES}"
            ));
        }
        volumes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(json: &str) -> (Option<ImageFacts>, Vec<(Code, String)>) {
        let mut findings = Findings::default();
        let facts = read(json, "image_configs[a]", &mut findings);
        (
            facts,
            findings.into_vec().into_iter().map(|found| (found.code, found.message.into_owned())).collect(),
        )
    }

    const PARTS: &str = r#"{"ExposedPorts":{"80/tcp":{},"53/udp":{},"9000":{}},"Env":["PATH=/bin","A=b=c"],
        "Volumes":{"/data//x/":{}},"User":"472:0","Entrypoint":["/run.sh"],"Cmd":["serve","-x"],"Labels":null,
        "Healthcheck":{"Test":["CMD","/check"],"Interval":5}}"#;

    #[test]
    fn every_tools_form_says_the_same() {
        let oci = format!(r#"{{"architecture":"amd64","os":"linux","config":{PARTS},"rootfs":{{}}}}"#);
        let docker =
            format!(r#"[{{"Id":"sha256:0","RepoTags":["a:1"],"Config":{PARTS},"ContainerConfig":{{}}}}]"#);
        let one = format!(r#"{{"Id":"sha256:0","Config":{PARTS}}}"#);
        let (facts, found) = run(&oci);
        assert_eq!(found, []);
        let facts = facts.unwrap();
        let ports: Vec<_> =
            facts.ports.iter().map(|(port, protocol)| (port.get(), protocol.as_str())).collect();
        assert_eq!(ports, [(53, "UDP"), (80, "TCP"), (9000, "TCP")]);
        assert_eq!(facts.environment[&VariableName::new("A").unwrap()], "b=c");
        assert_eq!(facts.volumes.iter().collect::<Vec<_>>(), ["/data/x"]);
        assert_eq!((facts.numeric_user(), facts.has_entrypoint), (Some((472, Some(0))), true));
        assert_eq!((facts.command.as_deref(), facts.has_health_check), (Some("serve"), true));
        for other in [docker, one] {
            assert_eq!(run(&other), (Some(facts.clone()), vec![]));
        }
    }

    #[test]
    fn what_ends_at_once_is_found_with_its_entry_point() {
        for (parts, ends) in [
            (r#""Cmd":["true"]"#, true),
            (r#""Cmd":["sh","-c","echo data"]"#, true),
            (r#""Entrypoint":["/bin/sh","-c"],"Cmd":["exit 0"]"#, true),
            (r#""Entrypoint":["/run.sh"],"Cmd":["true"]"#, false),
            (r#""Cmd":["mysqld"]"#, false),
            (r#""Cmd":[]"#, false),
        ] {
            let facts = run(&format!(r#"{{"config":{{{parts}}}}}"#)).0.unwrap();
            assert_eq!(facts.ends, ends, "{parts}");
            // A revision of before does not say it.
            assert_eq!(serde_json::to_string(&facts).unwrap().contains("ends"), ends);
        }
    }

    #[test]
    fn a_health_check_is_one_only_if_it_tests_something() {
        for (check, is_one) in [
            (r#"{"Test":["CMD-SHELL","true"]}"#, true),
            (r#"{"Test":["CMD","/check","-x"]}"#, true),
            (r#"{"Test":["NONE"]}"#, false),
            (r#"{"Test":[]}"#, false),
            (r#"{"Test":null,"Interval":5}"#, false),
            (r#"{"Test":"canary"}"#, false),
            (r#"["canary"]"#, false),
            ("null", false),
        ] {
            let (facts, found) = run(&format!(r#"{{"config":{{"Healthcheck":{check}}}}}"#));
            let facts = facts.unwrap();
            assert_eq!((facts.has_health_check, found), (is_one, vec![]), "{check}");
            // A revision of before does not say it.
            assert_eq!(serde_json::to_string(&facts).unwrap().contains("health"), is_one);
        }
    }

    #[test]
    fn an_image_that_says_nothing_has_no_facts() {
        for json in [r#"{"config":{}}"#, r#"{"config":{"Env":null,"Cmd":null,"ExposedPorts":null}}"#] {
            assert_eq!(run(json), (Some(ImageFacts::default()), vec![]));
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_without_a_word_of_it() {
        for json in [
            "",
            "canary",
            "{}",
            "[]",
            r#"{"config":null}"#,
            r#"{"config":["canary"]}"#,
            r#"{"config":[]}"#,
            "[{},{}]",
            r#"{"config":{"Env":3}}"#,
        ] {
            let (facts, found) = run(json);
            assert_eq!(facts, None);
            assert_eq!(found, [(Code::ImageConfig, "the text is not the configuration of one image".into())]);
        }
        let (_, found) = run(&format!(r#"{{"config":{{"User":"{}"}}}}"#, "x".repeat(MAX_CONFIG)));
        assert_eq!(found[0].0, Code::LimitExceeded);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_left_out_and_told() {
        let ports: Vec<_> = (30_000..31_001).map(|port| format!(r#""{port}/tcp":{{}}"#)).collect();
        let json = format!(r#"{{"config":{{"ExposedPorts":{{{},"1/sctp":{{}}}}}}}}"#, ports.join(","));
        let (facts, found) = run(&json);
        let ports = facts.unwrap().ports;
        assert_eq!((ports.len(), ports.last().unwrap().0.get()), (64, 30_063));
        assert!(
            found.iter().all(|(code, _)| *code == Code::ImageConfigPartial) && found.len() == 2,
            "{found:?}"
        );
        let (facts, found) = run(r#"{"config":{"Env":["A B=canary","none"],"Volumes":{"../canary":{}}}}"#);
        assert!(facts.unwrap().environment.is_empty());
        assert!(
            found.len() == 2 && found.iter().all(|(_, message)| !message.contains("canary")),
            "{found:?}"
        );
    }
}
