//! Products in host memory, through the `gemm` crate: the route of CPU adapters. Measured on two cores at the
//! autoencoder's sizes it is an order of magnitude faster than a kernel on a software driver.

use core::ops::{Add, Mul};

use crate::error::Error;
use crate::host::{At, multiply};

const OPERATION: &str = "matrix product";

/// A number that the host product computes with.
pub trait HostFloat:
    Copy + Send + Sync + Add<Output = Self> + Mul<Output = Self> + Into<f64> + sealed::Sealed + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// Rounded to this format.
    fn rounded(x: f64) -> Self;
}

/// The product knows these formats and no other.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl HostFloat for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn rounded(x: f64) -> Self {
        x as Self
    }
}

impl HostFloat for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn rounded(x: f64) -> Self {
        x
    }
}

/// A matrix in host memory: entry (i, j) is `values[i · row_stride + j · column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct HostMatrix<'a, F = f32> {
    values: &'a [F],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, F: HostFloat> HostMatrix<'a, F> {
    /// A `rows × columns` matrix whose rows follow each other.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not exactly `rows · columns` values.
    pub fn row_major(values: &'a [F], rows: usize, columns: usize) -> Result<Self, Error> {
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "a matrix",
                found: format!("{} values", values.len()),
                expected: format!("{rows} × {columns}"),
            });
        }
        Ok(Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        })
    }

    /// A `rows × columns` matrix at the start of `values`, with `row_stride` values from one row to the next.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows overlap or reach beyond the values.
    pub fn part(
        values: &'a [F],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        let needed = rows
            .saturating_sub(1)
            .checked_mul(row_stride)
            .and_then(|before| before.checked_add(columns));
        if row_stride < columns || needed.is_none_or(|needed| values.len() < needed) {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "part of a matrix",
                found: format!("{} values, rows {row_stride} apart", values.len()),
                expected: format!("{rows} rows of {columns}"),
            });
        }
        Ok(Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        })
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn at(&self) -> At<*const F> {
        let strides = [self.row_stride, self.column_stride];
        (self.values.as_ptr(), strides)
    }
}

/// C ← A B, or C ← C + A B if `accumulate`; C is row-major. All threads of the machine take part; the result does not
/// depend on how many there are beyond rounding.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, [`Error::NotBuilt`] without the feature `host`.
pub fn host<F: HostFloat>(
    c: &mut [F],
    a: HostMatrix<'_, F>,
    b: HostMatrix<'_, F>,
    accumulate: bool,
) -> Result<(), Error> {
    let keep = if accumulate { F::ONE } else { F::ZERO };
    host_weighted(c, keep, accumulate, a, b, F::ONE)
}

/// C ← `keep` · C + `weight` · A B, where what C holds is not read unless `read`.
///
/// # Errors
/// As [`host`].
pub(crate) fn host_weighted<F: HostFloat>(
    c: &mut [F],
    keep: F,
    read: bool,
    a: HostMatrix<'_, F>,
    b: HostMatrix<'_, F>,
    weight: F,
) -> Result<(), Error> {
    if a.columns != b.rows || a.rows.checked_mul(b.columns) != Some(c.len()) {
        return Err(Error::Shape {
            operation: OPERATION,
            argument: "shapes",
            found: format!(
                "({} × {}) · ({} × {}) into {} values",
                a.rows,
                a.columns,
                b.rows,
                b.columns,
                c.len()
            ),
            expected: "(m × k) · (k × n) into m · n values".into(),
        });
    }
    if c.is_empty() {
        return Ok(());
    }
    let sizes = [a.rows, b.columns, a.columns];
    let c = (c.as_mut_ptr(), [b.columns, 1]);
    // SAFETY: each matrix holds rows · columns values with the strides given, checked when it was made and above; C is
    // borrowed mutably, so it overlaps neither.
    unsafe { multiply(sizes, c, keep, read, a.at(), b.at(), weight) }
}
