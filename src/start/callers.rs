//! From the settings about callers to what is known of them; what contradicts itself is refused.

use super::{Refusal, refusal};
use crate::callers::{self, Bounds, Callers};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Authentication, Authorization, CallerSettings, Config};

/// Refuses settings that contradict each other, before anything is read or opened.
pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    let settings = &config.callers;
    let wrong = |sentence: &str| Err(refusal(78, sentence));
    match (settings.auth, &settings.tokens_file) {
        (Authentication::Tokens, None) => {
            return wrong("--auth tokens needs a file of tokens; name it with --tokens-file");
        }
        (Authentication::Tokens, Some(_)) | (_, None) => {}
        (_, Some(_)) => return wrong("--tokens-file is for --auth tokens, which is not asked for"),
    }
    let has_audience = settings.token_audience.iter().any(|name| !name.is_empty());
    if settings.token_audience.iter().any(String::is_empty) {
        return wrong("--token-audience has an audience without a name");
    }
    match (settings.auth, has_audience) {
        (Authentication::TokenReview, false) => {
            return wrong(
                "--auth token-review needs the audience that tokens must be meant for; name it with --token-audience",
            );
        }
        (Authentication::TokenReview, true) | (_, false) => {}
        (_, true) => return wrong("--token-audience is for --auth token-review, which is not asked for"),
    }
    if settings.auth == Authentication::Mtls && config.tls_client_ca.is_none() {
        return wrong(
            "--auth mtls needs the authority of callers' certificates; name it with --tls-client-ca",
        );
    }
    match (settings.authorize, &settings.rights_file) {
        (Authorization::File, None) => {
            return wrong("--authorize file needs a file of rights; name it with --rights-file");
        }
        (Authorization::File, Some(_)) | (_, None) => {}
        (_, Some(_)) => return wrong("--rights-file is for --authorize file, which is not asked for"),
    }
    if settings.authorize != Authorization::None && !settings.is_authenticated() {
        return wrong("--authorize needs callers that are known; say how with --auth");
    }
    let asks_cluster = settings.auth == Authentication::TokenReview
        || settings.authorize == Authorization::SubjectAccessReview;
    if config.sandbox && asks_cluster {
        return wrong("--sandbox knows no callers and no rights; use --auth tokens and --authorize file");
    }
    if settings.auth == Authentication::TokenReview && settings.authorize == Authorization::None {
        return wrong(
            "--auth token-review knows every account of the cluster, and without --authorize each could do all that \
             the adapter may; add --authorize subject-access-review or file",
        );
    }
    Ok(())
}

/// What is known of callers.
pub(super) fn callers(
    settings: &CallerSettings,
    cluster: &Cluster,
    clock: Clock,
) -> Result<Callers, Refusal> {
    let authentication = match (settings.auth, &settings.tokens_file) {
        (Authentication::Tokens, Some(path)) => callers::Authentication::Tokens(path.clone()),
        (Authentication::TokenReview, _) => {
            callers::Authentication::TokenReview(settings.token_audience.clone())
        }
        (Authentication::Mtls, _) => callers::Authentication::Certificates,
        (Authentication::None | Authentication::Tokens, _) => callers::Authentication::None,
    };
    let authorization = match (settings.authorize, &settings.rights_file) {
        (Authorization::File, Some(path)) => callers::Authorization::Rules(path.clone()),
        (Authorization::SubjectAccessReview, _) => callers::Authorization::AccessReview,
        (Authorization::None | Authorization::File, _) => callers::Authorization::None,
    };
    let bounds = Bounds {
        calls: settings.max_calls_per_caller,
        reads: settings.max_reads_per_caller,
        watches: settings.max_watches_per_caller,
    };
    Callers::new(authentication, authorization, bounds, cluster, clock).map_err(|why| refusal(78, why))
}
