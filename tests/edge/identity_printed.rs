//! The files that docs/identity.md shows start a server as they stand, and allow what the page says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use panamax_kubernetes_adapter::proto;

use crate::support::adapter::{Binary, connect, reason, teardown};
use crate::support::bearer::with_token;
use crate::support::document::blocks;

/// The token whose SHA-256 stands in the page.
const OF_THE_BOT: &str = "test";

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_page_are_taken_as_they_stand() {
    let document = fs::read_to_string("docs/identity.md").expect("the document");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("printed-files-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let [tokens, rights] = ["# name ", "# who "].map(|begin| {
        let blocks = blocks(&document, "text");
        let text = blocks.iter().find(|block| block.starts_with(begin)).expect("a file");
        let path = folder.join(begin.trim_matches(['#', ' ']));
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
        path.to_str().expect("a path").to_owned()
    });
    let binary = Binary::start_with(&[
        "--sandbox",
        "--auth",
        "tokens",
        "--tokens-file",
        &tokens,
        "--authorize",
        "file",
        "--rights-file",
        &rights,
    ]);
    let channel = connect(binary.address).await;
    let mut alice = with_token(channel.clone(), "a-long-random-token-of-alice");
    let mut bot = with_token(channel, OF_THE_BOT);
    let get = |namespace: &str| proto::GetDeploymentRequest {
        namespace: namespace.to_owned(),
        name: "no".to_owned(),
        view: 0,
    };
    // Who may look is told that there is nothing; who may not is told that alone.
    let (allowed, forbidden) = ("DEPLOYMENT_NOT_FOUND", "CALLER_FORBIDDEN");
    for namespace in ["shop", "shop-test", "elsewhere"] {
        let refused = alice.get_deployment(get(namespace)).await.expect_err("there is none");
        assert_eq!(reason(&refused), allowed, "{namespace}: her group may do everything");
    }
    for (namespace, wanted) in [("public", allowed), ("shop", forbidden), ("ci", forbidden)] {
        let refused = bot.get_deployment(get(namespace)).await.expect_err("there is none");
        assert_eq!(reason(&refused), wanted, "{namespace}");
    }
    let refused = bot.teardown(teardown("public", "no")).await.expect_err("it may only look");
    assert_eq!(reason(&refused), forbidden);
    fs::remove_dir_all(&folder).expect("the folder goes");
}
