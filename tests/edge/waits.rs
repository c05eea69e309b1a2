//! Waits that are longer than one call may take: what is told does not depend on where the wait was.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::namespace;

/// Its pod waits for a volume that never comes, and it is at rest once somebody has scaled it to 0.
const STUCK: &str = "name: c\nimages:\n- {name: A, source: 'a:1', volumes: [{container_path: /data}]}\n";
const PLAIN: &str = "name: c\nimages:\n- {name: A, source: 'a:1'}\n";
const AS_STUCK: [&str; 4] = ["--profile", "modern", "--storage-class", "none"];

fn command(server: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    command.args(line.split(' ')).args(["--server", server]).stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run(server: &str, line: &str) -> (Option<i32>, String, String) {
    told(command(server, line).output().expect("the binary starts"))
}

/// A file with this text.
fn file(name: &str, text: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("waits-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

fn deploy(rest: &str, path: &str) -> String {
    format!("deploy {} {rest}--wait-timeout 60s {path}", AS_STUCK.join(" "))
}

/// Runs a command, and another one when the first has waited for so long.
fn while_waiting(server: &str, line: &str, time: Duration, then: &str) -> (Option<i32>, String, String) {
    let mut first = command(server, line);
    let child = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // Nothing tells outside when a call has ended and a watch goes on.
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(time).is_err());
    let (code, _, err) = run(server, then);
    assert_eq!(code, Some(0), "{then}: {err}");
    told(child.wait_with_output().expect("it ends"))
}

/// What a Deploy tells that comes to rest after so long.
fn deployed(server: &str, time: Duration, form: &str) -> (String, String) {
    let stuck = file("stuck.pmx", STUCK);
    let (code, out, err) =
        while_waiting(server, &deploy(&format!("-o {form} "), &stuck), time, "scale c A=0 --wait none");
    assert_eq!(code, Some(0), "{out}\n{err}");
    let (code, gone, _) = run(server, "teardown c --volumes delete");
    assert_eq!(code, Some(0), "{gone}");
    (out, err)
}

#[test]
fn what_is_told_does_not_depend_on_how_long_the_wait_took() {
    let patient = Binary::start_with(&["--sandbox"]);
    let hasty = Binary::start_with(&["--sandbox", "--max-deadline", "3s"]);
    let [patient, hasty] = [&patient, &hasty].map(|one| format!("http://{}", one.address));
    let (within, beyond) = (Duration::from_secs(1), Duration::from_secs(5));
    let json =
        |out: &str| -> Value { serde_json::from_str(out).unwrap_or_else(|_| panic!("no JSON: {out}")) };
    let (short, long) = (deployed(&patient, within, "json"), deployed(&hasty, beyond, "json"));
    assert_eq!(short.1, long.1, "the findings");
    let (short, long) = (json(&short.0), json(&long.0));
    for part in ["outcome", "diagnostics"] {
        assert!(!short[part].is_null() && short[part] == long[part], "{part}: {short}\n{long}");
    }
    for part in ["state", "components", "endpoints"] {
        let bare = |answer: &Value| {
            let mut part = answer["deployment"][part].clone();
            if let Some(workload) = part.pointer_mut("/0/workload/uid") {
                *workload = Value::Null;
            }
            part
        };
        assert_eq!(bare(&short), bare(&long), "{part}");
    }
    // What was done to each object is told by the call alone.
    assert!(short["changes"].is_array() && long["changes"].is_null());
    let (short, long) = (deployed(&patient, within, "text"), deployed(&hasty, beyond, "text"));
    assert_eq!(short.1, long.1, "the findings");
    let lines = |out: &str| -> Vec<String> {
        let begins = out.find("created\n").unwrap_or_else(|| panic!("not created: {out}"));
        let lines = out[begins..].lines().filter(|line| !line.starts_with("  create "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&short.0), lines(&long.0));
}

/// `--wait-timeout` is kept, and its end is 4, however short the adapter's longest call is; every command that waits.
#[test]
fn a_wait_is_as_long_as_it_is_asked_for() {
    let binary = Binary::start_with(&["--sandbox", "--max-deadline", "3s"]);
    let server = format!("http://{}", binary.address);
    let stuck = file("asked.pmx", STUCK);
    let plain = file("plain.pmx", PLAIN);
    let began = Instant::now();
    let line = deploy("", &stuck).replace("60s", "6s");
    let (code, _, err) = run(&server, &line);
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}: {err}", began.elapsed());
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("deployment c is not ready yet (component a: "), "{err}");
    assert!(err.contains("goes on [WAIT_TIMEOUT]\nhint: see what becomes of it with"), "{err}");
    let (code, _, err) = run(&server, "scale c A=2 --wait-timeout 5s");
    assert!(code == Some(4) && err.contains("[WAIT_TIMEOUT]"), "{err}");
    // Somebody else's Deploy counts as it is, as in a call.
    let other = format!("deploy --profile modern --wait none {plain}");
    let (code, out, err) =
        while_waiting(&server, "scale c A=3 --wait-timeout 60s", Duration::from_secs(5), &other);
    assert!(code == Some(0) && out.contains("scaled\n") && out.contains("ACTIVE"), "{out}\n{err}");
    let back = "rollback c --revision 1 --wait-timeout 60s";
    let (code, out, err) = while_waiting(&server, back, Duration::from_secs(5), "scale c A=0 --wait none");
    assert!(code == Some(0) && out.contains("updated\n") && out.contains("STOPPED"), "{out}\n{err}");
}

#[test]
fn an_update_that_is_put_back_after_the_call_is_told_as_by_the_call() {
    let told = |longest: &str| {
        let flags = ["--sandbox", "--unschedulable-grace", "5s", "--max-deadline", longest];
        let binary = Binary::start_with(&flags);
        let server = format!("http://{}", binary.address);
        let (plain, stuck) = (file("first.pmx", PLAIN), file("second.pmx", STUCK));
        let (code, _, err) = run(&server, &format!("deploy --profile modern {plain}"));
        assert_eq!(code, Some(0), "{err}");
        let (code, _, err) = run(&server, &deploy("--on-failure rollback ", &stuck));
        assert_eq!(code, Some(1), "{err}");
        err
    };
    let (short, long) = (told("1m"), told("3s"));
    for one in [&short, &long] {
        let begins = "error: the update failed and was rolled back to revision 1: ";
        assert!(one.starts_with(begins) && one.contains("component a: "), "{one}");
        assert!(one.trim_end().ends_with("[APPLY_INCOMPLETE]"), "{one}");
    }
}

/// A caller with the right to deploy alone waits within the call, and is told once why it sees nothing.
#[test]
fn what_is_refused_for_good_is_not_asked_again() {
    let tokens = file("tokens", "ci tokentokentoken-for-ci\n");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&tokens, private).expect("its mode");
    let rights = file("rights", "user:ci deploy,scale *\n");
    let token = file("token", "tokentokentoken-for-ci");
    let binary = Binary::start_with(&[
        "--sandbox",
        "--max-deadline",
        "2s",
        "--auth",
        "tokens",
        "--tokens-file",
        &tokens,
        "--authorize",
        "file",
        "--rights-file",
        &rights,
    ]);
    let server = format!("http://{}", binary.address);
    let stuck = file("forbidden.pmx", STUCK);
    // Whoever shows nothing, or what nobody knows, is told with the flags of the command.
    let wrong = file("wrong", "tokentokentoken-for-none");
    for (rest, reason) in
        [("", "CREDENTIALS_MISSING"), (&*format!(" --token-file {wrong}"), "CREDENTIALS_INVALID")]
    {
        let (code, _, err) = run(&server, &format!("get c{rest}"));
        assert!(code == Some(1) && err.contains(reason) && err.contains("--token-file"), "{err}");
        assert!(!err.contains("authorization"), "{err}");
    }
    let line = format!("{} --token-file {token}", deploy("", &stuck));
    let (code, out, err) = run(&server, &line);
    assert_eq!((code, out.as_str()), (Some(4), ""), "{err}");
    assert!(
        err.starts_with("warning: ") && err.contains("watch") && err.contains("[CALLER_FORBIDDEN]"),
        "{err}"
    );
    assert!(err.contains("hint: the wait goes on, and shows nothing meanwhile\n"), "{err}");
    assert!(err.contains("hint: the wait has ended, and the operation goes on; see"), "{err}");
    let refused = binary.log().matches("CALLER_FORBIDDEN").count();
    assert!((2..=6).contains(&refused), "{refused} times\n{}", binary.log());
}

