//! The state of a whole deployment, as records and callers know it.

use serde::{Deserialize, Serialize};

/// The state of a whole deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum DeploymentState {
    /// Something is being written or getting ready, and nothing prevents it.
    #[default]
    Deploying,
    /// Every component is ready.
    Active,
    /// Something fails or is missing, but every failing component still has a ready replica.
    Degraded,
    /// A component fails and has no ready replica.
    Failed,
    /// Every component is scaled to zero.
    Stopped,
    /// It is being torn down.
    Deleting,
}

impl DeploymentState {
    /// Every state.
    const ALL: [DeploymentState; 6] = [
        DeploymentState::Deploying,
        DeploymentState::Active,
        DeploymentState::Degraded,
        DeploymentState::Failed,
        DeploymentState::Stopped,
        DeploymentState::Deleting,
    ];

    /// Whether every component is as many as asked for, zero included.
    pub fn is_ready(self) -> bool {
        matches!(self, DeploymentState::Active | DeploymentState::Stopped)
    }

    /// The state as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeploymentState::Deploying => "DEPLOYING",
            DeploymentState::Active => "ACTIVE",
            DeploymentState::Degraded => "DEGRADED",
            DeploymentState::Failed => "FAILED",
            DeploymentState::Stopped => "STOPPED",
            DeploymentState::Deleting => "DELETING",
        }
    }
}

impl From<String> for DeploymentState {
    /// Reads a recorded state; a deployment that was never looked at has none, and is Deploying.
    fn from(text: String) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or_default()
    }
}

impl From<DeploymentState> for &'static str {
    fn from(state: DeploymentState) -> Self {
        state.as_str()
    }
}
