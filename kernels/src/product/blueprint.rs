//! How results are cut into tiles, and a tile into the parts of units.

use serde::{Deserialize, Serialize};

use super::OPERATION;
use super::factors::{Factors, Parts};
use crate::context::{Context, Units};
use crate::error::Error;

/// A cube computes a tile of C, `rows` × `columns`. It brings `terms` terms of A and B at a time into shared memory, in two turns:
/// while one is multiplied, the next is on its way. A unit computes `unit_rows` × `unit_columns` entries; `slices` units share the
/// same entries, each with its part of the terms, and add what they found in order.
///
/// As a unit's sum takes the terms in order, tiles change no bit of a result; slices do, and factors.
///
/// Matrix units multiply 16 rows with 8 columns and sum 16 terms at once, and a plane of 32 units shares the result. A unit then has
/// 8 columns side by side and 4 rows, or twice 4, and a plane 32 rows, or twice 32, and 32 columns. Sums of matrix units lose digits (they
/// keep as many as f32 has, of the largest term, and cut off the rest), so every 32 terms at most go to the unit's own sums, in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blueprint {
    /// Rows of a tile, four times a multiple of `unit_rows`, and eight times one for matrix units.
    pub rows: usize,
    /// Columns of a tile, eight times a multiple of `unit_columns`, or a multiple of 32 for matrix units.
    pub columns: usize,
    /// Terms at a time, a multiple of 8 and of `slices`; of 16 a slice for matrix units.
    pub terms: usize,
    /// Rows of a unit: 4 or 8.
    pub unit_rows: usize,
    /// Columns of a unit: 4 or 8; 8 for matrix units.
    pub unit_columns: usize,
    /// Units for the same entries: 1, 2 or 4.
    pub slices: usize,
    /// What units multiply.
    pub factors: Factors,
    /// How the terms of an entry are summed.
    pub sums: Sums,
}

/// How the terms of an entry are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sums {
    /// In f32.
    #[default]
    Plain,
    /// With the rounding errors of f32 summed beside them; some eight times the work.
    Compensated,
}

/// Tiles, and how fast a multiprocessor is with each relative to the largest, where `sonew tune product` has not measured it. That is
/// reckoned: a unit of 8 × 8 entries reads 4 words of 16 bytes for 64 products and sums, one of 4 × 4 reads 2 for 16, and shared memory
/// yields one such word for some 4.
const TILES: [(Blueprint, f64); 4] = [
    (Blueprint::of([128, 128], [8, 8], 1, 16), 1.0),
    (Blueprint::of([64, 64], [8, 8], 4, 32), 0.85),
    (Blueprint::of([64, 32], [8, 4], 4, 32), 0.7),
    (Blueprint::of([32, 32], [4, 4], 4, 32), 0.5),
];

/// The same for matrix units, whose factors are half as wide: a plane with 64 rows reads 6 words a unit for 16 of their products, one
/// with 32 rows 4 for 8.
const MATRIX_TILES: [(Blueprint, f64); 4] = [
    (Blueprint::of([128, 128], [8, 8], 1, 32), 1.0),
    (Blueprint::of([64, 64], [4, 8], 2, 32), 0.75),
    (Blueprint::of([64, 32], [4, 8], 2, 32), 0.7),
    (Blueprint::of([32, 32], [4, 8], 2, 32), 0.5),
];

/// Multiprocessors where the device does not say how many it has: those of a large GPU, so that there are enough cubes for any.
const MULTIPROCESSORS: u32 = 128;

/// Multiprocessors of the device.
pub fn multiprocessors(context: &Context) -> usize {
    let hardware = &context.client().properties().hardware;
    let known = hardware.num_streaming_multiprocessors;
    known.unwrap_or(MULTIPROCESSORS).max(1) as usize
}

impl Blueprint {
    /// Small tiles without slices: quick to compile, and right for a few entries.
    pub const SMALL: Self = Self::of([32, 32], [4, 4], 1, 16);

    const fn of(tile: [usize; 2], unit: [usize; 2], slices: usize, terms: usize) -> Self {
        Self {
            rows: tile[0],
            columns: tile[1],
            terms,
            unit_rows: unit[0],
            unit_columns: unit[1],
            slices,
            factors: Factors::Whole,
            sums: Sums::Plain,
        }
    }

