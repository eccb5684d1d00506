//! The preconditioned gradient: L^{−1/p} G R^{−1/p} for a matrix, S^{−1/p} g for a vector.

use super::blocking::Blocking;
use crate::error::Error;
use crate::product::{HostMatrix, host};

/// Room for one block, allocated once.
pub struct Workspace {
    left: Vec<f32>,
    both: Vec<f32>,
}

impl Workspace {
    /// Room for the largest block.
    pub fn new(blocking: &Blocking) -> Self {
        let values = blocking.blocks().iter().map(|b| b.rows * b.columns);
        let largest = values.max().unwrap_or(0);
        Self {
            left: vec![0.0; largest],
            both: vec![0.0; largest],
        }
    }
}

/// Writes the direction of all blocks into the arena `out`, in host memory; what belongs to no block stays as it is.
///
/// # Errors
/// [`Error::Shape`] if a buffer is too short.
pub fn direction(
    blocking: &Blocking,
    roots: &[f32],
    grads: &[f32],
    out: &mut [f32],
    workspace: &mut Workspace,
) -> Result<(), Error> {
    let values = blocking.arena_end();
    let room = blocking.blocks().iter().map(|b| b.rows * b.columns).max();
    let fits = roots.len() == blocking.factor_values()
        && grads.len() >= values
        && out.len() >= values
        && workspace.left.len() >= room.unwrap_or(0);
    if !fits {
        return Err(Error::Shape {
            operation: "kronecker direction",
            argument: "roots, grads, out or workspace",
            found: format!("{}, {}, {} values", roots.len(), grads.len(), out.len()),
            expected: format!(
                "{} roots, arenas of at least {values}, and the workspace of this blocking",
                blocking.factor_values()
            ),
        });
    }
    for block in blocking.blocks() {
        let (rows, columns) = (block.rows, block.columns);
        let g = HostMatrix::part(&grads[block.start..], rows, columns, block.stride)?;
        let factors = &blocking.factors()[block.factors.clone()];
        let root = |at: usize| {
            let factor = &factors[at];
            HostMatrix::row_major(&roots[factor.range.clone()], factor.n, factor.n)
        };
        let left = &mut workspace.left[..rows * columns];
        host(left, root(0)?, g, false)?;
        let done = if factors.len() > 1 {
            let both = &mut workspace.both[..rows * columns];
            let half = HostMatrix::row_major(left, rows, columns)?;
            host(both, half, root(1)?, false)?;
            both
        } else {
            left
        };
        for (row, values) in done.chunks_exact(columns).enumerate() {
            let at = block.start + row * block.stride;
            out[at..at + columns].copy_from_slice(values);
        }
    }
    Ok(())
}
