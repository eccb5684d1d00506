//! What can be asked about the cost of a kernel.

use std::str::FromStr;

use clap::{ArgAction, Args};
use sonew_kernels::launch::Sweep;
use sonew_kernels::sonew::Blueprint;
use sonew_optimizers::PrecisionKind;

/// A kernel to inspect.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// The kernel, as `bench` names it, or `product`: the autoencoder's matrix products, batch 1000; all that stream over the
    /// parameters if none is given.
    pub kernel: Option<String>,
    /// In these precisions.
    #[arg(long, visible_alias = "precisions", value_delimiter = ',', action = ArgAction::Set, default_value = "f32")]
    pub precision: Vec<PrecisionKind>,
    /// Widths of SONew's band.
    #[arg(long, visible_alias = "bands", value_delimiter = ',', action = ArgAction::Set, default_value = "0,1,4,10", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub band: Vec<u8>,
    /// On so many values in one tensor.
    #[arg(long, visible_alias = "values", default_value_t = 1 << 18, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub size: u32,
    /// For this architecture: sm_80 (A100) or sm_90 (H100, H200).
    #[arg(long, default_value = "sm_90", value_parser = ["sm_80", "sm_90"])]
    pub arch: String,
    /// Laid out so instead of by default: width=4,run=1,units=128 and, where they differ, cubes=65535,unroll=yes,team=no.
    #[arg(long)]
    pub blueprint: Option<Forced>,
    /// Bytes that the device copies, in GB a second; the default is an H200's.
    #[arg(long, value_name = "GB/s", default_value_t = 4189.0, value_parser = positive)]
    pub copy: f64,
    /// Operations that it does, in GFLOP a second, a product and a sum apart; the default is an H200's.
    #[arg(long, value_name = "GFLOP/s", default_value_t = 33_500.0, value_parser = positive)]
    pub flop: f64,
    /// A row for each place in the text that accesses memory; `sonew source` prints the text.
    #[arg(long)]
    pub sites: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A blueprint from the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forced(pub Blueprint);

impl FromStr for Forced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut fields = [None; 6];
        const NAMES: [&str; 6] = ["width", "run", "units", "cubes", "unroll", "team"];
        for part in text.split(',') {
            let wrong = || format!("expected {} = a value, found `{part}`", NAMES.join(", "));
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let at = NAMES.iter().position(|it| *it == name).ok_or_else(wrong)?;
            let value = match (name, value) {
                ("unroll" | "team", "yes") => 1,
                ("unroll" | "team", "no") => 0,
                ("unroll" | "team", _) => {
                    return Err(format!("expected {name}=yes or no, found `{part}`"));
                }
                _ => value.parse::<u32>().map_err(|_| wrong())?,
            };
            if fields[at].replace(value).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        let [width, run, units, cubes, unroll, team] = fields;
        let given = |field: Option<u32>, name: &str| field.ok_or(format!("`{name}` is missing"));
        Ok(Self(Blueprint {
            sweep: Sweep {
                width: given(width, "width")? as usize,
                run: given(run, "run")? as usize,
                units: given(units, "units")?,
                cubes: cubes.unwrap_or(65_535),
                twins: false,
                team: team == Some(1),
            },
            unroll: unroll != Some(0),
        }))
    }
}

/// A rate.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a finite number > 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blueprint_is_read_field_by_field_and_each_once() {
        let found: Forced = "width=4,run=32,units=128,unroll=no".parse().unwrap();
        assert_eq!((found.0.sweep.run, found.0.unroll), (32, false));
        for wrong in [
            "",
            "width=4",
            "width=4,run=1,units=1,units=2",
            "width=4,run=1,units=-1",
            "width=4,run=1,units=64,unroll=maybe",
            "breadth=4",
        ] {
            assert!(wrong.parse::<Forced>().is_err(), "{wrong}");
        }
    }
}
