//! What is multiplied: views of buffers, products of views, and how their results are cut into tiles.

use cubecl::server::Handle;

use super::OPERATION;
use super::blueprint::Blueprint;
use super::factors::Parts;
use super::stage::{Access, Beside};
use crate::context::Context;
use crate::error::Error;
use crate::launch::Strategy;

/// Words of a product in the table.
pub(super) const WORDS: usize = 15;
/// Words of a tile: its product, its first row and its first column.
pub(super) const TILE: usize = 3;
/// Rows of tiles that are computed next to each other, so that those at work at one time share what they read.
const BAND: usize = 8;

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

impl Product {
    /// Of an m × k and a k × n matrix whose rows follow each other from the start of their buffers, into another such.
    pub fn row_major([m, k, n]: [usize; 3]) -> Self {
        Self {
            a: View::rows(0, k),
            b: View::rows(0, n),
            c: View::rows(0, n),
            m,
            n,
            k,
        }
    }
}

/// A product, and what its tail looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub product: Product,
    /// Its index into the phases of a gate.
    pub gate: u32,
    /// Where the bias begins, or the sums of the rows of A go.
    pub line: usize,
    /// What lies beside C.
    pub beside: View,
    /// Whether the last of the n columns is one of ones, which C does not have.
    pub line_sums: bool,
    /// Whether C is symmetric, so that its part above the diagonal is that below it.
    pub symmetric: bool,
}

impl From<Product> for Entry {
    fn from(product: Product) -> Self {
        Self {
            product,
            gate: 0,
            line: 0,
            beside: View::rows(0, 0),
            line_sums: false,
            symmetric: false,
        }
    }
}

impl Entry {
    /// Columns of C.
    fn columns(&self) -> usize {
        self.product.n - usize::from(self.line_sums)
    }
}

/// An operand: its view as lines of terms, and how many there are of both.
#[derive(Clone, Copy)]
struct Lines {
    offset: usize,
    line_stride: usize,
    term_stride: usize,
    lines: usize,
    terms: usize,
}

impl Lines {
    fn of_a(product: &Product) -> Self {
        let Product { a, m, k, .. } = *product;
        Self {
            offset: a.offset,
            line_stride: a.row_stride,
            term_stride: a.column_stride,
            lines: m,
            terms: k,
        }
    }

    fn of_b(product: &Product) -> Self {
        let Product { b, n, k, .. } = *product;
        Self {
            offset: b.offset,
            line_stride: b.column_stride,
            term_stride: b.row_stride,
            lines: n,
            terms: k,
        }
    }

    /// Whether vectors of so many values can be read along its terms, or its lines.
    fn allows(&self, access: Access) -> bool {
        let width = access.width;
        // The last vector of a line may reach into the gap behind it, but not beyond what is the only line.
        let fits = |along: (usize, usize), across: (usize, usize)| {
            let (stride, count) = along;
            let (pitch, lines) = across;
            (stride == 1 || count <= 1)
                && (lines <= 1 || pitch.is_multiple_of(width))
                && (lines > 1 || count.is_multiple_of(width))
        };
        let lines = (self.line_stride, self.lines);
        let terms = (self.term_stride, self.terms);
        self.offset.is_multiple_of(width)
            && match access.beside {
                Beside::Terms => fits(terms, lines),
                Beside::Lines => fits(lines, terms),
                Beside::Neither => true,
            }
    }

    /// Values that a buffer needs to hold for it, read so.
    fn needs(&self, access: Access) -> Option<usize> {
        let (mut lines, mut terms) = (self.lines, self.terms);
        match access.beside {
            Beside::Terms => terms = terms.next_multiple_of(access.width),
            Beside::Lines => lines = lines.next_multiple_of(access.width),
            Beside::Neither => {}
        }
        let view = View {
            offset: self.offset,
            row_stride: self.line_stride,
            column_stride: self.term_stride,
        };
        view.needs(lines, terms)
    }
}

/// How operands of one launch are read: in vectors as wide as all of them allow.
fn access(operands: &[Lines]) -> Access {
    let options = [4, 2]
        .into_iter()
        .flat_map(|width| [Beside::Lines, Beside::Terms].map(|beside| Access { beside, width }));
    let allowed = |access: &Access| operands.iter().all(|operand| operand.allows(*access));
    options.into_iter().find(allowed).unwrap_or(Access {
        beside: Beside::Neither,
        width: 1,
    })
}

/// Products of one launch, on the device.
#[derive(Clone, Debug)]
pub struct Products {
    pub(super) problems: Handle,
    pub(super) tiles: Handle,
    pub(super) count: usize,
    pub(super) tile_count: usize,
    /// Values that the buffers of A, B, C, of what is added to a row of C, and of what lies beside it need.
    pub(super) needs: [usize; 5],
    pub(super) blueprint: Blueprint,
    pub(super) a: Access,
    pub(super) b: Access,
    /// Values of C at once.
    pub(super) width: usize,
    pub(super) line_sums: bool,
    pub(super) symmetric: bool,
}

impl Products {
    /// Uploads the tables of `products`. Those that lie in memory alike, transposed or not, and all of whose strides are multiples of
    /// 4, are read the fastest.
    ///
    /// A vector may reach beyond a row, up to a multiple of 4, where the row's stride is one: the buffer must reach as far.
    ///
    /// # Errors
    /// [`Error::Shape`] for a blueprint that does not fit or an index beyond 2³²; [`Error::Unsupported`] where the device lacks what
    /// its factors need.
    pub fn new(
        context: &Context,
        products: &[Product],
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let entries: Vec<Entry> = products.iter().map(|&product| product.into()).collect();
        Self::of(context, &entries, None, strategy)
    }

