//! With the feature `host`: products by `gemm`, eigenvectors by `faer`, threads by `rayon`.

use rayon::prelude::*;

use super::{At, Eigen};
use crate::error::Error;
use crate::product::HostFloat;

/// C ← `keep` · C + `weight` · A B of m × k and k × n matrices, where what C holds is not read unless `read`.
///
/// # Safety
/// Each matrix holds all its entries at its address, and C overlaps neither factor.
pub(crate) unsafe fn multiply<F: HostFloat>(
    [m, n, k]: [usize; 3],
    (c, [c_row, c_column]): At<*mut F>,
    keep: F,
    read: bool,
    (a, [a_row, a_column]): At<*const F>,
    (b, [b_row, b_column]): At<*const F>,
    weight: F,
) -> Result<(), Error> {
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            c_column as isize,
            c_row as isize,
            read,
            a,
            a_column as isize,
            a_row as isize,
            b,
            b_column as isize,
            b_row as isize,
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

/// As [`sonew_host::eigen::symmetric`].
pub(crate) fn symmetric(a: &[f64], n: usize) -> Result<Option<Eigen>, Error> {
    let found = sonew_host::eigen::symmetric(a, n);
    Ok(found.map(|it| Eigen {
        values: it.values,
        vectors: it.vectors,
    }))
}

/// Calls `change` on parts of `values`, shared between the threads of the machine.
pub(crate) fn each_part(values: &mut [f32], change: impl Fn(&mut [f32]) + Send + Sync) {
    values.par_chunks_mut(1 << 14).for_each(change);
}
