//! How the numbers of a run are held, as asked for.

use std::str::FromStr;

use clap::Args;
use sonew_optimizers::{
    LossScale, NonFinite, Numerics, PrecisionKind, StateFormat, WeightRounding,
};

/// The precisions of a run, and what goes with them.
#[derive(Debug, Clone, Args)]
pub struct NumericsArgs {
    /// How numbers are held and computed: f32, bf16, bf16-mixed, f16 or f16-mixed; to compare several, comma-separated.
    #[arg(
        long,
        visible_alias = "precisions",
        value_delimiter = ',',
        default_value = "f32"
    )]
    pub precision: Vec<PrecisionKind>,
    /// In what format an optimizer keeps its states: precision (f32 in the mixed ones), f32, or parameters (that of the
    /// parameters, with f32 arithmetic; bf16-mixed).
    #[arg(long, default_value = "precision")]
    pub statistics: StateFormat,
    /// How weights of 16 bits take a step in a mixed precision: nearest, master (f32 copies) or stochastic.
    #[arg(long, default_value = "nearest")]
    pub weights: WeightRounding,
    /// Loss scaling in a mixed precision: auto (dynamic from 65536 on), off, or a first scale. Default auto for f16-mixed, off
    /// for others.
    #[arg(long, value_name = "SCALE")]
    pub loss_scale: Option<Scaling>,
    /// A step whose gradient is not finite: proceed, skip or stop. Default skip with loss scaling, else proceed.
    #[arg(long, value_name = "POLICY")]
    pub non_finite: Option<NonFinite>,
}

/// Loss scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Dynamic, from the default on.
    Auto,
    /// None.
    Off,
    /// Dynamic, from this scale on.
    From(f64),
}

impl FromStr for Scaling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            number => match number.parse::<f64>() {
                Ok(scale) if (1e-30..=1e30).contains(&scale) => Ok(Self::From(scale)),
                _ => Err("expected auto, off or a number from 1e-30 to 1e30".into()),
            },
        }
    }
}

impl NumericsArgs {
    /// Each precision with what else was asked for.
    pub fn each(&self, seed: u64) -> impl Iterator<Item = Numerics> {
        self.precision.iter().map(move |&precision| {
            let mut numerics = Numerics {
                statistics: self.statistics,
                weights: self.weights,
                seed,
                ..precision.into()
            };
            if let Some(scaling) = self.loss_scale {
                (numerics.loss_scale, numerics.non_finite) = match scaling {
                    Scaling::Off => (None, NonFinite::Proceed),
                    Scaling::Auto => (Some(LossScale::default()), NonFinite::Skip),
                    Scaling::From(initial) => {
                        let scale = LossScale {
                            initial,
                            ..LossScale::default()
                        };
                        (Some(scale), NonFinite::Skip)
                    }
                };
            }
            numerics.non_finite = self.non_finite.unwrap_or(numerics.non_finite);
            numerics
        })
    }
}
