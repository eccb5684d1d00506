//! How a number lies in memory and how it is computed with: the two type parameters of every kernel.
//!
//! A kernel reads `width` consecutive values at a time into registers, computes there in f32, and writes `width`
//! values back. [`Storage`] says how those values lie in memory, [`Arithmetic`] says to what format the result of each
//! operation is rounded. Registers are always f32: for formats with at most 11 significant bits, `+ − × ÷ √` computed
//! in f32 and then rounded give exactly the result of the narrow operation (24 ≥ 2·11 + 2 bits), so a kernel computes
//! the same bits whether or not the device knows the format.

use core::marker::PhantomData;
use cubecl::prelude::*;

/// How numbers lie in memory.
///
/// A buffer is an array of vectors of [`Storage::Word`]; a word holds [`Storage::PER_WORD`] values.
#[cube]
pub trait Storage: Send + Sync + 'static {
    /// The element type of the buffer.
    type Word: Scalar;
    /// Values in one word.
    const PER_WORD: usize;
    /// Bytes of one value.
    const BYTES: usize;

    /// The `width` values in the vector at index `at`, widened to f32.
    fn load<N: Size>(
        from: &Array<Vector<Self::Word, N>>,
        at: usize,
        #[comptime] width: usize,
    ) -> Sequence<f32>;

    /// Stores `values` into the vector at index `at`, rounded to the format (to nearest, ties to even).
    fn store<N: Size>(
        to: &mut Array<Vector<Self::Word, N>>,
        at: usize,
        values: &Sequence<f32>,
        #[comptime] width: usize,
    );
}

/// One value per word, in a type that the device computes with.
pub struct Native<F>(PhantomData<F>);

#[cube]
impl<F: Float> Storage for Native<F> {
    type Word = F;
    const PER_WORD: usize = 1;
    const BYTES: usize = size_of::<F>();

    fn load<N: Size>(
        from: &Array<Vector<F, N>>,
        at: usize,
        #[comptime] width: usize,
    ) -> Sequence<f32> {
        let vector = from[at];
        let mut values = Sequence::<f32>::new();
        #[unroll]
        for lane in 0..width {
            values.push(f32::cast_from(vector[lane]));
        }
        values
    }

    fn store<N: Size>(
        to: &mut Array<Vector<F, N>>,
        at: usize,
        values: &Sequence<f32>,
        #[comptime] width: usize,
    ) {
        let mut vector = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..width {
            vector[lane] = F::cast_from(*values.index(lane));
        }
        to[at] = vector;
    }
}

/// To what format the result of each operation is rounded.
#[cube]
pub trait Arithmetic: Send + Sync + 'static {
    /// `x` rounded to the format of the arithmetic.
    fn round(x: f32) -> f32;
}

/// f32 operations, not rounded further. The device may contract a product and a sum into one fused operation.
pub struct Exact;

#[cube]
impl Arithmetic for Exact {
    fn round(x: f32) -> f32 {
        x
    }
}

/// A scalar argument, copied into a register.
///
/// Scalar arguments lie in a buffer, and a kernel reads them there wherever they are named. A driver that cannot tell
/// that no store touches that buffer reads them again in every iteration.
#[cube]
pub(crate) fn held(argument: f32) -> f32 {
    let mut register = 0.0f32;
    register += argument;
    register
}

/// `a + b`, rounded once.
#[cube]
pub fn sum<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a + b)
}

/// `a − b`, rounded once.
#[cube]
pub fn difference<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a - b)
}

/// `a · b`, rounded once.
#[cube]
pub fn product<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a * b)
}

/// `a / b`, rounded once.
#[cube]
pub fn quotient<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a / b)
}

/// A named choice of storage and arithmetic for one optimizer or network.
pub trait Precision: Send + Sync + 'static {
    /// How parameters and gradients lie in memory.
    type Params: Storage;
    /// How optimizer states lie in memory.
    type State: Storage;
    /// How results are rounded.
    type Math: Arithmetic;
    /// The name on the command line.
    const NAME: &'static str;
}

/// Everything stored and computed in f32.
pub struct F32;

impl Precision for F32 {
    type Params = Native<f32>;
    type State = Native<f32>;
    type Math = Exact;
    const NAME: &'static str = "f32";
}
