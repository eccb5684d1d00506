//! One column of the factor, in registers: ψ = G⁻¹ r and the pivot S = h − rᵀ ψ, where h = H_jj, r = H_{I_j j} and
//! G = H_{I_j I_j} is b × b.
//!
//! G is factored as L̃ D̃ L̃ᵀ without pivoting, the farthest neighbour first. In that order the pivot of a neighbour is
//! its variance given the later ones, at least its own S; a neighbour whose pivot is not above the tolerance adds
//! nothing that the later ones do not already say, and is left out of the column (the pseudo-inverse), so S is defined
//! even where G is singular.
//!
//! No term is a product of two entries of H: each is an entry of H, or of ψ, or one times the other, so that c·H has the ψ of
//! H and its pivots times c. For c a power of two that holds to the last bit as long as every term is 0 or a normal number of
//! the arithmetic's format. No term exceeds the largest H_jj, and 1/S has to be normal too, so that is at most
//!
//! | arithmetic | H_jj and S_j |
//! |---|---|
//! | f32, bf16 | 2⁻¹²⁶ to 2¹²⁶ |
//! | f16 | 2⁻¹⁴ to 2¹⁴ |
//!
//! and less below for a term that is much smaller than its pivot, where it hardly matters: by gradual underflow it is off by
//! less than a rounding of the pivot. Columns whose S is beyond that are counted ([`crate::evidence`]).

use cubecl::prelude::*;

use crate::precision::{Arithmetic, difference, held, product, quotient, sum};

/// γ as the kernels see it.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Gamma {
    pub(crate) absolute: f32,
    pub(crate) relative: f32,
}

#[cube]
impl Gamma {
    /// A copy in registers.
    pub(crate) fn held(&self) -> Gamma {
        Gamma {
            absolute: held(self.absolute),
            relative: held(self.relative),
        }
    }
}

/// Whether a pivot may be trusted: pivot > γ_abs + γ_rel · h. False for NaN.
#[cube]
pub(crate) fn trusted<A: Arithmetic>(pivot: f32, h: f32, gamma: Gamma) -> bool {
    pivot > sum::<A>(gamma.absolute, product::<A>(gamma.relative, h))
}

/// 1/x, or 0 where x is not a positive normal number: no information, no move.
#[cube]
pub(crate) fn reciprocal<A: Arithmetic>(x: f32) -> f32 {
    select(x >= A::least_invertible(), quotient::<A>(1.0, x), 0.0)
}

/// Whether a column with H_jj = `h` has a pivot without a normal reciprocal: D then is 0 or has lost digits.
#[cube]
pub(crate) fn out_of_range<A: Arithmetic>(pivot: f32, h: f32) -> bool {
    h != 0.0 && !(pivot >= A::least_invertible() && pivot <= A::largest_invertible())
}

/// Registers that the elimination works in.
#[derive(CubeType)]
pub(crate) struct Workspace {
    lower: Array<f32>,
    row: Array<f32>,
    inverse: Array<f32>,
    /// D̃⁺ L̃⁻¹ r.
    solved: Array<f32>,
}

#[cube]
impl Workspace {
    pub(crate) fn new(#[comptime] band: usize) -> Workspace {
        Workspace {
            lower: Array::new(comptime!(core::cmp::max(band * band, 1))),
            row: Array::new(comptime!(core::cmp::max(band, 1))),
            inverse: Array::new(comptime!(core::cmp::max(band, 1))),
            solved: Array::new(comptime!(core::cmp::max(band, 1))),
        }
    }
}

/// A window of consecutive columns of H: `diagonal[c]`, and `edges[k · span + c]` that couples c and c+1+k.
#[derive(CubeType)]
pub(crate) struct Window {
    pub(crate) diagonal: Array<f32>,
    pub(crate) edges: Array<f32>,
    /// 1 for a vertex that keeps its edges, 0 for one that is cut; read only when masked.
    pub(crate) keep: Array<f32>,
}

