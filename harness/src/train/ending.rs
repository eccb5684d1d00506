//! How a run, or a comparison of runs, ended.

use super::TrainError;
use super::record::RunStatus;

/// How a run, or a comparison of runs, ended.
#[derive(Debug)]
pub struct Ending {
    /// What its record says.
    pub status: RunStatus,
    /// What went wrong, if anything did: the first error, not one that follows from it.
    pub error: Option<TrainError>,
}

impl Ending {
    /// Of a run that was not stopped by an error.
    pub fn without_error(interrupted: bool) -> Self {
        let status = if interrupted {
            RunStatus::Interrupted
        } else {
            RunStatus::Finished
        };
        Self {
            status,
            error: None,
        }
    }

    /// Of a run that an error stopped.
    pub fn by(error: TrainError) -> Self {
        let reason = error.to_string();
        let status = if error.is_divergence() {
            RunStatus::Diverged(reason)
        } else {
            RunStatus::Failed(reason)
        };
        Self {
            status,
            error: Some(error),
        }
    }

    /// Counts in what was done after the end. An error there does not hide an earlier one, and changes the status of a run
    /// that would have finished otherwise.
    pub fn and<E: Into<TrainError>>(&mut self, done: Result<(), E>) {
        let Err(error) = done.map_err(Into::into) else {
            return;
        };
        if self.status == RunStatus::Finished {
            *self = Self::by(error);
        } else {
            self.error.get_or_insert(error);
        }
    }

    /// As part of a comparison, whose error says which run it is of.
    pub fn of_run(self, label: &str) -> Self {
        let error = self.error.map(|source| TrainError::OfRun {
            label: label.into(),
            source: Box::new(source),
        });
        Self { error, ..self }
    }

    /// What a table says about it; nothing about a run that finished.
    pub fn note(&self) -> String {
        match &self.status {
            RunStatus::Finished => String::new(),
            status => status.clone().into(),
        }
    }
}
