//! How far a run has come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Steps that were taken, and the times of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps taken.
    pub steps: usize,
    /// Steps in a row, up to the last, without progress.
    pub idle: usize,
    /// Seconds of the epochs that are over, evaluations not counted.
    pub spent: f64,
    /// Seconds of the evaluations.
    pub evaluating: f64,
    /// Seconds of the optimizer's steps in the epochs that are over.
    pub optimizer: f64,
    /// Seconds of the epoch under way.
    pub of_epoch: f64,
    /// Where the time of the epoch under way went.
    pub split: Split,
    /// Seconds of the optimizer's steps by part, of all steps and of those before the epoch under way.
    pub parts: BTreeMap<String, f64>,
    /// The latter.
    pub parts_before: BTreeMap<String, f64>,
}

/// Seconds spent in the parts of an epoch's steps that were timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Split {
    network: f64,
    optimizer: f64,
    timed: usize,
}

impl Split {
    /// Counts a step that was timed.
    pub fn add(&mut self, network: Duration, optimizer: Duration) {
        self.network += network.as_secs_f64();
        self.optimizer += optimizer.as_secs_f64();
        self.timed += 1;
    }

    /// Seconds that so many steps take in the network and in the optimizer, by those that were timed.
    pub fn of_steps(&self, steps: usize) -> [f64; 2] {
        let each = steps as f64 / self.timed.max(1) as f64;
        [self.network, self.optimizer].map(|it| it * each)
    }
}
