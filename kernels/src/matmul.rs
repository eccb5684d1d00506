//! The one door to the matrix product, C = A B (+ C).
//!
//! On a CPU adapter the product runs on host memory through the `gemm` crate: measured on two cores at the
//! autoencoder's sizes it is an order of magnitude faster than a kernel on a software driver. Never TF32, never a lower
//! precision than asked.

use crate::error::Error;

/// A matrix in host memory: entry (i, j) is `values[i · row_stride + j · column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct HostMatrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> HostMatrix<'a> {
    /// A `rows × columns` matrix whose rows follow each other.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not exactly `rows · columns` values.
    pub fn row_major(values: &'a [f32], rows: usize, columns: usize) -> Result<Self, Error> {
        if values.len() != rows * columns {
            return Err(Error::Shape {
                operation: "matrix product",
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
}

/// C ← A B, or C ← C + A B if `accumulate`; C is row-major. All threads of the machine take part; the result does not
/// depend on how many there are beyond rounding.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit.
pub fn host(
    c: &mut [f32],
    a: HostMatrix<'_>,
    b: HostMatrix<'_>,
    accumulate: bool,
) -> Result<(), Error> {
    if a.columns != b.rows || c.len() != a.rows * b.columns {
        return Err(Error::Shape {
            operation: "matrix product",
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
    // SAFETY: each matrix holds rows · columns values with the strides given, checked when it was made and above; C is
    // borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            c.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
    Ok(())
}
