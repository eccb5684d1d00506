//! How the learning rate changes over a run.

mod decay;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use decay::{Decay, Shape};

/// Epochs of linear warm-up in [`Schedule::Paper`]; the first of them runs at 0.
const WARM_UP_EPOCHS: usize = 5;

/// A learning-rate schedule. Written `paper`, `paper=100`, `constant`, `warmup=200`, or as a [`Decay`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Schedule {
    /// The benchmark's schedule, constant within an epoch. Of E epochs, the first five run at 0, ¼, ½, ¾ and 1 times
    /// the base rate, the others at 1 − k/(E − 4) for k = 1, 2, …, E − 5: `concat(linspace(0, lr, 5),
    /// linspace(lr, 0, E - 3)[1:-1])`. With E ≤ 5 these are the first E warm-up epochs, so a run of one epoch does not
    /// move the weights at all.
    Paper {
        /// E, when it is not the run's own number of epochs: `Some(100)` gives the first epochs of the 100-epoch run.
        total: Option<usize>,
    },
    /// The base rate at every step.
    Constant,
    /// Grows linearly over the first N ≥ 1 steps, lr·min(1, t/N) at step t = 1, 2, …, then stays.
    Warmup(usize),
    /// Decays to 0 step by step.
    Decay(Decay),
}

/// Why a text or a length does not fit a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The text names no schedule.
    #[error(
        "learning-rate schedule: expected paper, paper=EPOCHS, constant, warmup=STEPS, cosine or linear (also cosine=EPOCHS, cosine,warmup=STEPS and both), found \"{found}\""
    )]
    Unknown {
        /// The text.
        found: String,
    },
    /// The number after `paper=`, `cosine=`, `linear=` or `warmup=` is not a whole number of at least 1.
    #[error(
        "learning-rate schedule: expected a whole number of at least 1 after {name}=, found \"{found}\""
    )]
    Number {
        /// What stands before the equals sign.
        name: &'static str,
        /// The text after the equals sign.
        found: String,
    },
    /// Fewer epochs than the run has: the rate would be 0 from there on.
    #[error(
        "learning-rate schedule: {name}={total} ends before the run's {epochs} epochs; give {name}={epochs}, a larger number, or just {name}"
    )]
    TooShort {
        /// `paper`, `cosine` or `linear`.
        name: &'static str,
        /// Epochs of the schedule.
        total: usize,
        /// Epochs of the run.
        epochs: usize,
    },
    /// A warm-up that leaves no step for the decay.
    #[error(
        "learning-rate schedule: a warm-up of {warmup} steps leaves none for the decay, as the schedule has {steps}; give a smaller warmup or more epochs"
    )]
    NoDecay {
        /// Steps of the warm-up.
        warmup: usize,
        /// Steps of the schedule.
        steps: usize,
    },
}

impl Schedule {
    /// The benchmark's schedule over the run's own number of epochs.
    pub const PAPER: Self = Self::Paper { total: None };

    /// The learning rate of one step.
    ///
    /// `step` counts from 0 over the whole run, `steps_per_epoch` must not be 0, `epochs` is the length of the run and
    /// `base` the peak rate. Past the end of a schedule that decays the rate is 0.
    pub fn lr_at(self, step: usize, steps_per_epoch: usize, epochs: usize, base: f64) -> f64 {
        match self {
            Self::Paper { total } => {
                let epoch = step / steps_per_epoch.max(1);
                base * paper_factor(epoch, total.unwrap_or(epochs))
            }
            Self::Constant => base,
            Self::Warmup(steps) => base * ((step + 1) as f64 / steps.max(1) as f64).min(1.0),
            Self::Decay(decay) => {
                base * decay.factor(step, decay.total.unwrap_or(epochs) * steps_per_epoch)
            }
        }
    }

    /// Checks that the schedule covers a run of `epochs` epochs of so many steps.
    ///
    /// # Errors
    /// [`ScheduleError::TooShort`], [`ScheduleError::NoDecay`].
    pub fn covers(self, epochs: usize, steps_per_epoch: usize) -> Result<(), ScheduleError> {
        let (name, total, warmup) = match self {
            Self::Paper { total } => ("paper", total, 0),
            Self::Decay(decay) => (decay.shape.name(), decay.total, decay.warmup),
            Self::Constant | Self::Warmup(_) => return Ok(()),
        };
        let total = total.unwrap_or(epochs);
        if total < epochs {
            return Err(ScheduleError::TooShort {
                name,
                total,
                epochs,
            });
        }
        let steps = total.saturating_mul(steps_per_epoch);
        if warmup >= steps {
            return Err(ScheduleError::NoDecay { warmup, steps });
        }
        Ok(())
    }
}

/// The share of the base rate in an epoch (from 0) of a schedule of `total` epochs.
fn paper_factor(epoch: usize, total: usize) -> f64 {
    if epoch >= total {
        0.0
    } else if epoch < WARM_UP_EPOCHS {
        epoch as f64 / (WARM_UP_EPOCHS - 1) as f64
    } else {
        // linspace(1, 0, total - 3) has total - 4 equal steps; its ends are left out.
        1.0 - (epoch + 1 - WARM_UP_EPOCHS) as f64 / (total + 1 - WARM_UP_EPOCHS) as f64
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paper { total: None } => f.write_str("paper"),
            Self::Paper { total: Some(total) } => write!(f, "paper={total}"),
            Self::Constant => f.write_str("constant"),
            Self::Warmup(steps) => write!(f, "warmup={steps}"),
            Self::Decay(decay) => decay.fmt(f),
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        if let Some(decay) = Decay::read(text)? {
            return Ok(Self::Decay(decay));
        }
        match text.split_once('=') {
            None if text == "paper" => Ok(Self::PAPER),
            None if text == "constant" => Ok(Self::Constant),
            Some(("paper", number)) => Ok(Self::Paper {
                total: Some(at_least_one("paper", number)?),
            }),
            Some(("warmup", number)) => Ok(Self::Warmup(at_least_one("warmup", number)?)),
            _ => Err(ScheduleError::Unknown { found: text.into() }),
        }
    }
}

