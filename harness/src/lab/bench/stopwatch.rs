//! Times of work on a device, by the host's clock around batches of launches and one wait for the last: long enough that
//! launching and waiting do not show. `CubeCL` 0.10 has no other clock for CUDA, so it is the same everywhere.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sonew_optimizers::{Arena, Context};

use super::BenchError;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// What a batch takes at least.
    pub batch: Duration,
    /// Batches.
    pub batches: usize,
}

impl Effort {
    /// A look.
    pub const QUICK: Self = Self {
        batch: Duration::from_millis(40),
        batches: 5,
    };
    /// For a report.
    pub const FULL: Self = Self {
        batch: Duration::from_millis(200),
        batches: 11,
    };
}

/// Seconds that one launch took, over the batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The middle one.
    pub median: f64,
    /// The shortest.
    pub least: f64,
    /// The longest.
    pub most: f64,
}

impl Seconds {
    /// Of batches, at least one.
    pub fn of(mut batches: Vec<f64>) -> Self {
        batches.sort_by(f64::total_cmp);
        Self {
            median: batches[batches.len() / 2],
            least: batches[0],
            most: batches[batches.len() - 1],
        }
    }
}

/// Something that is timed, on a device.
pub struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) outputs: Vec<Arena>,
    launch: Box<dyn FnMut() -> Result<(), BenchError> + 'a>,
}

impl<'a> Work<'a> {
    /// Work that `launch` gives to the device.
    pub fn new(context: &'a Context, launch: impl FnMut() -> Result<(), BenchError> + 'a) -> Self {
        Self {
            context,
            outputs: Vec::new(),
            launch: Box::new(launch),
        }
    }

    /// The same work, of which it is known what it writes.
    pub(super) fn writing(self, outputs: Vec<Arena>) -> Self {
        Self { outputs, ..self }
    }

    /// Launches so often, waits for the last, and returns how long all that took.
    ///
    /// # Errors
    /// As the launch, and its failures.
    pub fn run(&mut self, launches: u64) -> Result<Duration, BenchError> {
        let started = Instant::now();
        for _ in 0..launches {
            (self.launch)()?;
        }
        self.context.wait("bench")?;
        Ok(started.elapsed())
    }
}

/// Work in batches.
pub struct Stopwatch<'a> {
    work: Work<'a>,
    launches: u64,
    seconds: Vec<f64>,
}

impl<'a> Stopwatch<'a> {
    /// Runs the work until a batch of it takes as long as asked for. What has to be compiled is compiled then.
    ///
    /// # Errors
    /// As [`Work::run`].
    pub fn new(mut work: Work<'a>, effort: Effort) -> Result<Self, BenchError> {
        let wanted = effort.batch.as_secs_f64();
        let mut launches = 1;
        work.run(launches)?;
        loop {
            let batch = work.run(launches)?.as_secs_f64();
            if batch >= wanted {
                return Ok(Self {
                    work,
                    launches,
                    seconds: Vec::new(),
                });
            }
            let more = (1.2 * wanted / batch.max(1e-9)).clamp(2.0, 100.0);
            launches = (launches as f64 * more) as u64;
        }
    }

    /// Runs a batch and keeps its time.
    ///
    /// # Errors
    /// As [`Stopwatch::new`].
    pub fn measure(&mut self) -> Result<(), BenchError> {
        let batch = self.work.run(self.launches)?;
        self.seconds
            .push(batch.as_secs_f64() / self.launches as f64);
        Ok(())
    }

    /// What was measured; at least one batch.
    pub fn seconds(self) -> Seconds {
        Seconds::of(self.seconds)
    }

    /// Measures as many batches as `effort` has.
    ///
    /// # Errors
    /// As [`Stopwatch::new`].
    pub fn run(mut self, effort: Effort) -> Result<Seconds, BenchError> {
        for _ in 0..effort.batches {
            self.measure()?;
        }
        Ok(self.seconds())
    }
}
