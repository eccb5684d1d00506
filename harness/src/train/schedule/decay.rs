//! Schedules that decay step by step to 0.

use std::f64::consts::PI;
use std::fmt;

use super::{ScheduleError, at_least_one};

/// A rate that decays to 0, after a warm-up if there is one. Written `cosine`, `linear=100` or `cosine=100,warmup=200`.
///
/// At step t = 0, 1, … of T, with a warm-up of N steps, it is t/N of the base rate for t < N, then ½(1 + cos πx) of it or 1 − x, with
/// x = (t − N) / (T − N): `optax.warmup_cosine_decay_schedule` from 0 to 0; without a warm-up PyTorch's `CosineAnnealingLR` and
/// `LinearLR` to 0. T is that of whole epochs, so a run that is stopped before has the rates of the long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decay {
    /// How it falls.
    pub shape: Shape,
    /// Epochs of the schedule, when they are not the run's own number.
    pub total: Option<usize>,
    /// N; 0 without a warm-up.
    pub warmup: usize,
}

/// How a rate falls to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As half a period of a cosine.
    Cosine,
    /// Along a line.
    Linear,
}

impl Shape {
    const ALL: [Self; 2] = [Self::Cosine, Self::Linear];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
        }
    }
}

impl Decay {
    /// The share of the base rate at a step of `steps`.
    pub(super) fn factor(self, step: usize, steps: usize) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup as f64;
        }
        if step >= steps {
            return 0.0;
        }
        let x = (step - self.warmup) as f64 / (steps - self.warmup) as f64;
        match self.shape {
            Shape::Cosine => 0.5 * (1.0 + (PI * x).cos()),
            Shape::Linear => 1.0 - x,
        }
    }

    /// Reads a schedule that begins with the name of a shape; `None` if it begins with another word.
    pub(super) fn read(text: &str) -> Result<Option<Self>, ScheduleError> {
        let (first, rest) = match text.split_once(',') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        let (name, total) = match first.split_once('=') {
            Some((name, total)) => (name, Some(total)),
            None => (first, None),
        };
        let Some(shape) = Shape::ALL.into_iter().find(|it| it.name() == name) else {
            return Ok(None);
        };
        let total = total.map(|it| at_least_one(shape.name(), it)).transpose()?;
        let warmup = match rest {
            None => 0,
            Some(rest) => {
                let unknown = || ScheduleError::Unknown { found: text.into() };
                let number = rest.strip_prefix("warmup=").ok_or_else(unknown)?;
                at_least_one("warmup", number)?
            }
        };
        Ok(Some(Self {
            shape,
            total,
            warmup,
        }))
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape.name())?;
        if let Some(total) = self.total {
            write!(f, "={total}")?;
        }
        if self.warmup > 0 {
            write!(f, ",warmup={}", self.warmup)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Schedule;
    use super::*;

    fn rates(text: &str, steps_per_epoch: usize, epochs: usize) -> Vec<f64> {
        let schedule: Schedule = text.parse().unwrap();
        (0..steps_per_epoch * epochs + 2)
            .map(|step| schedule.lr_at(step, steps_per_epoch, epochs, 0.5))
            .collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-12, "{found:?}, {expected:?}");
        }
    }

    #[test]
    fn a_cosine_is_that_of_pytorch() {
        // CosineAnnealingLR(optimizer, T_max=8), the rates of SGD(lr=0.5) at the steps, by its recursion:
        // η_{t+1} = η_t (1 + cos π(t+1)/T) / (1 + cos πt/T).
        let mut expected = vec![0.5];
        for t in 1..8 {
            let ratio = (1.0 + (PI * f64::from(t) / 8.0).cos())
                / (1.0 + (PI * f64::from(t - 1) / 8.0).cos());
            expected.push(expected[expected.len() - 1] * ratio);
        }
        expected.extend([0.0; 2]);
        assert_close(&rates("cosine", 4, 2), &expected[..10]);
    }

    #[test]
    fn a_cosine_with_warm_up_is_that_of_optax() {
        // optax.warmup_cosine_decay_schedule(0.0, 0.5, 4, 12, 0.0): linear from 0 to the peak, then
        // peak · cosine_decay, (1 + cos π min(t, d)/d) / 2 with d = decay_steps − warmup_steps.
        let expected: Vec<f64> = (0..14)
            .map(|count: i32| {
                if count < 4 {
                    0.5 * f64::from(count) / 4.0
                } else {
                    let decayed = f64::from((count - 4).min(8)) / 8.0;
                    0.5 * 0.5 * (1.0 + (PI * decayed).cos())
                }
            })
            .collect();
        assert_close(&rates("cosine,warmup=4", 6, 2), &expected);
    }

    #[test]
    fn a_line_falls_by_the_same_in_each_step() {
        assert_close(&rates("linear", 4, 1), &[0.5, 0.375, 0.25, 0.125, 0.0, 0.0]);
        assert_close(
            &rates("linear,warmup=2", 3, 2),
            &[0.0, 0.25, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0],
        );
    }

    #[test]
    fn a_number_of_epochs_gives_the_start_of_the_long_run() {
        let long = rates("cosine,warmup=3", 5, 10);
        assert_close(&rates("cosine=10,warmup=3", 5, 2), &long[..12]);
    }
}