    /// [`Blueprint::SMALL`], or the like for these factors.
    pub const fn small(factors: Factors) -> Self {
        let unit = match factors {
            Factors::Whole | Factors::Parts(_) => [4, 4],
            Factors::Matrix(_) => [4, 8],
        };
        Self {
            factors,
            ..Self::of([32, 32], unit, 1, 16)
        }
    }

    /// All that [`Blueprint::choose`] chooses from on a GPU with room enough, largest tile first.
    pub fn all(factors: Factors) -> impl Iterator<Item = Self> {
        Self::with_speeds(factors).map(|(blueprint, _)| blueprint)
    }

    fn with_speeds(factors: Factors) -> impl Iterator<Item = (Self, f64)> {
        let tiles = match factors {
            Factors::Whole | Factors::Parts(_) => TILES,
            Factors::Matrix(_) => MATRIX_TILES,
        };
        tiles.into_iter().map(move |(blueprint, speed)| {
            (
                Self {
                    factors,
                    ..blueprint
                },
                speed,
            )
        })
    }

    /// The same, with as many terms at a time as the device has shared memory for; as it is if that is none.
    pub fn fitted(self, context: &Context) -> Self {
        let bytes = context
            .client()
            .properties()
            .hardware
            .max_shared_memory_size;
        self.within(bytes).unwrap_or(self)
    }

    /// For results of these rows and columns in one launch: tiles enough for every multiprocessor, and then those that take the
    /// least time, reckoned by the tiles that a multiprocessor computes one after the other. Matrix units multiply `parts`, if any.
    pub fn choose(
        context: &Context,
        parts: Option<Parts>,
        results: impl IntoIterator<Item = [usize; 2]>,
    ) -> Self {
        let factors = parts.map_or(Factors::Whole, Factors::Matrix);
        if context.profile().units == Units::Few {
            return Self::small(factors);
        }
        let hardware = &context.client().properties().hardware;
        let processors = multiprocessors(context);
        let results: Vec<[usize; 2]> = results.into_iter().collect();
        let tiles = |it: Self| -> usize { results.iter().map(|&of| it.tiles(of)).sum() };
        let smallest = (Self::small(factors), 0.25);
        let all = Self::with_speeds(factors).chain([smallest]);
        let fitting = all.filter_map(|(blueprint, reckoned)| {
            let speed = context.tuned().tile_speed(blueprint).unwrap_or(reckoned);
            let blueprint = blueprint.within(hardware.max_shared_memory_size)?;
            (blueprint.units() <= hardware.max_units_per_cube as usize)
                .then_some((blueprint, speed))
        });
        let fitting: Vec<(Self, f64)> = fitting.collect();
        let full: Vec<(Self, f64)> = fitting
            .iter()
            .copied()
            .filter(|&(blueprint, _)| tiles(blueprint) >= processors)
            .collect();
        let time = |(blueprint, speed): (Self, f64)| {
            let turns = tiles(blueprint).div_ceil(processors);
            (turns * blueprint.rows * blueprint.columns) as f64 / speed
        };
        let candidates = if full.is_empty() { fitting } else { full };
        let least = candidates
            .into_iter()
            .min_by(|&a, &b| time(a).total_cmp(&time(b)));
        least.map_or(Self::small(factors).fitted(context), |(blueprint, _)| {
            blueprint
        })
    }

    /// With as many terms at a time as fit so many bytes of shared memory.
    fn within(self, bytes: usize) -> Option<Self> {
        let terms = [self.terms, self.terms / 2, self.terms / 4];
        let fits = |&terms: &usize| {
            let it = Self { terms, ..self };
            it.check().is_ok() && it.shared_bytes() <= bytes
        };
        let terms = terms.into_iter().find(fits)?;
        Some(Self { terms, ..self })
    }

    /// Tiles of a result of so many rows and columns.
    pub fn tiles(self, [rows, columns]: [usize; 2]) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    /// Units that share the terms of a turn's first slice.
    pub(super) const fn slice_units(self) -> usize {
        (self.rows / self.unit_rows) * (self.columns / self.unit_columns)
    }

