//! How a run stands.

use serde::{Deserialize, Serialize};

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum RunStatus {
    /// Still going, or killed without being able to say so. Written `running`.
    Running,
    /// Came to its end. Written `finished`.
    Finished,
    /// Stopped by Ctrl-C or another signal. Written `interrupted`.
    Interrupted,
    /// Its loss is NaN or infinite, or no step moves the weights any more. Written `diverged: ` and the reason.
    Diverged(String),
    /// Stopped by an error. Written `failed: ` and the reason.
    Failed(String),
}

impl From<RunStatus> for String {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => "running".into(),
            RunStatus::Finished => "finished".into(),
            RunStatus::Interrupted => "interrupted".into(),
            RunStatus::Diverged(reason) => format!("diverged: {reason}"),
            RunStatus::Failed(reason) => format!("failed: {reason}"),
        }
    }
}

impl From<String> for RunStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "running" => Self::Running,
            "finished" => Self::Finished,
            "interrupted" => Self::Interrupted,
            other => match other.strip_prefix("diverged: ") {
                Some(reason) => Self::Diverged(reason.into()),
                None => Self::Failed(other.strip_prefix("failed: ").unwrap_or(other).into()),
            },
        }
    }
}