    /// As [`Products::new`], of square results that are symmetric: a gradient times its transpose, the square of a symmetric
    /// matrix. Entries on and below the diagonal are computed, with some above, and stand above it too.
    ///
    /// # Errors
    /// As [`Products::new`].
    pub fn symmetric(
        context: &Context,
        products: &[Product],
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let symmetric = |&product: &Product| Entry {
            symmetric: true,
            ..product.into()
        };
        let entries: Vec<Entry> = products.iter().map(symmetric).collect();
        Self::of(context, &entries, None, strategy)
    }

    /// As [`Products::new`], of products whose tails look at more than A and B; all or none have sums of lines, or are symmetric. Matrix units
    /// multiply `parts` of A and B, if any are given and no blueprint is.
    pub(crate) fn of(
        context: &Context,
        entries: &[Entry],
        parts: Option<Parts>,
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        let results = || {
            entries
                .iter()
                // Half of a symmetric result is computed.
                .map(|entry| {
                    let Product { m, n, .. } = entry.product;
                    [m, if entry.symmetric { n.div_ceil(2) } else { n }]
                })
        };
        let blueprint = strategy.resolve(|| Blueprint::choose(context, parts, results()));
        blueprint.check()?;
        blueprint.factors.require(context)?;
        let of = |lines: fn(&Product) -> Lines| -> Vec<Lines> {
            entries.iter().map(|entry| lines(&entry.product)).collect()
        };
        let (left, right) = (of(Lines::of_a), of(Lines::of_b));
        let (a, b) = (access(&left), access(&right));
        let width = width(entries);
        let mut problems: Vec<u32> = Vec::with_capacity(entries.len() * WORDS);
        let mut tiles: Vec<u32> = Vec::new();
        let mut needs = [0; 5];
        for (index, entry) in entries.iter().enumerate() {
            let Product { c, m, n, k, .. } = entry.product;
            let columns = entry.columns();
            let own = [
                left[index].needs(a),
                right[index].needs(b),
                c.needs(m, columns),
                entry
                    .line
                    .checked_add(if entry.line_sums { m } else { columns }),
                entry.beside.needs(m, columns),
            ];
            let fits = own
                .iter()
                .all(|own| own.is_some_and(|own| own <= u32::MAX as usize));
            for (all, own) in needs.iter_mut().zip(own) {
                *all = own.unwrap_or(0).max(*all);
            }
            let square = m == columns || !entry.symmetric;
            if c.column_stride != 1 || c.row_stride < columns || !fits || !square {
                return Err(Error::Shape {
                    operation: OPERATION,
                    argument: "a product",
                    found: format!("{:?}", entry.product),
                    expected: "C row by row without overlap, square if it is symmetric, and indices below 2³²"
                        .into(),
                });
            }
            let words = [
                left[index].offset,
                left[index].line_stride,
                left[index].term_stride,
                right[index].offset,
                right[index].line_stride,
                right[index].term_stride,
                c.offset,
                c.row_stride,
                m,
                n,
                k,
                entry.gate as usize,
                entry.line,
                entry.beside.offset,
                entry.beside.row_stride,
            ];
            problems.extend(words.map(|word| word as u32));
            for band in (0..m).step_by(BAND * blueprint.rows) {
                for column in (0..n).step_by(blueprint.columns) {
                    let end = m.min(band + BAND * blueprint.rows);
                    for row in (band..end).step_by(blueprint.rows) {
                        if !entry.symmetric || column < row + blueprint.rows {
                            tiles.extend([index as u32, row as u32, column as u32]);
                        }
                    }
                }
            }
        }
        let tile_count = tiles.len() / TILE;
        // A buffer holds at least something.
        problems.resize(problems.len().max(1), 0);
        tiles.resize(tiles.len().max(1), 0);
        Ok(Self {
            problems: context.upload(&problems),
            tiles: context.upload(&tiles),
            count: entries.len(),
            tile_count,
            needs,
            blueprint,
            a,
            b,
            width,
            line_sums: entries.iter().any(|entry| entry.line_sums),
            symmetric: entries.iter().any(|entry| entry.symmetric),
        })
    }

    /// Tiles of all results that are computed: a cube each, up to 2¹⁵ of them.
    pub fn tiles(&self) -> usize {
        self.tile_count
    }

    /// How the results are cut.
    pub fn blueprint(&self) -> Blueprint {
        self.blueprint
    }
}

/// Values of C that are written at once: as many as all rows, and all that is beside them, allow.
fn width(entries: &[Entry]) -> usize {
    let allows = |width: usize, entry: &Entry| {
        let Product { c, m, .. } = entry.product;
        let view = |view: View| {
            view.offset.is_multiple_of(width) && (m <= 1 || view.row_stride.is_multiple_of(width))
        };
        entry.columns().is_multiple_of(width)
            && view(c)
            && view(entry.beside)
            && entry.line.is_multiple_of(width)
    };
    let allowed = |width: &usize| entries.iter().all(|entry| allows(*width, entry));
    [4, 2].into_iter().find(allowed).unwrap_or(1)
}
