//! How a number lies in memory and how it is computed with: the two type parameters of every kernel.
//!
//! A kernel reads `width` consecutive values at a time into registers, computes there in f32, and writes `width`
//! values back. [`Storage`] says how those values lie in memory, [`Arithmetic`] says to what format the result of each
//! operation is rounded. Registers are always f32: for formats with at most 11 significant bits, `+ − × ÷ √` computed
//! in f32 and then rounded give exactly the result of the narrow operation (24 ≥ 2·11 + 2 bits), so a kernel computes
//! the same bits whether or not the device knows the format.
//!
//! Every `+ − × ÷ √` of a formula is rounded. Not rounded are hyperparameters and bias corrections, and the norms of a
//! tensor and what is computed from them alone, which are f32 in every precision.
//!
//! | precision | parameters, gradients | states | computed in |
//! |---|---|---|---|
//! | [`F32`] | f32 | f32 | f32 |
//! | [`Bf16`] | bf16 | bf16 | bf16, each result rounded |
//! | [`Bf16Mixed`] | bf16 | f32 | f32 |
//! | [`F16`] | f16 | f16 | f16, each result rounded |
//! | [`F16Mixed`] | f16 | f32 | f32 |
//! | [`Bf16Compact`] | bf16 | bf16 | f32 |
//! | [`Bf16States`] | f32 | bf16 | f32 |
//!
//! bf16 is read and written by integer operations ([`Pairs`]) and needs no support; f16 needs a device that computes with it.

mod bfloat;
mod convert;
mod format;
mod host;
mod inspect;
mod kind;
mod stochastic;
mod twins;

pub use bfloat::{Pairs, RoundBf16};
pub use convert::{convert, round_stochastically};
pub use format::Format;
pub use host::HostFormat;
pub use inspect::inspect;
pub use kind::{PrecisionKind, PrecisionVisitor};
pub use stochastic::Stochastic;
pub use twins::Twins;

use core::marker::PhantomData;
use cubecl::ir::StorageType;
use cubecl::ir::features::TypeUsage;
use cubecl::prelude::*;
use half::f16;

use crate::context::Context;
use crate::error::Error;

/// How numbers lie in memory.
///
/// A buffer is an array of vectors of [`Storage::Word`]; a word holds [`Storage::PER_WORD`] values.
// The macro adds functions to a trait that no comment reaches.
#[allow(missing_docs)]
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

    /// The largest finite value.
    fn largest() -> f32;

    /// x rounded to the format.
    fn nearest(x: f32) -> f32;
}

/// A type of the device, and its largest value.
// The macro adds functions to a trait that no comment reaches.
#[allow(missing_docs)]
#[cube]
pub trait Bounded: Float {
    /// The largest finite value.
    fn largest() -> f32;
}

#[cube]
impl Bounded for f32 {
    fn largest() -> f32 {
        f32::new(3.402_823_5e38)
    }
}

#[cube]
impl Bounded for f16 {
    fn largest() -> f32 {
        f32::new(65504.0)
    }
}

/// One value per word, in a type that the device computes with.
pub struct Native<F>(PhantomData<F>);

#[cube]
impl<F: Bounded> Storage for Native<F> {
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

    fn largest() -> f32 {
        F::largest()
    }

    fn nearest(x: f32) -> f32 {
        f32::cast_from(F::cast_from(x))
    }
}

/// To what format the result of each operation is rounded.
// The macro adds functions to a trait that no comment reaches.
#[allow(missing_docs)]
#[cube]
pub trait Arithmetic: Send + Sync + 'static {
    /// `x` rounded to the format of the arithmetic.
    fn round(x: f32) -> f32;

    /// The least x > 0 whose reciprocal is finite and that no device flushes to 0.
    fn least_invertible() -> f32;

    /// The largest x whose reciprocal is a normal number.
    fn largest_invertible() -> f32;
}

/// f32 operations, not rounded further. The device may contract a product and a sum into one fused operation.
pub struct Exact;

#[cube]
impl Arithmetic for Exact {
    fn round(x: f32) -> f32 {
        x
    }

    fn least_invertible() -> f32 {
        f32::new(1.175_494_4e-38)
    }

    fn largest_invertible() -> f32 {
        f32::new(8.507_059e37)
    }
}

/// The result of each operation rounded to f16.
pub struct RoundF16;

#[cube]
impl Arithmetic for RoundF16 {
    fn round(x: f32) -> f32 {
        f32::cast_from(f16::cast_from(x))
    }

