//! Dynamic loss scaling: the loss is multiplied by a scale before the backward pass, so that small gradients do not
//! underflow, and gradients by its inverse before the step. A gradient that overflows halves the scale; a number of steps
//! without one doubles it.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Settings of loss scaling; the defaults are those of PyTorch's `GradScaler` but for the floor, which it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LossScale {
    /// The first scale, > 0.
    pub initial: f64,
    /// Steps in a row without overflow after which the scale doubles; 0 never.
    pub growth_interval: u64,
    /// The scale is not halved below this, > 0.
    pub floor: f64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            initial: 65536.0,
            growth_interval: 2000,
            floor: 1.0,
        }
    }
}

impl LossScale {
    /// A scale that never grows; it still halves.
    pub fn fixed(scale: f64) -> Self {
        Self {
            initial: scale,
            growth_interval: 0,
            ..Self::default()
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        // Neither the scale nor its inverse may leave f32.
        let fits = |x: f64| (1e-30..=1e30).contains(&x);
        for (key, found) in [
            ("loss-scale", self.initial),
            ("loss-scale floor", self.floor),
        ] {
            if !fits(found) {
                return Err(Error::Range {
                    optimizer: "loss scaling".into(),
                    key,
                    found,
                    expected: "10⁻³⁰ to 10³⁰",
                });
            }
        }
        Ok(())
    }
}

/// The scale as it changes.
pub(super) struct Scale {
    config: LossScale,
    pub current: f64,
    /// Steps since it last changed.
    pub steady: u64,
}

impl Scale {
    pub fn new(config: LossScale) -> Self {
        Self {
            current: config.initial,
            config,
            steady: 0,
        }
    }

    /// Whether an overflow can be answered by a smaller scale.
    pub fn can_shrink(&self) -> bool {
        self.current > self.config.floor
    }

    /// After a step that overflowed, or did not.
    pub fn update(&mut self, overflowed: bool) {
        if overflowed {
            if self.can_shrink() {
                self.current = (0.5 * self.current).max(self.config.floor);
            }
            self.steady = 0;
            return;
        }
        self.steady += 1;
        if self.config.growth_interval > 0 && self.steady == self.config.growth_interval {
            // As far as the inverse stays a normal number.
            self.current = (2.0 * self.current).min(1e30);
            self.steady = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_down_to_its_floor_and_doubles_after_steady_steps() {
        let mut scale = Scale::new(LossScale {
            initial: 8.0,
            growth_interval: 3,
            floor: 2.0,
        });
        let mut seen = Vec::new();
        for overflowed in [true, true, true, false, false, false, false, true] {
            scale.update(overflowed);
            seen.push(scale.current);
        }
        assert_eq!(seen, [4.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 2.0]);
        let mut fixed = Scale::new(LossScale::fixed(16.0));
        (0..5000).for_each(|_| fixed.update(false));
        assert_eq!(fixed.current, 16.0);
    }
}
