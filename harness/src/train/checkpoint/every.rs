//! How often a checkpoint is written.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// After so many epochs, or steps. Written `2`, `2epochs` or `500steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Every {
    /// After the N-th, the 2 N-th, … epoch.
    Epochs(usize),
    /// After the N-th, the 2 N-th, … step.
    Steps(usize),
}

impl Every {
    /// Whether one is due after so many steps, `steps_per_epoch` an epoch.
    pub fn is_due(self, steps: usize, steps_per_epoch: usize) -> bool {
        match self {
            Self::Epochs(epochs) => steps.is_multiple_of(epochs.saturating_mul(steps_per_epoch)),
            Self::Steps(every) => steps.is_multiple_of(every),
        }
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "expected a number of epochs or steps ≥ 1, such as 2, 2epochs or 500steps, found {text}"
            )
        };
        let digits = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let number: usize = number.parse().map_err(|_| refused())?;
        match (number, unit.trim()) {
            (0, _) => Err(refused()),
            (_, "" | "epoch" | "epochs") => Ok(Self::Epochs(number)),
            (_, "step" | "steps") => Ok(Self::Steps(number)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs(number) => write!(f, "{number}epochs"),
            Self::Steps(number) => write!(f, "{number}steps"),
        }
    }
}

impl From<Every> for String {
    fn from(every: Every) -> Self {
        every.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_steps_are_read_and_come_due() {
        for (text, every) in [
            ("2", Every::Epochs(2)),
            ("2epochs", Every::Epochs(2)),
            ("1epoch", Every::Epochs(1)),
            ("500steps", Every::Steps(500)),
            ("1 step", Every::Steps(1)),
        ] {
            assert_eq!(text.parse(), Ok(every), "{text}");
            assert_eq!(every.to_string().parse(), Ok(every));
        }
        for text in [
            "",
            "0",
            "0steps",
            "-1",
            "steps",
            "2weeks",
            "1.5",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
        let due = |every: Every| {
            (1..=12)
                .filter(|&it| every.is_due(it, 3))
                .collect::<Vec<_>>()
        };
        assert_eq!(due(Every::Epochs(2)), [6, 12]);
        assert_eq!(due(Every::Steps(5)), [5, 10]);
        for never in [Every::Epochs(usize::MAX), Every::Steps(usize::MAX)] {
            assert!(due(never).is_empty());
        }
    }
}
