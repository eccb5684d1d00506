//! Axis ranges and ticks for losses: where to cut a first epoch ten times higher than the rest, and which round
//! numbers to write beside the axis.

/// How the loss axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// By ratios. Falls back to [`Scale::Linear`] when a loss is not above 0.
    #[default]
    Log,
    /// By differences.
    Linear,
}

impl Scale {
    /// Where a value lies along the axis.
    pub(super) fn position(self, value: f64) -> f64 {
        match self {
            Self::Log => value.ln(),
            Self::Linear => value,
        }
    }

    /// The value at a place along the axis.
    pub(super) fn value(self, position: f64) -> f64 {
        match self {
            Self::Log => position.exp(),
            Self::Linear => position,
        }
    }
}

/// Curves with fewer points than this are shown whole.
const SHORT: usize = 12;
/// Share of the epochs at the start that does not count for the top of the axis.
const START: f64 = 0.05;
/// The top of the axis is at most this many times its bottom, so that a diverging run does not flatten the others.
const MAX_RATIO: f64 = 2.0;
/// Free room at both ends, as a share of the axis.
const MARGIN: f64 = 0.04;

/// The part of an axis that is shown, in values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The part of the loss axis to show for curves of (epoch, loss); every number is finite.
pub(super) fn losses_to_show(curves: &[Vec<(f64, f64)>], scale: Scale) -> Shown {
    let points = || curves.iter().flatten();
    let Some(low) = points().map(|point| point.1).min_by(f64::total_cmp) else {
        return Shown {
            low: 1.0,
            high: 10.0,
        };
    };
    let mut high = points().map(|point| point.1).fold(low, f64::max);
    if low > 0.0 && curves.iter().any(|curve| curve.len() >= SHORT) {
        let last = points().map(|point| point.0).fold(0.0, f64::max);
        let settled = points()
            .filter(|point| point.0 >= START * last)
            .map(|point| point.1)
            .fold(low, f64::max);
        high = high.min(settled).min(MAX_RATIO * low);
    }
    widened(low, high, scale)
}

/// The epochs to show.
pub(super) fn epochs_to_show(curves: &[Vec<(f64, f64)>]) -> Shown {
    let epochs = || curves.iter().flatten().map(|point| point.0);
    match epochs().min_by(f64::total_cmp) {
        None => Shown {
            low: 0.0,
            high: 1.0,
        },
        Some(low) => {
            let high = epochs().fold(low, f64::max);
            if high > low {
                widened(low, high, Scale::Linear)
            } else {
                Shown {
                    low: low - 0.5,
                    high: low + 0.5,
                }
            }
        }
    }
}

/// Adds room at both ends, also where both are the same.
fn widened(low: f64, high: f64, scale: Scale) -> Shown {
    let (bottom, top) = (scale.position(low), scale.position(high));
    let span = top - bottom;
    // Equal values, or so close that the pixels could not tell them apart: show a twentieth of the value around them.
    let room = if span > 1e-9 * top.abs().max(1.0) {
        MARGIN * span
    } else {
        match scale {
            Scale::Log => 0.05,
            Scale::Linear => (0.05 * high.abs()).max(0.05),
        }
    };
    // On a log axis, the room below a denormal loss would end at 0.
    let lowest = if scale == Scale::Log {
        f64::MIN_POSITIVE
    } else {
        f64::MIN
    };
    Shown {
        low: scale.value(bottom - room).max(lowest),
        high: scale.value(top + room),
    }
}

/// Round values inside `shown`, at most about ten.
pub(super) fn ticks(shown: Shown, scale: Scale) -> Vec<f64> {
    let Shown { low, high } = shown;
    if scale == Scale::Linear || high / low < 3.0 {
        return even_ticks(low, high, 0.0);
    }
    let mantissas: &[f64] = if high / low < 20.0 {
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| {
        mantissas
            .iter()
            .map(move |mantissa| mantissa * 10_f64.powi(decade))
    });
    let inside: Vec<f64> = all.filter(|value| (low..=high).contains(value)).collect();
    // Many decades: every nth tick is enough.
    inside
        .iter()
        .copied()
        .step_by(inside.len().div_ceil(10).max(1))
        .collect()
}

