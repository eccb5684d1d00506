//! What the kernels know of the matrices, and how a cube finds its row.

use cubecl::prelude::*;

/// Units of a cube.
pub(super) const UNITS: usize = 64;
/// Cubes at most.
pub(super) const CUBES: usize = 1 << 15;

/// Words of a matrix: start, n, the iteration's order, p, index of the first row.
pub(super) const MATRIX: usize = 5;
/// Words of a row: its matrix, and its index there.
pub(super) const ROW: usize = 2;

/// A matrix as a row or a cube sees it.
#[derive(CubeType)]
pub(super) struct Place {
    pub matrix: usize,
    pub start: usize,
    pub n: usize,
    /// An even number: p, or 2 p.
    pub order: u32,
    pub p: u32,
    pub first_row: usize,
    /// The row's index in its matrix.
    pub row: usize,
}

#[cube]
pub(super) fn place_of_matrix(matrices: &Array<u32>, matrix: usize) -> Place {
    let at = matrix * MATRIX;
    Place {
        matrix,
        start: matrices[at] as usize,
        n: matrices[at + 1] as usize,
        order: matrices[at + 2],
        p: matrices[at + 3],
        first_row: matrices[at + 4] as usize,
        row: 0,
    }
}

#[cube]
pub(super) fn place_of_row(matrices: &Array<u32>, rows: &Array<u32>, row: usize) -> Place {
    let mut place = place_of_matrix(matrices, rows[row * ROW] as usize);
    place.row = rows[row * ROW + 1] as usize;
    place
}

/// 2^k for −126 ≤ k ≤ 127.
#[cube]
pub(super) fn power_of_two(k: i32) -> f32 {
    f32::reinterpret(u32::cast_from(k + 127) << 23)
}