    fn least_invertible() -> f32 {
        f32::new(6.103_515_6e-5)
    }

    fn largest_invertible() -> f32 {
        f32::new(16384.0)
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
pub(crate) fn sum<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a + b)
}

/// `a − b`, rounded once.
#[cube]
pub(crate) fn difference<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a - b)
}

/// `a · b`, rounded once.
#[cube]
pub(crate) fn product<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a * b)
}

/// `a / b`, rounded once.
#[cube]
pub(crate) fn quotient<A: Arithmetic>(a: f32, b: f32) -> f32 {
    A::round(a / b)
}

/// A named choice of storage and arithmetic for one optimizer or network.
pub trait Precision: Send + Sync + 'static {
    /// How parameters and gradients lie in memory.
    type Params: HostFormat + Stochastic;
    /// How optimizer states lie in memory.
    type State: HostFormat + Stochastic;
    /// How results are rounded.
    type Math: Arithmetic;
    /// The same numbers and bytes, read in 64-bit words where [`Sweep::twins`](crate::launch::Sweep::twins) says so; itself where
    /// there is no such form.
    type Twin: Precision;
    /// The name on the command line.
    const NAME: &'static str;
    /// γ relative to H_jj below which a pivot of SONew is not trusted: about the machine epsilon of states and arithmetic,
    /// for f32 and bf16 as the authors' code has it.
    const GAMMA: f64;
}

macro_rules! precision {
    ($(#[$doc:meta])* $name:ident, $text:literal, $params:ty, $state:ty, $math:ty, $gamma:literal) => {
        precision!($(#[$doc])* $name, $text, $params, $state, $math, $gamma, $name);
    };
    ($(#[$doc:meta])* $name:ident, $text:literal, $params:ty, $state:ty, $math:ty, $gamma:literal, $twin:ident) => {
        $(#[$doc])*
        pub struct $name;

        impl Precision for $name {
            type Params = $params;
            type State = $state;
            type Math = $math;
            type Twin = $twin;
            const NAME: &'static str = $text;
            const GAMMA: f64 = $gamma;
        }
    };
}

precision!(
    /// Everything stored and computed in f32.
    F32, "f32", Native<f32>, Native<f32>, Exact, 1e-7, F32Twins
);
precision!(
    /// [`F32`], read in 64-bit words.
    F32Twins, "f32", Twins, Twins, Exact, 1e-7
);
precision!(
    /// Everything stored and computed in bf16: the setting of the paper.
    Bf16, "bf16", Pairs, Pairs, RoundBf16, 0.0078
);
precision!(
    /// Parameters and gradients in bf16; states and arithmetic in f32.
    Bf16Mixed, "bf16-mixed", Pairs, Native<f32>, Exact, 1e-7
);
precision!(
    /// Everything stored and computed in f16.
    F16, "f16", Native<f16>, Native<f16>, RoundF16, 0.001
);
precision!(
    /// Parameters and gradients in f16; states and arithmetic in f32.
    F16Mixed, "f16-mixed", Native<f16>, Native<f32>, Exact, 1e-7
);
precision!(
    /// Bf16-mixed with states in bf16: computed in f32, and rounded once when a state is stored.
    Bf16Compact, "bf16-mixed with statistics in bf16", Pairs, Pairs, Exact, 0.0078
);
precision!(
    /// States in bf16 beside f32 copies of parameters and gradients.
    Bf16States, "f32 with statistics in bf16", Native<f32>, Pairs, Exact, 0.0078
);

/// Whether a device can run kernels in the precision.
///
/// # Errors
/// [`Error::Unsupported`] with the format that it lacks.
pub fn require<S: Precision>(context: &Context) -> Result<(), Error> {
    let properties = context.client().properties();
    let lacks = |word: StorageType| {
        let usage = properties.type_usage(word);
        !(usage.contains(TypeUsage::Arithmetic) && usage.contains(TypeUsage::Buffer))
    };
    let words = [
        <S::Params as Storage>::Word::as_type_native_unchecked().storage_type(),
        <S::State as Storage>::Word::as_type_native_unchecked().storage_type(),
    ];
    match words.into_iter().find(|&word| lacks(word)) {
        None => Ok(()),
        Some(word) => Err(Error::Unsupported {
            operation: S::NAME,
            reason: format!(
                "the device offers no {word} arithmetic and buffers; bf16 and bf16-mixed need none"
            ),
        }),
    }
}
