//! What in a file of blueprints would not be used, or not as it was meant, because nothing is called so.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sonew_kernels::arena::GAP;
use sonew_kernels::catalogue::Kernel;
use sonew_kernels::launch::{TileSpeed, Tuning};
use sonew_kernels::product::Blueprint;
use sonew_optimizers::PrecisionKind;

use super::TunedFileError;

/// The most units that a cube has on any device. Memory is laid out for them before a device can refuse them.
pub(super) const MOST_UNITS: u32 = 1024;

/// Requires that every blueprint is one that a kernel takes and asks for.
pub(super) fn check_tunings(
    path: &Path,
    place: &str,
    tunings: &[Tuning],
) -> Result<(), TunedFileError> {
    let precisions = PrecisionKind::ALL.map(PrecisionKind::name);
    let mut seen = BTreeSet::new();
    for (at, it) in tunings.iter().enumerate() {
        let (kernel, precision, band) = (it.kernel.as_str(), it.precision.as_str(), it.band);
        let refused = |field: &str, expected: String, found: String| {
            Err(TunedFileError::Meaning {
                path: path.into(),
                place: format!("{place}/{at}{field}"),
                expected,
                found,
            })
        };
        let Some(tunable) = Kernel::named(kernel) else {
            let known = format!("one of {}", Kernel::names().join(", "));
            return refused("/kernel", known, format!("{kernel:?}"));
        };
        if !precisions.contains(&precision) {
            let known = format!("one of {}", precisions.join(", "));
            return refused("/precision", known, format!("{precision:?}"));
        }
        let widest = if tunable.banded { GAP } else { 0 };
        if band > widest {
            let known = format!("a band of at most {widest} for {kernel}");
            return refused("/band", known, band.to_string());
        }
        if !seen.insert((kernel, precision, band)) {
            let found = format!("{kernel} in {precision} for a band of {band} again");
            return refused("", "each once".into(), found);
        }
        let sweep = it.blueprint.sweep;
        if sweep.team && !tunable.teams {
            let known = format!("false for {kernel}, whose units take runs of their own");
            return refused("/blueprint/sweep/team", known, "true".into());
        }
        if sweep.twins && !tunable.twins {
            let known = format!("false for {kernel}, which has no form in 64-bit words");
            return refused("/blueprint/sweep/twins", known, "true".into());
        }
        if !sweep.is_whole() || sweep.units > MOST_UNITS {
            return Err(TunedFileError::Blueprint {
                path: path.into(),
                kernel: kernel.into(),
                precision: precision.into(),
                sweep,
            });
        }
    }
    Ok(())
}

/// Requires that every speed is one, and of a tile that products are cut into.
pub(super) fn check_tiles(
    path: &Path,
    place: &str,
    tiles: &[TileSpeed],
) -> Result<(), TunedFileError> {
    for (at, tile) in tiles.iter().enumerate() {
        let refused = |field: &str, expected: &str, found: String| {
            Err(TunedFileError::Meaning {
                path: path.into(),
                place: format!("{place}/{at}{field}"),
                expected: expected.into(),
                found,
            })
        };
        let small = Blueprint::small(tile.factors);
        let mut known = Blueprint::all(tile.factors).chain([small]);
        if !known.any(|it| tile.is_of(it)) {
            let found = format!("{} × {}, {} slices", tile.rows, tile.columns, tile.slices);
            return refused("", "a tile that products are cut into", found);
        }
        if !(tile.speed > 0.0 && tile.speed <= 1.0) {
            return refused(
                "/speed",
                "a number above 0, at most 1",
                tile.speed.to_string(),
            );
        }
        let same = |it: &TileSpeed| {
            TileSpeed {
                speed: tile.speed,
                ..*it
            } == *tile
        };
        if tiles[..at].iter().any(same) {
            return refused("", "each once", "a tile again".into());
        }
    }
    Ok(())
}

/// Where `found` has a field that `known`, which was read from it, has not: a name that is taken for none at all.
pub(super) fn unknown_field(found: &Value, known: &Value, place: &str) -> Option<String> {
    match (found, known) {
        (Value::Object(found), Value::Object(known)) => found.iter().find_map(|(name, value)| {
            let place = format!("{place}/{name}");
            match known.get(name) {
                Some(known) => unknown_field(value, known, &place),
                None => Some(place),
            }
        }),
        (Value::Array(found), Value::Array(known)) => {
            let mut pairs = found.iter().zip(known).enumerate();
            pairs.find_map(|(at, (found, known))| {
                unknown_field(found, known, &format!("{place}/{at}"))
            })
        }
        _ => None,
    }
}
