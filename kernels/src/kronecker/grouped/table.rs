//! What is multiplied: views of buffers, products of views, and how their results are cut into tiles.

use cubecl::server::Handle;
use serde::{Deserialize, Serialize};

use super::OPERATION;
use crate::context::Context;
use crate::error::Error;

/// Words of a product in the table.
pub(super) const WORDS: usize = 12;

/// A matrix in a buffer of f32: entry (i, j) is value `offset + i · row_stride + j · column_stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Index of the first value.
    pub offset: usize,
    /// Values from one row to the next.
    pub row_stride: usize,
    /// Values from one column to the next.
    pub column_stride: usize,
}

impl View {
    /// A matrix at `offset` whose rows are `stride` values apart.
    pub fn rows(offset: usize, stride: usize) -> Self {
        Self {
            offset,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The transpose.
    pub fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Values that a buffer needs to hold `rows` × `columns` entries of this view.
    fn needs(self, rows: usize, columns: usize) -> Option<usize> {
        if rows == 0 || columns == 0 {
            return Some(0);
        }
        let down = (rows - 1).checked_mul(self.row_stride)?;
        let along = (columns - 1).checked_mul(self.column_stride)?;
        let last = self.offset.checked_add(down)?.checked_add(along)?;
        last.checked_add(1)
    }
}

/// One product of an m × k and a k × n matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// A, m × k.
    pub a: View,
    /// B, k × n.
    pub b: View,
    /// C, m × n.
    pub c: View,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
}

/// How a result is cut: a cube computes a tile of `tile` × `tile` entries, a unit `micro` × `micro` of them, with
/// `chunk` terms of A and B at a time in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TileBlueprint {
    /// Side of a tile, a multiple of `micro`.
    pub tile: usize,
    /// Terms at a time.
    pub chunk: usize,
    /// Side of a unit's part.
    pub micro: usize,
    /// How the terms of an entry are summed.
    pub sums: Sums,
}

/// How the terms of an entry are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sums {
    /// In f32.
    #[default]
    Plain,
    /// With the rounding errors of f32 summed beside them; some eight times the work.
    Compensated,
}

impl Default for TileBlueprint {
    fn default() -> Self {
        Self {
            tile: 32,
            chunk: 16,
            micro: 4,
            sums: Sums::Plain,
        }
    }
}

impl TileBlueprint {
    pub(super) fn units(self) -> usize {
        (self.tile / self.micro) * (self.tile / self.micro)
    }

    fn check(self) -> Result<(), Error> {
        let fits = self.micro > 0
            && self.chunk > 0
            && self.tile > 0
            && self.tile.is_multiple_of(self.micro)
            && (self.tile * self.chunk).is_multiple_of(self.units());
        if fits {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            argument: "blueprint",
            found: format!("{self:?}"),
            expected: "tile a multiple of micro, and tile · chunk of the number of units".into(),
        })
    }
}

/// Products of one launch, on the device.
#[derive(Clone, Debug)]
pub struct Products {
    pub(super) problems: Handle,
    pub(super) tiles: Handle,
    pub(super) count: usize,
    pub(super) tile_count: usize,
    /// Values that the buffers of A, B and C need.
    pub(super) needs: [usize; 3],
    pub(super) blueprint: TileBlueprint,
}

impl Products {
    /// Uploads the tables of `products`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a blueprint that does not fit or an index beyond 2³².
    pub fn new(
        context: &Context,
        products: &[Product],
        blueprint: TileBlueprint,
    ) -> Result<Self, Error> {
        Self::gated(context, products, &vec![0; products.len()], blueprint)
    }

    /// As [`Products::new`], with an index of each product into the phases of a [`Gate`].
    pub(in crate::kronecker) fn gated(
        context: &Context,
        products: &[Product],
        gates: &[u32],
        blueprint: TileBlueprint,
    ) -> Result<Self, Error> {
        blueprint.check()?;
        let mut problems: Vec<u32> = Vec::with_capacity(products.len() * WORDS);
        let mut tiles: Vec<u32> = Vec::new();
        let mut needs = [0; 3];
        for (index, (product, &gate)) in products.iter().zip(gates).enumerate() {
            let Product { a, b, c, m, n, k } = *product;
            let own = [a.needs(m, k), b.needs(k, n), c.needs(m, n)];
            let fits = own
                .iter()
                .all(|own| own.is_some_and(|own| own <= u32::MAX as usize));
            for (all, own) in needs.iter_mut().zip(own) {
                *all = own.unwrap_or(0).max(*all);
            }
            let words = [
                a.offset,
                a.row_stride,
                a.column_stride,
                b.offset,
                b.row_stride,
                b.column_stride,
                c.offset,
                c.row_stride,
                m,
                n,
                k,
            ];
            if c.column_stride != 1 || c.row_stride < n || !fits {
                return Err(Error::Shape {
                    operation: OPERATION,
                    argument: "a product",
                    found: format!("{product:?}"),
                    expected: "C row by row without overlap, and indices below 2³²".into(),
                });
            }
            problems.extend(words.map(|word| word as u32));
            problems.push(gate);
            for row in (0..m).step_by(blueprint.tile) {
                for column in (0..n).step_by(blueprint.tile) {
                    tiles.extend([index as u32, row as u32, column as u32]);
                }
            }
        }
        let tile_count = tiles.len() / 3;
        // A buffer holds at least something.
        problems.resize(problems.len().max(1), 0);
        tiles.resize(tiles.len().max(1), 0);
        Ok(Self {
            problems: context.upload(&problems),
            tiles: context.upload(&tiles),
            count: products.len(),
            tile_count,
            needs,
            blueprint,
        })
    }
}