/// Multiples of 1, 2 or 5 times a power of ten, at least `smallest_step` apart.
pub(super) fn even_ticks(low: f64, high: f64, smallest_step: f64) -> Vec<f64> {
    let raw = (high - low) / 7.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= raw);
    let step = step.unwrap_or(raw).max(smallest_step);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last)
        .map(|multiple| multiple as f64 * step)
        .collect()
}

/// A tick's text: as many digits as tell it from its neighbours.
pub(super) fn tick_label(value: f64) -> String {
    // Twelve digits hide what multiplication by the step added.
    let rounded: f64 = format!("{value:.11e}").parse().unwrap_or(value);
    match rounded.abs() {
        size if size != 0.0 && !(1e-4..1e6).contains(&size) => format!("{rounded:e}"),
        _ => format!("{rounded}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(losses: &[f64]) -> Vec<(f64, f64)> {
        losses
            .iter()
            .enumerate()
            .map(|(epoch, loss)| (epoch as f64, *loss))
            .collect()
    }

    #[test]
    fn a_short_run_is_shown_whole() {
        let shown = losses_to_show(&[numbered(&[544.0, 90.0, 75.0])], Scale::Log);
        assert!(shown.low < 75.0 && shown.high > 544.0);
    }

    #[test]
    fn the_first_epochs_of_a_long_run_do_not_stretch_the_axis() {
        let mut losses = vec![544.0, 90.0, 75.0, 72.0, 71.0, 70.0];
        losses.extend((6..100).map(|epoch| 70.0 - 0.15 * f64::from(epoch)));
        let shown = losses_to_show(&[numbered(&losses)], Scale::Log);
        assert!(
            shown.low < losses[99] && (70.0..75.0).contains(&shown.high),
            "{shown:?}"
        );
    }

    #[test]
    fn a_diverging_run_does_not_flatten_the_others() {
        let good: Vec<f64> = (0..50).map(|epoch| 60.0 - 0.1 * f64::from(epoch)).collect();
        let bad: Vec<f64> = (0..50).map(|epoch| 60.0 * f64::from(epoch + 1)).collect();
        assert!(losses_to_show(&[numbered(&good), numbered(&bad)], Scale::Log).high < 120.0);
    }

    #[test]
    fn equal_or_missing_values_still_give_an_axis() {
        for scale in [Scale::Log, Scale::Linear] {
            for curves in [
                vec![],
                vec![numbered(&[50.0])],
                vec![numbered(&[50.0; 20])],
                vec![numbered(&[1e-30; 3])],
            ] {
                let shown = losses_to_show(&curves, scale);
                assert!(shown.low < shown.high, "{curves:?} {scale:?}");
                assert!(ticks(shown, scale).len() < 40);
            }
        }
        let epochs = epochs_to_show(&[numbered(&[50.0])]);
        assert_eq!(
            epochs,
            Shown {
                low: -0.5,
                high: 0.5
            }
        );
    }

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |low, high, scale| -> Vec<String> {
            ticks(Shown { low, high }, scale)
                .into_iter()
                .map(tick_label)
                .collect()
        };
        assert_eq!(labels(50.9, 71.0, Scale::Log), ["55", "60", "65", "70"]);
        assert_eq!(
            labels(49.0, 560.0, Scale::Log),
            ["50", "70", "100", "150", "200", "300", "400", "500"]
        );
        assert_eq!(
            labels(0.0, 0.65, Scale::Linear),
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
        );
        assert!((1..=10).contains(&labels(1e-3, 1e9, Scale::Log).len()));
        assert_eq!(even_ticks(-0.1, 2.1, 1.0), [0.0, 1.0, 2.0]);
    }
}
