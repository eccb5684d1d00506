//! The exponential moving average, a ← β a + (1−β) x.

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use crate::precision::{Arithmetic, held, product, sum};

/// β and 1−β. The latter is taken before β is rounded: for β = 0.999 the difference of f32 numbers is off by 10⁻⁵ of itself.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Average {
    /// β.
    pub(crate) kept: f32,
    /// 1−β.
    pub(crate) added: f32,
}

#[cube]
impl Average {
    /// A copy in registers.
    pub(crate) fn held(&self) -> Average {
        Average {
            kept: held(self.kept),
            added: held(self.added),
        }
    }
}

/// The argument of a launch for a decay β.
pub(crate) fn average(beta: f64) -> AverageLaunch<Gpu> {
    AverageLaunch::new(beta as f32, (1.0 - beta) as f32)
}

/// β a + (1−β) x.
#[cube]
pub(crate) fn moving_average<A: Arithmetic>(old: f32, value: f32, of: &Average) -> f32 {
    sum::<A>(product::<A>(of.kept, old), product::<A>(of.added, value))
}
