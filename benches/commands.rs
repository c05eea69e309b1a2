//! What a command of the binary costs from its start to its end: time, and memory at its peak.
//!
//! `cargo bench --bench commands`: the target for `translate` of a template of two images is 15 ms and 15 MB.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_panamax-kubernetes-adapter");
const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/wordpress.pmx");
/// How often a command runs.
const RUNS: usize = 100;
/// What a pipe holds; one more byte waits.
const PIPE: usize = 64 * 1024;
/// How long a command may take to come to its output.
const PATIENCE: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    for arguments in [["translate", TEMPLATE], ["validate", TEMPLATE]] {
        let mut times = (0..RUNS).map(|_| time(&arguments)).collect::<Result<Vec<_>>>()?;
        times.sort();
        let at =
            |part: usize| times.get(RUNS * part / 100).copied().unwrap_or_default().as_secs_f64() * 1_000.0;
        let (median, late, peak) = (at(50), at(95), peak(&arguments)?);
        println!(
            "{:<10} median {median:.1} ms, 95 % {late:.1} ms, peak {:.1} MB",
            arguments[0],
            peak as f64 / 1e6
        );
    }
    Ok(())
}

/// How long a command takes, from before it is started until after its end.
fn time(arguments: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    if output.status.success() { Ok(took) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// The most memory that a command had in use, in bytes. Its output goes to a pipe that is full, so it waits with all of
/// its work done while it is looked at.
fn peak(arguments: &[&str]) -> Result<u64> {
    let (mut reader, mut writer) = std::io::pipe()?;
    writer.write_all(&[b' '; PIPE])?;
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdout(writer)
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()?;
    let until = Instant::now() + PATIENCE;
    let path = format!("/proc/{}/status", child.id());
    let mut before = String::new();
    // Twice asleep with the same figures: all that it can wait for is the pipe.
    let status = loop {
        let status = fs::read_to_string(&path)?;
        if status == before && status.contains("State:\tS") {
            break status;
        }
        if Instant::now() > until {
            return Err("the command never came to its output".into());
        }
        before = status;
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kilobytes: u64 = line.split_whitespace().next().ok_or("no number")?.parse()?;
    reader.read_exact(&mut [0; PIPE])?;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    child.wait()?;
    Ok(kilobytes * 1024)
}
