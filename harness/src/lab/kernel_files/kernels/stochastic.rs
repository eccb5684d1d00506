//! Rounding at random.

use sonew_kernels::arena::Arena;
use sonew_kernels::arena::BLOCK;
use sonew_kernels::context::Context;
use sonew_kernels::error::Error as KernelError;
use sonew_kernels::launch::{Strategy, Sweep};
use sonew_kernels::precision::{Precision, PrecisionKind, PrecisionVisitor, round_stochastically};

use super::formats::{FORMATS, empty, require_format, widened};
use crate::lab::kernel_files::KernelFileError;
use crate::lab::kernel_files::found::Found;
use crate::lab::kernel_files::inputs::Inputs;
use crate::lab::kernel_files::settings::Setting;
use crate::lab::kernel_files::spec::{KernelSpec, N};
use crate::lab::kernel_files::table::Kernel;
use crate::lab::kernel_files::tensor::Tensor;

/// Values, a format, and what the draw depends on.
pub(in crate::lab::kernel_files) struct StochasticRounding {
    x: Vec<f32>,
    format: PrecisionKind,
    seed: u64,
    step: u64,
}

/// The hash of the counter.
fn random_bits(index: u32, key: u32, step: u32) -> u32 {
    let mixed = |x: u32| {
        let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    };
    mixed(mixed(index ^ key).wrapping_add(step))
}

/// |x| moved up by less than a unit of the digits that are kept, and cut off to them; x itself where that is not finite.
fn cut(x: f32, random: u32, mask: u32) -> f32 {
    let moved = f32::from_bits(x.to_bits().wrapping_add(random & mask) & !mask);
    if x.is_finite() && moved.is_finite() {
        moved
    } else {
        x
    }
}

/// A neighbour of x in the format.
fn neighbour(format: PrecisionKind, x: f32, random: u32) -> f32 {
    match format {
        PrecisionKind::F32 => x,
        PrecisionKind::Bf16 | PrecisionKind::Bf16Mixed => cut(x, random, 0xffff),
        PrecisionKind::F16 | PrecisionKind::F16Mixed if x.abs() < 6.103_515_6e-5 => {
            // Units of the denormals, a fraction of one drawn in 13 bits.
            let unit = 1.0 / 16_777_216.0f32;
            let fraction = (random >> 19) as f32 / 8192.0;
            ((x.abs() / unit + fraction).floor() * unit).copysign(x)
        }
        PrecisionKind::F16 | PrecisionKind::F16Mixed => {
            let drawn = cut(x, random, 0x1fff);
            if drawn.abs() > 65504.0 { x } else { drawn }
        }
    }
}

impl Kernel for StochasticRounding {
    fn spec() -> KernelSpec {
        let summary = "y is one of the two neighbours of x in a format, each with the probability that makes x the mean; which, follows from seed, step and index";
        KernelSpec::new("stochastic-rounding", summary)
            .needs("x", &[N])
            .gives("y", &[N])
            .set(Setting::choice("format", &FORMATS, "the format"))
            .set(Setting::whole("seed", "0", 0..=u64::MAX, "the seed"))
            .set(Setting::whole("step", "0", 0..=u32::MAX.into(), "the step"))
    }

    fn read(inputs: &mut Inputs) -> Result<Self, KernelFileError> {
        let settings = &inputs.settings;
        let format = settings.choice("format", &FORMATS);
        let (mut seed, mut step) = (0, 0);
        // f32 has no neighbours to draw.
        if format != PrecisionKind::F32 {
            (seed, step) = (settings.whole("seed"), settings.whole("step"));
        }
        Ok(Self {
            format,
            seed,
            step,
            x: inputs.take("x"),
        })
    }

    fn oracle(&self) -> Result<Found, KernelFileError> {
        let key = (self.seed ^ (self.seed >> 32)) as u32;
        // The arena begins with a pad of one block.
        let counters = BLOCK as u32..;
        let drawn = self.x.iter().zip(counters).map(|(&x, index)| {
            let random = random_bits(index, key, self.step as u32);
            neighbour(self.format, x, random)
        });
        let mut y: Vec<f32> = drawn.collect();
        self.format.round_all(&mut y);
        Ok(Found::new().values("y", [y.len()], y))
    }

    fn run(&self, context: &Context) -> Result<Found, KernelFileError> {
        require_format(context, self.format)?;
        let n = self.x.len();
        let tensor = Tensor::new(context, "stochastic-rounding", n)?;
        let (x, narrow) = (tensor.upload(&self.x)?, empty(&tensor, self.format));
        self.format.accept(Draw {
            tensor: &tensor,
            buffers: [&x, &narrow],
            counter: [self.seed, self.step],
        })?;
        Ok(Found::new().values("y", [n], widened(&tensor, self.format, &narrow)?))
    }
}

struct Draw<'a, 'b> {
    tensor: &'a Tensor<'b>,
    buffers: [&'a Arena; 2],
    counter: [u64; 2],
}

impl PrecisionVisitor for Draw<'_, '_> {
    type Output = Result<(), KernelError>;

    fn visit<P: Precision>(self) -> Self::Output {
        let ([from, to], [seed, step]) = (self.buffers, self.counter);
        let context = self.tensor.context;
        let sweep = Strategy::Forced(Sweep::plain::<P>(context, "stochastic-rounding"));
        round_stochastically::<P::Params>(context, from, to, seed, step, sweep)
    }
}
