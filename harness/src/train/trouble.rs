//! What is said of a run that makes no progress: why, and what may help.

use sonew_optimizers::NonFinite;

use super::Run;

impl Run<'_> {
    /// Steps in a row that may be skipped, or whose loss may be NaN or infinite: enough for a loss scale to come down from
    /// the largest number of f32 to the least.
    pub(super) fn patience(&self) -> usize {
        let numerics = &self.plan.numerics;
        match numerics.non_finite {
            NonFinite::Proceed => 0,
            NonFinite::Stop if numerics.loss_scale.is_none() => 0,
            NonFinite::Skip | NonFinite::Stop => 256,
        }
    }

    /// The options that may help. An ε on every diagonal helps, where the optimizer has one and uses it. Weights that lose
    /// more than themselves in a step change sign, and grow once they lose more than twice that.
    pub(super) fn advice(&self) -> &'static str {
        let settings = self.plan.recipe.optimizer.settings();
        let has = |key| settings.iter().find(|setting| setting.key == key);
        let number = |key| has(key).and_then(|it| it.value.parse::<f64>().ok());
        let decays = self.plan.lr * number("weight-decay").unwrap_or(0.0);
        let replaced = has("relative-epsilon").is_some_and(|it| it.value.parse() != Ok(0.0));
        if decays > 1.0 {
            "a smaller --lr or --set weight-decay, whose product is more than 1"
        } else if replaced {
            "a smaller --lr or a larger --set relative-epsilon"
        } else if has("epsilon").is_some() {
            "a smaller --lr or a larger --set epsilon"
        } else {
            "a smaller --lr"
        }
    }

    /// Why there is no progress, as far as the optimizer's last step tells.
    pub(super) fn cause(&self) -> String {
        let report = match self.optimizer.report() {
            Ok(report) => report,
            Err(error) => return error.to_string(),
        };
        match report.first_non_finite {
            Some((tensor, at)) => format!(
                "{} gradients are not finite, first in {} at {at}",
                report.non_finite_gradients,
                self.tensor_name(tensor)
            ),
            None => "the gradients are finite, so the weights grew too large".into(),
        }
    }
}