fn at_least_one(name: &'static str, text: &str) -> Result<usize, ScheduleError> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err(ScheduleError::Number {
            name,
            found: text.into(),
        }),
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_epoch(schedule: Schedule, epochs: usize) -> Vec<f64> {
        (0..epochs)
            .map(|epoch| schedule.lr_at(epoch * 60 + 59, 60, epochs, 1.0))
            .collect()
    }

    #[test]
    fn a_hundred_epochs_follow_the_published_values() {
        let rates = per_epoch(Schedule::PAPER, 100);
        assert_eq!(&rates[..5], &[0.0, 0.25, 0.5, 0.75, 1.0]);
        for k in 1..=95 {
            assert!((rates[4 + k] - (1.0 - k as f64 / 96.0)).abs() < 1e-15);
        }
        assert!((rates[5] - 95.0 / 96.0).abs() < 1e-15 && (rates[99] - 1.0 / 96.0).abs() < 1e-15);
    }

    #[test]
    fn the_rate_is_constant_within_an_epoch() {
        let rate = |step| Schedule::PAPER.lr_at(step, 60, 100, 0.01);
        assert_eq!((rate(59), rate(60), rate(119)), (0.0, 0.0025, 0.0025));
    }

    #[test]
    fn shorter_runs_keep_the_form() {
        assert_eq!(per_epoch(Schedule::PAPER, 1), [0.0]);
        assert_eq!(per_epoch(Schedule::PAPER, 3), [0.0, 0.25, 0.5]);
        assert_eq!(per_epoch(Schedule::PAPER, 5), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(
            per_epoch(Schedule::PAPER, 6),
            [0.0, 0.25, 0.5, 0.75, 1.0, 0.5]
        );
        let eight = per_epoch(Schedule::PAPER, 8);
        assert!(
            eight[5..]
                .iter()
                .zip([0.75, 0.5, 0.25])
                .all(|(rate, want)| (rate - want).abs() < 1e-15)
        );
    }

    #[test]
    fn an_explicit_horizon_gives_the_start_of_the_long_run() {
        let start = per_epoch(Schedule::Paper { total: Some(100) }, 10);
        assert_eq!(start, per_epoch(Schedule::PAPER, 100)[..10]);
    }

    #[test]
    fn a_horizon_shorter_than_the_run_is_refused_and_gives_zero() {
        let short = Schedule::Paper { total: Some(10) };
        assert_eq!(
            short.covers(11, 60),
            Err(ScheduleError::TooShort {
                name: "paper",
                total: 10,
                epochs: 11
            })
        );
        assert_eq!(short.covers(10, 60), Ok(()));
        assert_eq!(short.lr_at(10 * 60, 60, 11, 1.0), 0.0);
    }

    #[test]
    fn a_warm_up_that_leaves_no_step_for_the_decay_is_refused() {
        let schedule: Schedule = "cosine,warmup=120".parse().unwrap();
        assert_eq!(schedule.covers(3, 60), Ok(()));
        let (warmup, steps) = (120, 120);
        let refused = Err(ScheduleError::NoDecay { warmup, steps });
        assert_eq!(schedule.covers(2, 60), refused);
        let long: Schedule = "linear=2".parse().unwrap();
        assert!(matches!(
            long.covers(3, 60),
            Err(ScheduleError::TooShort { name: "linear", .. })
        ));
    }

    #[test]
    fn warm_up_grows_to_the_base_rate_and_stays() {
        let rate = |step| Schedule::Warmup(4).lr_at(step, 60, 2, 2.0);
        assert_eq!(
            [rate(0), rate(1), rate(3), rate(4), rate(100)],
            [0.5, 1.0, 2.0, 2.0, 2.0]
        );
        assert_eq!(Schedule::Constant.lr_at(0, 60, 2, 2.0), 2.0);
    }

    #[test]
    fn text_and_json_read_back_as_the_same_schedule() {
        for text in [
            "paper",
            "paper=100",
            "constant",
            "warmup=200",
            "cosine",
            "linear=100",
            "cosine,warmup=20",
            "linear=7,warmup=20",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
    }

    #[test]
    fn wrong_text_is_answered_with_what_is_expected() {
        for text in [
            "sine",
            "constant=1",
            "cosine,warm=3",
            "cosine,",
            "paper,warmup=2",
        ] {
            let found = text.parse::<Schedule>();
            assert!(
                matches!(found, Err(ScheduleError::Unknown { .. })),
                "{text}"
            );
        }
        for text in [
            "warmup=0",
            "warmup=",
            "paper=-1",
            "paper=1.5",
            "cosine=0",
            "linear=2,warmup=0",
        ] {
            assert!(
                matches!(text.parse::<Schedule>(), Err(ScheduleError::Number { .. })),
                "{text}"
            );
        }
    }
}
