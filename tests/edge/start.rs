//! What the binary refuses to start with: exit code, one sentence, and no socket before every check has passed.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::adapter::{Binary, connect, refused};
use crate::support::certificates::{Folder, authority, issued};
use crate::support::control_plane::{User, control_plane};

/// Flags, the exit code that they end with, and a part of the sentence.
type Row<'r> = (i32, Vec<&'r str>, &'r str);

/// The table of docs/operating.md, row by row, each on an address that is taken: who opened it before the checks had
/// passed would end with 69.
fn all_are_refused(rows: Vec<Row>) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    std::thread::scope(|scope| {
        for (code, flags, part) in rows {
            let listens = flags.contains(&"--listen");
            let more: &[&str] = if listens { &[] } else { &["--listen", &taken.1] };
            let flags = [flags.as_slice(), more].concat();
            scope.spawn(move || {
                let (ended, told) = refused(&flags);
                assert_eq!(ended, Some(code), "{flags:?}: {told}");
                assert_eq!(told.lines().count(), 1, "{flags:?}: {told}");
                let begins = told.starts_with("panamax-kubernetes-adapter: ");
                assert!(begins && told.contains(part), "{flags:?}: {told}");
            });
        }
    });
}

#[test]
fn words_that_cannot_be_read_are_usage() {
    let long = format!("unix:/{}", "p".repeat(107));
    all_are_refused(vec![
        (64, vec!["--listen", "somewhere"], "--listen"),
        (64, vec!["--listen", "unix:relative.sock"], "absolute"),
        (64, vec!["--metrics-listen", "9090"], "--metrics-listen"),
        (64, vec!["--lease", "soon"], "--lease"),
        (64, vec!["--reader-timeout", "11"], "--reader-timeout"),
        (64, vec!["--max-message", "1MB"], "KiB or MiB"),
        (64, vec!["--max-calls=-1"], "--max-calls"),
        (64, vec!["--max-calls", "many"], "--max-calls"),
        (64, vec!["--log-format", "xml"], "text, json"),
        (64, vec!["--no-such-flag"], "--no-such-flag"),
        (64, vec!["--sandbox", "--kubeconfig", "file"], "--sandbox"),
        (64, vec!["--sandbox", "--namespace", "No Name"], "--namespace"),
        (64, vec!["--sandbox", "--namespaces", "a,B"], "--namespaces"),
        (64, vec!["--tls-client-ca", "ca.pem"], "--tls-cert"),
        (64, vec!["--sandbox", "--otlp-endpoint", "localhost:4317"], "--otlp-endpoint"),
        (64, vec!["--sandbox", "--otlp-endpoint", "http://localhost:99999"], "a port that is none"),
        (64, vec!["--sandbox", "--otlp-endpoint", "https://localhost:"], "a port that is none"),
        (64, vec!["--sandbox", "--listen", &long], "107 bytes at most"),
    ]);
}

#[test]
fn what_is_unsafe_off_loopback_is_refused() {
    let folder = Folder::new("start-unsafe");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let clients = folder.write("clients.pem", &ours.pem(), 0o644);
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let rows = vec![
        (78, vec!["--listen", "0.0.0.0:0"], "--allow-plaintext"),
        (78, vec!["--listen", "[::]:0"], "--allow-plaintext"),
        (78, [&["--listen", "0.0.0.0:0"][..], &tls].concat(), "--tls-client-ca"),
        (78, vec!["--sandbox", "--listen", "0.0.0.0:0", "--allow-plaintext"], "loopback"),
        (
            78,
            [&["--sandbox", "--listen", "0.0.0.0:0", "--tls-client-ca", &clients][..], &tls].concat(),
            "loopback",
        ),
    ];
    all_are_refused(rows);
}