/// The edge of the window that couples `c` and `c+1+k`, 0 if `masked` and either end is cut.
#[cube]
fn edge(
    window: &Window,
    k: usize,
    c: usize,
    #[comptime] span: usize,
    #[comptime] masked: bool,
) -> f32 {
    let value = window.edges[k * span + c];
    if comptime!(masked) {
        // A select, because a cut vertex may hold NaN.
        let kept = window.keep[c] * window.keep[c + k + 1] > 0.5;
        select(kept, value, 0.0)
    } else {
        value
    }
}

/// Eliminates column `c` of the window: writes ψ, nearest neighbour first, and returns the pivot S.
#[cube]
pub(crate) fn eliminate<A: Arithmetic>(
    window: &Window,
    c: usize,
    gamma: Gamma,
    work: &mut Workspace,
    psi: &mut Array<f32>,
    #[comptime] band: usize,
    #[comptime] span: usize,
    #[comptime] masked: bool,
    #[comptime] unroll: bool,
) -> f32 {
    let mut pivot = window.diagonal[c];
    #[unroll(unroll)]
    for p in 0..band {
        // Neighbour p sits at column c + band − p: p = 0 is the farthest.
        let at = c + band - p;
        let h = window.diagonal[at];
        let mut d = h;
        let mut z = edge(window, band - p - 1, c, span, masked);
        #[unroll(unroll)]
        for q in 0..p {
            let mut v = edge(window, p - q - 1, at, span, masked);
            #[unroll(unroll)]
            for s in 0..q {
                v = difference::<A>(v, product::<A>(work.row[s], work.lower[q * band + s]));
            }
            let f = product::<A>(v, work.inverse[q]);
            d = difference::<A>(d, product::<A>(v, f));
            z = difference::<A>(z, product::<A>(v, work.solved[q]));
            work.row[q] = v;
            work.lower[p * band + q] = f;
        }
        let inverse = select(trusted::<A>(d, h, gamma), reciprocal::<A>(d), 0.0);
        let solved = product::<A>(z, inverse);
        work.inverse[p] = inverse;
        work.solved[p] = solved;
        pivot = difference::<A>(pivot, product::<A>(z, solved));
    }
    back_substitute::<A>(work, psi, band, unroll);
    pivot
}

/// x of L̃ᵀ x = f, nearest neighbour first, where f is what `solved` holds.
#[cube]
fn back_substitute<A: Arithmetic>(
    work: &Workspace,
    x: &mut Array<f32>,
    #[comptime] band: usize,
    #[comptime] unroll: bool,
) {
    #[unroll(unroll)]
    for back in 0..band {
        let p = band - 1 - back;
        let mut value = work.solved[p];
        #[unroll(unroll)]
        for ahead in 0..back {
            // x[ahead] belongs to neighbour q = band − 1 − ahead > p.
            let q = band - 1 - ahead;
            value = difference::<A>(value, product::<A>(work.lower[q * band + p], x[ahead]));
        }
        x[back] = value;
    }
}

/// g = G⁻¹ e of the column just eliminated, e the farthest neighbour's unit vector; nearest neighbour first.
#[cube]
pub(crate) fn inverse_column<A: Arithmetic>(
    work: &mut Workspace,
    g: &mut Array<f32>,
    #[comptime] band: usize,
    #[comptime] unroll: bool,
) {
    // The farthest neighbour is the first to be eliminated. No row of L̃ is being made any more.
    #[unroll(unroll)]
    for p in 0..band {
        let mut z = select(p == 0, 1.0f32, 0.0f32);
        #[unroll(unroll)]
        for q in 0..p {
            z = difference::<A>(z, product::<A>(work.lower[p * band + q], work.row[q]));
        }
        work.row[p] = z;
        work.solved[p] = product::<A>(z, work.inverse[p]);
    }
    back_substitute::<A>(work, g, band, unroll);
}