/// What a Teardown leaves is told however long it took.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_teardown_tells_what_has_gone_and_what_stays() {
    let namespace = namespace("edge-long-teardown").await;
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let flags = ["--max-deadline", "3s", "--namespace", &*namespace];
    let binary = Binary::start(&kubeconfig, &flags);
    let server = format!("http://{}", binary.address);
    let template = file("kept.pmx", STUCK);
    let line = format!("deploy --profile modern --wait none {template}");
    let (code, _, err) = run(&server, &line);
    assert_eq!(code, Some(0), "{err}");
    let deployments = namespace.api::<Deployment>();
    let hold = |held: serde_json::Value| Patch::Merge(serde_json::json!({"metadata": {"finalizers": held}}));
    let held = hold(serde_json::json!(["example.com/hold"]));
    deployments.patch("a", &PatchParams::default(), &held).await.expect("held");
    let call = command(&server, "teardown c -o json --wait-timeout 60s").stdout(Stdio::piped()).spawn();
    let child = call.expect("the binary starts");
    tokio::time::sleep(Duration::from_secs(5)).await;
    deployments.patch("a", &PatchParams::default(), &hold(Value::Null)).await.expect("let go");
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic");
    let (code, out, err) = told(ended.expect("it ends"));
    assert_eq!(code, Some(0), "{out}\n{err}{}", namespace.dump());
    let answer: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}"));
    assert_eq!(answer["complete"], true, "{out}");
    assert_eq!(answer["retained"][0]["kind"], "PersistentVolumeClaim", "{out}");
    let gone = answer["changes"].as_array().into_iter().flatten().map(|change| &change["ref"]["kind"]);
    assert_eq!(gone.collect::<Vec<_>>(), ["Deployment"], "{out}");
}
