//! Templates of the shapes that people write, each through its whole life on the real control plane, by each profile.

use std::path::{Path, PathBuf};

use crate::conformance::report::{Row, report, summary, table, templates};
use crate::conformance::walk::Site;
use crate::support::adapter::Adapter;
use crate::support::control_plane::{User, control_plane};

/// Templates under way at once.
const AT_ONCE: usize = 8;

/// A folder of real templates; they carry no licence, so they lie beside the project, if at all.
fn collection() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/templates");
    let folder = std::env::var_os("TEMPLATES").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[tokio::test]
async fn every_template_lives_its_whole_life() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let client = control_plane().client(User::Harness).await;
    let site = Site { channel: adapter.channel(), client: Some(client) };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut paths = templates(&own).expect("our own templates");
    match collection() {
        Some(folder) => paths.extend(templates(&folder).expect("a collection of templates")),
        None => eprintln!("templates: there is no collection beside the project, so only our own were tried"),
    }
    let rows = report(&site, &paths, "conformance", AT_ONCE, |_| {}).await;
    eprintln!("{}\n{}", table(&rows), summary(&rows));
    assert!(rows.len() == 2 * paths.len() && rows.iter().all(Row::is_right), "{}", summary(&rows));
}