#[test]
fn limits_that_serve_nobody_or_are_beyond_their_range_are_refused() {
    all_are_refused(vec![
        (78, vec!["--sandbox", "--max-connections", "0"], "--max-connections 0"),
        (78, vec!["--sandbox", "--max-calls", "0"], "--max-calls 0"),
        (78, vec!["--sandbox", "--max-watches", "0"], "--max-watches 0"),
        (78, vec!["--sandbox", "--max-calls", "1000001"], "1000000 at most"),
        (78, vec!["--sandbox", "--connection-idle", "0s"], "--connection-idle 0"),
        (78, vec!["--sandbox", "--connection-age", "0s"], "--connection-age 0"),
        (78, vec!["--sandbox", "--connection-idle", "1ms"], "1s at least"),
        (78, vec!["--sandbox", "--connection-age", "999ms"], "1s at least"),
        (78, vec!["--sandbox", "--max-calls-per-caller", "0"], "--max-calls-per-caller 0"),
        (78, vec!["--sandbox", "--max-reads-per-caller", "0"], "--max-reads-per-caller 0"),
        (78, vec!["--sandbox", "--max-watches-per-caller", "0"], "--max-watches-per-caller 0"),
        (78, vec!["--sandbox", "--max-streams-per-connection", "1"], "it is 2 at least"),
        (78, vec!["--sandbox", "--max-watches-per-connection", "0"], "--max-watches-per-connection 0"),
        (78, vec!["--sandbox", "--max-handshakes", "0"], "--max-handshakes 0"),
        (78, vec!["--sandbox", "--max-replicas", "0"], "--max-replicas 0"),
        (78, vec!["--sandbox", "--max-replicas", "10001"], "--max-replicas is 10000 at most"),
        (78, vec!["--sandbox", "--max-api-calls", "0"], "--max-api-calls 0"),
        (78, vec!["--sandbox", "--max-message", "0KiB"], "--max-message 0 bytes"),
        (
            78,
            vec!["--sandbox", "--max-message", "17MiB", "--max-request-memory", "1024MiB"],
            "16 MiB at most",
        ),
        (78, vec!["--sandbox", "--max-metadata", "0KiB"], "--max-metadata 0 bytes"),
        (78, vec!["--sandbox", "--max-metadata", "129KiB"], "128 KiB at most"),
        (78, vec!["--sandbox", "--max-request-memory", "0KiB"], "--max-request-memory 0 bytes"),
        (78, vec!["--sandbox", "--request-timeout", "0s"], "--request-timeout 0"),
        (78, vec!["--sandbox", "--handshake-timeout", "99ms"], "100ms at least"),
        (78, vec!["--sandbox", "--reader-timeout", "0s"], "--reader-timeout 0"),
        (78, vec!["--sandbox", "--default-deadline", "0s"], "--default-deadline 0"),
        (78, vec!["--sandbox", "--max-deadline", "0s"], "--max-deadline 0"),
        (78, vec!["--sandbox", "--lease", "0s"], "1s at least"),
        (78, vec!["--sandbox", "--connection-age", "25h"], "--connection-age is 24h at most"),
        // Whatever another limit would lower it to.
        (78, vec!["--sandbox", "--max-message", "1000MiB"], "--max-message is 16 MiB at most"),
        (78, vec!["--sandbox", "--max-handshakes", "5000000"], "--max-handshakes is 1000000 at most"),
        (78, vec!["--sandbox", "--metrics-listen", "0.0.0.0:0"], "loopback"),
        (78, vec!["--sandbox", "--namespace", "kube-system"], "never written to"),
        (78, vec!["--sandbox", "--namespaces", "a,kube-node-lease"], "never written to"),
        (
            78,
            vec!["--sandbox", "--listen", "127.0.0.1:4711", "--metrics-listen", "127.0.0.1:4711"],
            "are both",
        ),
    ]);
}

#[test]
fn limits_that_contradict_each_other_or_the_system_are_refused() {
    all_are_refused(vec![
        (
            78,
            vec!["--sandbox", "--max-calls", "5", "--max-calls-per-caller", "6"],
            "--max-calls-per-caller 6 is more than --max-calls 5",
        ),
        (
            78,
            vec!["--sandbox", "--max-watches", "10", "--max-watches-per-caller", "20"],
            "--max-watches-per-caller 20 is more than --max-watches 10",
        ),
        (
            78,
            vec!["--sandbox", "--connection-idle", "2h", "--connection-age", "1m"],
            "--connection-idle 2h is longer than --connection-age 1m",
        ),
        (
            78,
            vec!["--sandbox", "--max-calls", "5", "--max-reads-per-caller", "6"],
            "--max-reads-per-caller 6 is more than --max-calls 5",
        ),
        (
            78,
            vec!["--sandbox", "--max-watches", "5", "--max-watches-per-connection", "6"],
            "--max-watches-per-connection 6 is more than --max-watches 5",
        ),
        (
            78,
            vec!["--sandbox", "--max-streams-per-connection", "5", "--max-watches-per-connection", "5"],
            "--max-watches-per-connection 5 is as many as --max-streams-per-connection 5 or more",
        ),
        (
            78,
            vec!["--sandbox", "--max-connections", "5", "--max-handshakes", "6"],
            "--max-handshakes 6 is more than --max-connections 5",
        ),
        (
            78,
            vec!["--sandbox", "--max-request-memory", "4MiB", "--max-message", "2MiB"],
            "--max-message 2 MiB is more than a quarter of --max-request-memory 4 MiB",
        ),
        (
            78,
            vec!["--sandbox", "--max-deadline", "5s", "--default-deadline", "6s"],
            "--default-deadline 6s is longer than --max-deadline 5s",
        ),
    ]);
    // A process that may have 200 files open cannot serve 100 connections beside what it needs itself.
    let program = env!("CARGO_BIN_EXE_panamax-kubernetes-adapter");
    let line =
        format!("ulimit -n 200 && exec '{program}' --sandbox --listen 127.0.0.1:0 --max-connections 100");
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("--max-connections 100 needs 228 open files"), "{told}");
}

