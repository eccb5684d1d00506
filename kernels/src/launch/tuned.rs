//! Blueprints that were found fast on a device. They stand in for the defaults of the kernels where a caller hands them to a
//! [`Context`](crate::context::Context); nothing else reads them.

use serde::{Deserialize, Serialize};

use crate::product::{self, Factors};
use crate::sonew::Blueprint;

/// The blueprint of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The kernel, one of [`crate::catalogue::Kernel::all`].
    pub kernel: String,
    /// The name of the precision.
    pub precision: String,
    /// The width of SONew's band; 0 for a kernel that has none.
    pub band: usize,
    /// How it is laid out. A kernel that eliminates nothing has a sweep alone.
    pub blueprint: Blueprint,
}

/// How fast the multiprocessors compute matrix products in tiles of one form, by which [`product::Blueprint::choose`] weighs them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileSpeed {
    /// What units multiply.
    pub factors: Factors,
    /// Rows of a tile.
    pub rows: usize,
    /// Columns of a tile.
    pub columns: usize,
    /// Units that share an entry.
    pub slices: usize,
    /// Relative to the fastest tile of these factors.
    pub speed: f64,
}

impl TileSpeed {
    /// Whether it is that of a blueprint.
    pub fn is_of(&self, blueprint: product::Blueprint) -> bool {
        let product::Blueprint {
            factors,
            rows,
            columns,
            slices,
            ..
        } = blueprint;
        (self.factors, self.rows, self.columns, self.slices) == (factors, rows, columns, slices)
    }
}

/// Blueprints of some kernels on one device, and speeds of tiles of matrix products.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tuned {
    tunings: Vec<Tuning>,
    #[serde(skip)]
    tiles: Vec<TileSpeed>,
}

impl Tuned {
    /// The blueprint of a kernel in a precision and for a band, where there is one.
    pub fn get(&self, kernel: &str, precision: &str, band: usize) -> Option<Blueprint> {
        let of = |it: &&Tuning| {
            (it.kernel.as_str(), it.precision.as_str(), it.band) == (kernel, precision, band)
        };
        self.tunings.iter().find(of).map(|it| it.blueprint)
    }

    /// Adds a blueprint, in place of what there was for the same kernel, precision and band.
    pub fn put(&mut self, tuning: Tuning) {
        let same = |it: &Tuning| {
            (&it.kernel, &it.precision, it.band) == (&tuning.kernel, &tuning.precision, tuning.band)
        };
        self.tunings.retain(|it| !same(it));
        self.tunings.push(tuning);
    }

    /// All of them.
    pub fn tunings(&self) -> &[Tuning] {
        &self.tunings
    }

    /// The same blueprints, with these speeds of tiles.
    pub fn with_tiles(self, tiles: Vec<TileSpeed>) -> Self {
        Self { tiles, ..self }
    }

    /// The speed of a tile of matrix products, if it was measured.
    pub fn tile_speed(&self, blueprint: product::Blueprint) -> Option<f64> {
        let found = self.tiles.iter().find(|it| it.is_of(blueprint));
        found.map(|it| it.speed)
    }
}
