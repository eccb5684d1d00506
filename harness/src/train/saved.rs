//! The last weights of a run, in a file that another run can start from and that can be evaluated.

use super::{Ending, Run, TrainError, init};
use crate::train::record::RunStatus;

impl Run<'_> {
    /// Writes the weights after the last step taken to the file that the plan names, if it names one, or their averages where those
    /// are kept: what was evaluated. A run that was interrupted has weights like one that finished; one that diverged or failed has none, and
    /// a file that was there stays.
    pub(super) fn save(&self, ending: &Ending) -> Result<(), TrainError> {
        let ended = matches!(ending.status, RunStatus::Finished | RunStatus::Interrupted);
        let Some(path) = self.plan.save.as_ref().filter(|_| ended) else {
            return Ok(());
        };
        let averages = self.optimizer.averages()?;
        let weights = averages.as_ref().unwrap_or(&self.params);
        let values = weights.tensors(&self.context)?;
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        Ok(init::save(path, self.workload.tensors(), &values)?)
    }
}