    /// Units of a cube.
    pub const fn units(self) -> usize {
        self.slice_units() * self.slices
    }

    /// Entries of a unit.
    pub(super) const fn entries(self) -> usize {
        self.unit_rows * self.unit_columns
    }

    /// Terms of a turn that a slice multiplies.
    pub(super) const fn slice_terms(self) -> usize {
        self.terms / self.slices
    }

    /// The parts that matrix units multiply.
    pub(super) const fn matrix_parts(self) -> Option<Parts> {
        match self.factors {
            Factors::Matrix(parts) => Some(parts),
            Factors::Whole | Factors::Parts(_) => None,
        }
    }

    /// Where the `i`-th row of a unit lies in a tile, from its first.
    pub(super) const fn row(self, i: usize) -> usize {
        i / 4 * (self.rows / 2) + i % 4
    }

    /// Where the `j`-th column of a unit lies in a tile, from its first.
    pub(super) const fn column(self, j: usize) -> usize {
        match self.factors {
            Factors::Whole | Factors::Parts(_) => j / 4 * (self.columns / 2) + j % 4,
            Factors::Matrix(_) => j,
        }
    }

    /// Vectors of four lines from one term to the next in shared memory. One more than there are: an odd number, so that units which
    /// write the same lines of two neighbouring terms meet different banks. For matrix units from one word of terms to the next, and
    /// two more than there are, a multiple of 8: two neighbouring vectors of four words are read at once.
    pub(super) const fn pitch(self, lines: usize) -> usize {
        match self.factors {
            Factors::Whole | Factors::Parts(_) => lines / 4 + 1,
            Factors::Matrix(_) => lines / 4 + 2,
        }
    }

    /// Vectors of shared memory for a turn's terms of so many lines: of f32, or of words of the terms of a part, part after part.
    pub(super) const fn operand(self, lines: usize) -> usize {
        let words = match self.factors {
            Factors::Whole | Factors::Parts(_) => self.terms,
            Factors::Matrix(parts) => self.terms / parts.word_terms() * parts.count(),
        };
        words * self.pitch(lines)
    }

    /// Vectors of shared memory for one turn.
    pub(super) const fn turn(self) -> usize {
        self.operand(self.rows) + self.operand(self.columns)
    }

    /// Vectors of shared memory: two turns, or the sums of a slice.
    pub(super) const fn shared_vectors(self) -> usize {
        let turns = 2 * self.turn();
        let sums = self.slice_units() * self.entries() / 4;
        if self.slices > 1 && sums > turns {
            sums
        } else {
            turns
        }
    }

    /// Bytes of shared memory of a cube.
    pub const fn shared_bytes(self) -> usize {
        16 * self.shared_vectors()
    }

    pub(super) fn check(self) -> Result<(), Error> {
        let Self {
            rows,
            columns,
            terms,
            unit_rows,
            unit_columns,
            slices,
            factors,
            sums,
        } = self;
        let of_units = [unit_rows, unit_columns]
            .iter()
            .all(|it| [4, 8].contains(it))
            && [1, 2, 4].contains(&slices)
            && rows > 0
            && columns > 0
            && terms > 0
            && self.slice_units().is_power_of_two();
        let of_factors = match factors {
            Factors::Whole | Factors::Parts(_) => {
                rows.is_multiple_of(4 * unit_rows)
                    && columns.is_multiple_of(8 * unit_columns)
                    && terms.is_multiple_of(8)
            }
            Factors::Matrix(parts) => {
                unit_columns == 8
                    && rows.is_multiple_of(8 * unit_rows)
                    && columns.is_multiple_of(32)
                    && terms.is_multiple_of(parts.fragment_terms() * slices)
            }
        };
        let of_sums = sums == Sums::Plain || factors == Factors::Whole;
        if of_units && of_factors && of_sums {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            argument: "blueprint",
            found: format!("{self:?}"),
            expected: "units of 4 or 8 rows and columns, a multiple of 4 of them down and of 8 across a tile, a power of two in all, \
                       1, 2 or 4 slices, and a multiple of 8 terms; for matrix units 8 columns, a multiple of 8 of them down and of 4 \
                       across, and a multiple of 16 terms a slice; compensated sums of whole factors"
                .into(),
        })
    }
}
