//! Commands whose answer is lost: whether something goes on follows from whether anything was to be changed.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

/// Hears the beginning of each connection and hangs up, until the process ends.
fn hang_up(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut heard = [0; 1024];
        // Whatever was said, nobody answers it.
        let _ = stream.and_then(|mut stream| stream.read(&mut heard));
    }
}

/// What a command says whose answer is lost.
fn told(address: SocketAddr, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    command.args(line.split(' ')).args(["--server", &format!("http://{address}")]);
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(3), "{line}: {told}");
    assert!(told.contains(&format!("{address}")), "{line}: {told}");
    told
}

#[test]
fn what_changes_nothing_does_not_go_on() {
    const TEMPLATE: &str = "examples/wordpress.pmx";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let changing = [format!("deploy --wait none {TEMPLATE}"), "scale shop web=1 --wait none".to_owned()];
    let changing =
        [&changing[..], &["rollback shop --wait none".into(), "teardown shop --wait none".into()]].concat();
    let checking =
        changing.iter().map(|line| format!("{} --validate-only", line.replace(" --wait none", "")));
    let checking: Vec<String> = checking.collect();
    let looking = [
        format!("plan {TEMPLATE}"),
        "get shop".into(),
        "list".into(),
        "revisions shop".into(),
        "watch shop".into(),
    ];
    std::thread::spawn(move || hang_up(&listener));
    for line in &changing {
        let told = told(address, line);
        assert!(told.contains("hint: the operation may go on; see"), "{line}: {told}");
    }
    for line in &checking {
        let told = told(address, line);
        assert!(told.contains("hint: it was only to be checked, so nothing is changed"), "{line}: {told}");
        assert!(!told.contains("go on"), "{line}: {told}");
    }
    for line in &looking {
        assert!(!told(address, line).contains("go on"), "{line}");
    }
}