#[test]
fn an_api_server_that_nobody_verifies_is_refused_off_loopback() {
    let folder = Folder::new("start-cluster");
    let kubeconfig = |name: &str, server: &str, more: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{server}'{more}}}}}]\n"
        );
        folder.write(name, &text, 0o600)
    };
    let plain = kubeconfig("plain", "http://192.0.2.1:8080", "");
    let unverified = kubeconfig("unverified", "https://192.0.2.1:6443", ", insecure-skip-tls-verify: true");
    let broken = folder.write("broken", "clusters: [", 0o600);
    let local = kubeconfig("local", "http://127.0.0.1:1", "");
    let name = kubeconfig("name", "http://127.evil.example", "");
    // An editor ends a file with a line end, and YAML a block.
    let token = folder.write("token", "a-token\n", 0o600);
    let with = |name: &str, user: &str| {
        let text =
            std::fs::read_to_string(&local).expect("a file").replace("user: {}", &format!("user: {user}"));
        folder.write(name, &text, 0o600)
    };
    let in_file = with("in-file", &format!("{{tokenFile: '{token}'}}"));
    let in_line = with("in-line", "{token: \"a-token\\n\"}");
    all_are_refused(vec![
        (69, vec!["--kubeconfig", &in_file], "is taken"),
        (69, vec!["--kubeconfig", &in_line], "is taken"),
        (78, vec!["--kubeconfig", &plain], "is not verified"),
        (78, vec!["--kubeconfig", &unverified], "is not verified"),
        (78, vec!["--kubeconfig", &name], "is not verified"),
        (78, vec!["--kubeconfig", &broken], "is no kubeconfig"),
        (78, vec!["--kubeconfig", "/no/such/file"], "/no/such/file"),
        (78, vec!["--kubeconfig", &plain, "--context", "other"], "--kubeconfig"),
        // On loopback nobody is in between; what remains is that the address is taken.
        (69, vec!["--kubeconfig", &local], "is taken"),
    ]);
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_told_without_a_piece_of_it() {
    const CANARY: &str = "canary-9f31";
    const PRINTED: &str = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": "canary\nb"}}"#;
    let folder = Folder::new("start-kubeconfig");
    let whole = |user: &str, server: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             users:\n- name: u\n  user:\n    {user}\nclusters: [{{name: c, cluster: {{server: '{server}'{more}}}}}]\n"
        )
    };
    let local = "https://127.0.0.1:1";
    let texts = [
        // The library's own words quote the lines around what it does not understand.
        whole(&format!("token: {CANARY}\n    exec: [{CANARY}]"), local, ""),
        whole(&format!("token: {CANARY}\n   username: {CANARY}"), local, ""),
        format!("users: [{{name: u, user: {{token: {CANARY}}}]"),
        CANARY.to_owned(),
        format!("token: *{CANARY}"),
        whole(&format!("client-key-data: {CANARY}"), local, ""),
        whole(&format!("client-certificate-data: '{CANARY}!'"), local, ""),
        whole("token: a", local, &format!(", certificate-authority-data: '{CANARY}!'")),
        whole("token: a", &format!("https://[{CANARY}"), ""),
        whole(
            &format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, \
                 args: [-c, 'echo {CANARY}; exit 1']}}"
            ),
            local,
            "",
        ),
        // What the library trusts, and ends with.
        whole(&format!("token: \"{CANARY}\\nb\""), local, ""),
        whole(&format!("token: {CANARY}-\u{e9}"), local, ""),
        whole(
            &format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: cat, args: ['{}']}}",
                folder.write("printed", PRINTED, 0o600)
            ),
            local,
            "",
        ),
        whole("token: a", &format!("{CANARY}:6443"), ""),
        whole("token: a", "ftp://127.0.0.1:1", ""),
        whole("token: a", local, ", certificate-authority-data: Y2FuYXJ5"),
        whole(&format!("auth-provider: {{name: gcp, config: {{access-token: {CANARY}}}}}"), local, ""),
        whole(&format!("tokenFile: '{}'", folder.write("two", "canary\nb\n", 0o600)), local, ""),
        whole(&format!("tokenFile: '{}'", folder.write("none", "\n", 0o600)), local, ""),
        whole("token: a", local, "").replace("name: u\n", "name: other\n"),
    ];
    for (index, text) in texts.iter().enumerate() {
        let path = folder.write(&format!("config-{index}"), text, 0o600);
        let (code, told) = refused(&["--listen", "127.0.0.1:0", "--kubeconfig", &path]);
        assert_eq!(code, Some(78), "{index}: {told}");
        // A piece is as bad as the whole.
        assert!(!told.contains("canary") && !told.contains("9f31"), "{index}: {told}");
        assert!(!told.contains("Invalid symbol"), "{index}: {told}");
    }
    let (_, told) = refused(&["--kubeconfig", &folder.write("where", &texts[1], 0o600)]);
    assert!(told.contains("is no kubeconfig (line "), "{told}");
}

