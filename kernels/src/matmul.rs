//! The door to single matrix products, C = A B (+ C); many small ones on a device go through
//! [`crate::kronecker::grouped_product`].
//!
//! On a CPU adapter the product runs on host memory through the `gemm` crate, [`host`]: measured on two cores at the
//! autoencoder's sizes it is an order of magnitude faster than a kernel on a software driver. On a graphics processor
//! it runs on device buffers through `cubek-matmul`, [`device`], with a kernel that is named and not searched for: the
//! automatic choice of that crate takes TF32 on CUDA, which keeps 10 of the 23 bits of a product's factors. Never a
//! lower precision than asked.

use core::ops::{Add, Mul};

use cubecl::ir::{ElemType, FloatKind, StorageType};
use cubecl::prelude::*;
use cubecl::server::Handle;
use cubek_matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek_matmul::launch::{Strategy as Routine, launch_ref};
use cubek_std::InputBinding;
use serde::{Deserialize, Serialize};
use sonew_runtime::Gpu;

use crate::buffers::require_bytes;
use crate::context::{Context, Grid};
use crate::error::Error;
use crate::sweep::Strategy;

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
}

/// C ← A B, or C ← C + A B if `accumulate`; C is row-major. All threads of the machine take part; the result does not
/// depend on how many there are beyond rounding.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit.
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
            read,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            weight,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
    Ok(())
}

/// Which kernel multiplies on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blueprint {
    /// Tiles in shared memory and registers, accumulated in f32.
    #[default]
    Tiled,
    /// One entry of C per unit: slow, and quick to compile on a software driver.
    Naive,
}

impl Blueprint {
    fn routine(self) -> Routine {
        match self {
            Self::Tiled => Routine::SimpleUnit(Default::default()),
            Self::Naive => Routine::Naive,
        }
    }
}

/// A matrix of f32 in a device buffer; entry (i, j) is value `i · row_stride + j · column_stride`.
#[derive(Clone, Debug)]
pub struct DeviceMatrix {
    values: Handle,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl DeviceMatrix {
    /// A `rows × columns` matrix whose rows follow each other.
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer does not hold exactly `rows · columns` values.
    pub fn row_major(values: Handle, rows: usize, columns: usize) -> Result<Self, Error> {
        require_bytes(OPERATION, "a matrix", &values, 4 * (rows * columns) as u64)?;
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

    fn binding(&self) -> TensorBinding<Gpu> {
        // SAFETY: the buffer holds rows · columns values with these strides, checked when the matrix was made.
        unsafe {
            TensorBinding::from_raw_parts(
                self.values.clone(),
                [self.row_stride, self.column_stride].into(),
                [self.rows, self.columns].into(),
            )
        }
    }
}

/// C ← A B in device memory; C is row-major, A and B may be transposed. Products and sums are in f32.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, C is transposed or a dimension is 0; [`Error::Unsupported`] if the
/// device cannot run the blueprint; launch errors as [`Context::launch`].
pub fn device(
    context: &Context,
    c: &DeviceMatrix,
    a: &DeviceMatrix,
    b: &DeviceMatrix,
    strategy: Strategy<Blueprint>,
) -> Result<(), Error> {
    let shape = |m: &DeviceMatrix| format!("{} × {}", m.rows, m.columns);
    let fits = a.columns == b.rows
        && (c.rows, c.columns) == (a.rows, b.columns)
        && (c.row_stride, c.column_stride) == (c.columns, 1)
        && c.rows * c.columns * a.columns > 0;
    if !fits {
        return Err(Error::Shape {
            operation: OPERATION,
            argument: "shapes",
            found: format!("({}) · ({}) into {}", shape(a), shape(b), shape(c)),
            expected: "(m × k) · (k × n) into a row-major m × n, none of them 0".into(),
        });
    }
    let blueprint = strategy.resolve(Blueprint::default);
    let float = StorageType::Scalar(ElemType::Float(FloatKind::F32));
    let (left, right, out) = (a.binding(), b.binding(), c.binding());
    let variant = (
        blueprint,
        [a.rows, a.columns, b.columns],
        [a.row_stride, b.row_stride],
    );
    // The kernel chooses its own geometry; this one stands for its buffers: A, B, C and the scalars.
    let grid = Grid {
        cubes: 1,
        units: 1,
        buffers: 4,
    };
    let mut refused = None;
    let refusal = &mut refused;
    context.launch(OPERATION, variant, grid, move |client, _, _| {
        let mut formats = MatmulElems::from_globals(&MatmulGlobalElems {
            lhs: float,
            rhs: float,
            out: float,
        });
        *refusal = launch_ref(
            &blueprint.routine(),
            client,
            InputBinding::new(left, float),
            InputBinding::new(right, float),
            out,
            &mut formats,
        )
        .err()
        .map(|error| format!("{blueprint:?}: {error}"));
    })?;
    match refused {
        None => Ok(()),
        Some(reason) => Err(Error::Unsupported {
            operation: OPERATION,
            reason,
        }),
    }
}
