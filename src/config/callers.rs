//! The settings that are about callers: who they are, what they may do, and how much at once.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Who callers are and what they may do.
#[derive(Args, Clone, Debug)]
pub struct CallerSettings {
    /// How callers are known: not at all, by the tokens of a file, by tokens that the API server reviews, or by the
    /// certificates that --tls-client-ca demands
    #[arg(long, env = "PANAMAX_AUTH", default_value = "none", value_name = "HOW")]
    pub auth: Authentication,

    /// File of tokens for --auth tokens: a name, a token and its groups a line; read again when it changes
    #[arg(long, env = "PANAMAX_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// Audiences for --auth token-review, separated by commas: a token must be meant for one of them
    #[arg(long, env = "PANAMAX_TOKEN_AUDIENCE", value_delimiter = ',', value_name = "NAMES")]
    pub token_audience: Vec<String>,

    /// Who says what callers may do: nobody, so that they may do everything; a file; or the authorizers of the cluster,
    /// so that they may do what they could do with kubectl
    #[arg(long, env = "PANAMAX_AUTHORIZE", default_value = "none", value_name = "HOW")]
    pub authorize: Authorization,

    /// File of rights for --authorize file: who, what and where a line; read again when it changes
    #[arg(long, env = "PANAMAX_RIGHTS_FILE", value_name = "FILE")]
    pub rights_file: Option<PathBuf>,

    /// Most calls of one known caller at once that change something, --max-calls at the most; one more is refused and may
    /// be repeated
    #[arg(long, env = "PANAMAX_MAX_CALLS_PER_CALLER", default_value = "8", value_parser = super::number, value_name = "NUMBER")]
    pub max_calls_per_caller: usize,

    /// Most calls of one known caller at once that only look, --max-calls at the most; one more is refused and may be
    /// repeated
    #[arg(long, env = "PANAMAX_MAX_READS_PER_CALLER", default_value = "128", value_parser = super::number, value_name = "NUMBER")]
    pub max_reads_per_caller: usize,

    /// Most watches of one known caller at once, --max-watches at the most; one more is refused and may be repeated
    #[arg(long, env = "PANAMAX_MAX_WATCHES_PER_CALLER", default_value = "1000", value_parser = super::number, value_name = "NUMBER")]
    pub max_watches_per_caller: usize,
}

impl CallerSettings {
    /// Whether nobody is served who is not known.
    pub fn is_authenticated(&self) -> bool {
        self.auth != Authentication::None
    }
}

/// How callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By the tokens of a file.
    Tokens,
    /// By tokens that the API server reviews.
    TokenReview,
    /// By certificates.
    Mtls,
}

/// Who says what callers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Authorization {
    /// Nobody.
    None,
    /// A file.
    File,
    /// The authorizers of the cluster.
    SubjectAccessReview,
}