#[test]
fn a_port_or_path_that_is_taken_is_told() {
    let folder = Folder::new("start-taken");
    let file = folder.write("file", "", 0o600);
    let file = format!("unix:{file}");
    let path = folder.path("live.sock");
    let _live = UnixListener::bind(&path).expect("a socket");
    let live = format!("unix:{path}");
    let absent = format!("unix:{}/absent/a.sock", folder.path("no"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_at = taken.local_addr().expect("an address").to_string();
    all_are_refused(vec![
        (69, vec!["--sandbox"], "is taken"),
        (69, vec!["--sandbox", "--listen", "127.0.0.1:0", "--metrics-listen", &taken_at], "--metrics-listen"),
        (69, vec!["--sandbox", "--listen", &live], "is taken"),
        (69, vec!["--sandbox", "--listen", &absent], "cannot be listened on"),
        (78, vec!["--sandbox", "--listen", &file], "no socket"),
    ]);
}

#[test]
fn key_material_that_cannot_be_used_is_refused() {
    let folder = Folder::new("start-keys");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let (expired, expired_key) = issued(&ours, -2, -1);
    let (future, future_key) = issued(&ours, 1, 2);
    let write = |name: &str, text: &str, mode| folder.write(name, text, mode);
    let (expired_ca, _) = issued(&ours, -2, -1);
    let files = [
        (write("expired.pem", &expired, 0o644), write("expired.key", &expired_key, 0o600), "has expired"),
        (write("future.pem", &future, 0o644), write("future.key", &future_key, 0o600), "is not valid yet"),
        (certificate.clone(), write("other.key", &issued(&ours, -1, 1).1, 0o600), "does not belong to"),
        (
            certificate.clone(),
            write("open.key", &fs::read_to_string(&key).expect("a key"), 0o604),
            "can be read by everybody",
        ),
    ];
    let expired_ca = write("ca.pem", &expired_ca, 0o644);
    let mut rows: Vec<Row> = files
        .iter()
        .map(|(certificate, key, why)| {
            (78, vec!["--sandbox", "--tls-cert", certificate, "--tls-key", key], *why)
        })
        .collect();
    rows.push((
        78,
        vec!["--sandbox", "--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &expired_ca],
        "has expired",
    ));
    all_are_refused(rows);
}

#[test]
fn nothing_but_a_regular_file_is_read_for_a_setting() {
    let folder = Folder::new("start-pipes");
    let (certificate, key) = folder.server(&authority("ours"));
    let pipe = folder.write("pipe", "", 0o600);
    fs::remove_file(&pipe).expect("its name is free");
    let made = Command::new("mkfifo").args(["-m", "600", &pipe]).status().expect("mkfifo");
    assert!(made.success());
    let named = |what: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {{tokenFile: '{what}'}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n"
        );
        folder.write("config", &text, 0o600)
    };
    let config = named(&pipe);
    let tokens = folder.write("tokens", "alice a-token-of-16-letters\n", 0o600);
    let known = ["--sandbox", "--auth", "tokens", "--tokens-file"];
    let rights = [&known[..], &[&tokens, "--authorize", "file", "--rights-file"]].concat();
    let with = |flags: &[&'static str], file| -> Vec<&str> { [flags, &[file]].concat() };
    let regular = "is no regular file";
    all_are_refused(vec![
        (78, with(&known, pipe.as_str()), regular),
        (78, with(&known, "/dev/zero"), regular),
        (78, [&rights[..], &[&pipe]].concat(), regular),
        (78, vec!["--kubeconfig", &pipe], regular),
        (78, vec!["--kubeconfig", "/dev/zero"], regular),
        (78, vec!["--kubeconfig", &config], regular),
        (78, vec!["--sandbox", "--tls-cert", "/dev/zero", "--tls-key", &key], regular),
        (78, vec!["--sandbox", "--tls-cert", &certificate, "--tls-key", "/dev/zero"], regular),
        (78, vec!["--sandbox", "--tls-cert", &certificate, "--tls-key", &pipe], regular),
        (
            78,
            vec!["--sandbox", "--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &pipe],
            regular,
        ),
    ]);
}

/// How the binary ends on a taken address with these variables, and what it says.
fn with_variables(variables: &[(&str, &OsStr)], flags: &[&str]) -> (Option<i32>, String) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("an address").to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    command
        .args(["--listen", &at])
        .args(flags)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .envs(variables.iter().copied());
    let output = command.output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn kubeconfigs_are_found_as_kubectl_finds_them() {
    let folder = Folder::new("start-found");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                users: [{name: u, user: {token: a}}]\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n";
    let good = folder.write("good", text, 0o600);
    let home = good.strip_suffix("/good").expect("a folder").to_owned();
    fs::create_dir_all(format!("{home}/.kube")).expect("a folder");
    folder.write(".kube/config", text, 0o600);
    let found = |kubeconfig: Option<&str>, home: &str| {
        let kubeconfig = kubeconfig.map(|list| ("KUBECONFIG", OsStr::new(list)));
        let home = ("HOME", OsStr::new(home));
        with_variables(&kubeconfig.into_iter().chain([home]).collect::<Vec<_>>(), &[])
    };
    // What remains is that the address is taken.
    for list in
        [Some(good.as_str()), Some(&format!("/nope:{good}")), Some(&format!("{good}:/nope:")), Some("")]
    {
        let (code, told) = found(list, &home);
        assert_eq!(code, Some(69), "{list:?}: {told}");
    }
    // With KUBECONFIG, the one in the home directory is not looked at.
    let (code, told) = found(Some("/nope:/neither"), &home);
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("no cluster found") && told.contains("there is no kubeconfig /nope, /neither"),
        "{told}"
    );
    let (code, told) = found(Some(""), "/nowhere");
    assert!(code == Some(78) && told.contains("there is no kubeconfig /nowhere/.kube/config"), "{told}");
    let broken = folder.write("broken", "a: [", 0o600);
    let (code, told) = found(Some(&format!("{good}:{broken}")), &home);
    assert!(
        code == Some(78) && told.contains(&format!("the kubeconfig {broken} is no kubeconfig")),
        "{told}"
    );
}

#[test]
fn a_signal_ends_it_before_it_serves() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = silent.local_addr().expect("an address");
    let folder = Folder::new("start-signal");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {{token: a}}}}]\nclusters: [{{name: c, cluster: {{server: 'http://{at}'}}}}]\n"
    );
    let config = folder.write("config", &text, 0o600);
    let mut child = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"))
        .args(["--listen", "0.0.0.0:0", "--allow-plaintext", "--kubeconfig", &config])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    // It asks for its rights, and nobody answers.
    let asked = silent.accept().expect("it asks");
    let begun = std::time::Instant::now();
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(asked);
}

#[test]
fn a_command_for_credentials_that_does_not_end_holds_up_no_end() {
    let folder = Folder::new("start-command");
    let begun = folder.path("begun");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}]\nusers:\n- name: u\n  user:\n    exec: {{apiVersion: \
         client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: [-c, 'echo > {begun}; exec sleep 20']}}\n"
    );
    let config = folder.write("config", &text, 0o600);
    let mut child = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"))
        .args(["--listen", "127.0.0.1:0", "--kubeconfig", &config])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    let started = std::time::Instant::now();
    while !std::path::Path::new(&begun).exists() {
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    let told = std::time::Instant::now();
    assert!(killed.success());
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[test]
fn what_a_setting_says_is_text_that_says_something() {
    for variable in ["PANAMAX_LOG", "PANAMAX_CONTEXT", "PANAMAX_NAMESPACE", "PANAMAX_LOG_FORMAT"] {
        let (code, told) = with_variables(&[(variable, OsStr::new(""))], &["--kubeconfig", "/nope"]);
        assert_eq!(code, Some(64), "{variable}: {told}");
        let unreadable = OsStr::from_bytes(b"canary\xff");
        let (code, told) = with_variables(&[(variable, unreadable)], &["--sandbox"]);
        assert_eq!(code, Some(64), "{variable}: {told}");
        assert!(told.contains(&format!("{variable} is no text in UTF-8")), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
    let (code, told) = with_variables(&[], &["--sandbox", "--log", ""]);
    assert!(code == Some(64) && told.contains("--log"), "{told}");
    // An address of IPv4 in the form of IPv6 is the same address.
    let (code, told) = with_variables(&[], &["--sandbox", "--metrics-listen", "[::ffff:127.0.0.1]:0"]);
    assert_eq!(code, Some(69), "{told}");
    let (_, told) =
        with_variables(&[], &["--sandbox", "--auth", "tokens", "--tokens-file", "/no\u{1b}[31mfile"]);
    assert!(!told.contains('\u{1b}') && told.contains("/no"), "{told:?}");
}

#[test]
fn rights_that_are_too_wide_are_refused_off_loopback() {
    let kubeconfig = |user| control_plane().kubeconfig(user).to_str().expect("a path").to_owned();
    let (admin, narrow) = (kubeconfig(User::Admin), kubeconfig(User::Alice));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let anywhere = format!("0.0.0.0:{}", taken.local_addr().expect("an address").port());
    let listen = ["--listen", &anywhere, "--allow-plaintext"];
    all_are_refused(vec![
        (77, [&["--kubeconfig", &admin][..], &listen].concat(), "may do everything"),
        // With fewer rights it comes as far as the address, which is taken.
        (69, [&["--kubeconfig", &narrow][..], &listen].concat(), "is taken"),
        // On loopback it is a local tool, as wide as its user.
        (69, vec!["--kubeconfig", &admin], "is taken"),
    ]);
}

fn socket_in(folder: &Folder) -> (PathBuf, String) {
    let path = folder.path("adapter.sock");
    (PathBuf::from(&path), format!("unix:{path}"))
}

#[test]
fn a_socket_is_its_owners_replaces_a_stale_one_and_goes_with_the_process() {
    let folder = Folder::new("start-socket");
    let (path, listen) = socket_in(&folder);
    // A process that was killed has left its file.
    drop(UnixListener::bind(&path).expect("a socket"));
    let mut binary = Binary::start_at(&listen, &["--sandbox"]);
    let file = fs::symlink_metadata(&path).expect("a file");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let (code, told) = refused(&["--sandbox", "--listen", &listen]);
    assert_eq!(code, Some(69), "{told}");
    assert_eq!(binary.signal("TERM", Duration::from_secs(20)), Some(0));
    assert!(!path.exists(), "it stays behind");
    let left = fs::read_dir(path.parent().expect("a folder")).expect("a folder").count();
    assert_eq!(left, 0, "nothing else stays behind");
}

#[tokio::test]
async fn calls_come_through_the_socket() {
    let folder = Folder::new("start-calls");
    let (path, listen) = socket_in(&folder);
    let start = move || Binary::start_at(&listen, &["--sandbox"]);
    let _binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await.expect("a connection");
    let mut server =
        panamax_kubernetes_adapter::proto::server_service_client::ServerServiceClient::new(channel);
    let request = panamax_kubernetes_adapter::proto::GetServerInfoRequest {};
    server.get_server_info(request).await.expect("it answers");
}

/// The limits that the binary tells of when it is started with these flags.
async fn limits_of(flags: &[&'static str]) -> panamax_kubernetes_adapter::proto::ServerLimits {
    let flags = [&["--sandbox"], flags].concat();
    let binary = tokio::task::spawn_blocking(move || Binary::start_with(&flags)).await.expect("it starts");
    let channel = connect(binary.address).await;
    let mut server =
        panamax_kubernetes_adapter::proto::server_service_client::ServerServiceClient::new(channel);
    let request = panamax_kubernetes_adapter::proto::GetServerInfoRequest {};
    server.get_server_info(request).await.expect("it answers").into_inner().limits.expect("limits")
}

#[tokio::test]
async fn the_server_tells_the_limits_that_were_set() {
    let flags = ["--max-connections=41", "--max-calls=42", "--max-watches=43", "--connection-idle=44s"];
    let more = ["--connection-age=45s", "--max-calls-per-caller=6", "--max-watches-per-caller=7"];
    let limits = limits_of(&[&["--rest-listen=127.0.0.1:0"][..], &flags, &more].concat()).await;
    let counts = [limits.max_connections, limits.max_calls, limits.max_watches];
    assert_eq!(counts, [41, 42, 43]);
    assert_eq!([limits.max_calls_per_caller, limits.max_watches_per_caller], [6, 7]);
    assert_eq!([limits.max_rest_connections, limits.max_rest_body_bytes], [128, 256 * 1024]);
    let times = [limits.connection_idle, limits.connection_age].map(|time| time.expect("a time").seconds);
    assert_eq!(times, [44, 45]);
    assert_eq!([limits.max_metadata_bytes, limits.max_streams_per_connection], [16 * 1024, 1_000]);
    // Those of a connection, of a request, and of the API server.
    let flags = ["--max-streams-per-connection=41", "--max-watches-per-connection=40", "--max-message=3KiB"];
    let more = ["--max-metadata=2KiB", "--max-request-memory=2MiB", "--request-timeout=4500ms"];
    let others = ["--max-handshakes=5", "--handshake-timeout=6s", "--reader-timeout=7s", "--max-deadline=9s"];
    let last = ["--max-reads-per-caller=10", "--max-replicas=11", "--max-api-calls=12"];
    let limits = limits_of(&[&flags[..], &more, &others, &last].concat()).await;
    let of_connection = [limits.max_streams_per_connection, limits.max_watches_per_connection];
    assert_eq!(of_connection, [41, 40]);
    assert_eq!([limits.max_message_bytes, limits.max_metadata_bytes], [3 * 1024, 2 * 1024]);
    assert_eq!(limits.max_request_memory_bytes, 2 * 1024 * 1024);
    let counts = [limits.max_handshakes, limits.max_reads_per_caller, limits.max_replicas];
    assert_eq!((counts, limits.max_api_calls), ([5, 10, 11], 12));
    let times =
        [limits.request_timeout, limits.handshake_timeout, limits.reader_timeout, limits.max_deadline];
    let times = times.map(|time| time.map(|time| (time.seconds, time.nanos)).expect("a time"));
    assert_eq!(times, [(4, 500_000_000), (6, 0), (7, 0), (9, 0)]);
}

#[tokio::test]
async fn a_limit_within_another_is_lowered_to_it_where_only_one_was_set() {
    for (flags, calls, watches, idle) in [
        (&["--max-calls=5", "--max-watches=6", "--connection-age=7s"][..], 5, 6, 7),
        (
            &["--max-calls-per-caller=500", "--max-watches-per-caller=20000", "--connection-idle=2h"][..],
            256,
            10_000,
            3600,
        ),
        // What is set to the same does not contradict.
        (&["--max-calls=8", "--max-calls-per-caller=8"][..], 8, 1_000, 300),
    ] {
        let limits = limits_of(flags).await;
        let told = (limits.max_calls_per_caller, limits.max_watches_per_caller);
        assert_eq!(told, (calls, watches), "{flags:?}");
        assert_eq!(limits.connection_idle.expect("a time").seconds, idle, "{flags:?}");
    }
    let flags = ["--max-calls=5", "--max-streams-per-connection=6", "--max-connections=7"];
    let limits = limits_of(&[&flags[..], &["--max-request-memory=2MiB", "--max-deadline=9s"]].concat()).await;
    let counts = [limits.max_reads_per_caller, limits.max_watches_per_connection, limits.max_handshakes];
    assert_eq!((counts, limits.max_message_bytes), ([5, 5, 7], 512 * 1024));
}
