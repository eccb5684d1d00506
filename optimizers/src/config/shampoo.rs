//! Settings of Shampoo.

use serde::{Deserialize, Serialize};
use sonew_kernels::kronecker::{Limits, Method, Ridge};
use sonew_kernels::precision::{HostFormat, Pairs};
use sonew_kernels::sonew::Graft;

/// What Shampoo's ε is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RidgeForm {
    /// ε · λ_max of each factor.
    Relative,
    /// ε.
    Absolute,
}

/// Where Shampoo's products run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductsPlace {
    /// In host memory on a CPU adapter, on the device elsewhere.
    #[default]
    Auto,
    /// In host memory.
    Host,
    /// On the device.
    Device,
}

/// How Shampoo's statistics and roots are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactorFormat {
    /// In f32.
    #[default]
    F32,
    /// Rounded to bf16 whenever they change; in host memory only, which holds them widened.
    Bf16,
}

impl FactorFormat {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    pub(crate) fn round(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::Bf16 => Pairs::round_all(values),
        }
    }
}

/// How Shampoo's roots are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootChoice {
    /// Eigen if products run in host memory, newton-refreshed if they run on the device; newton-bf16 of bf16 factors.
    #[default]
    Auto,
    /// Eigendecomposition in f64, on the host.
    Eigen,
    /// The published Newton iteration in f32, on the host.
    Newton,
    /// The same in f64, on the host.
    NewtonDouble,
    /// The same in bf16, on the host.
    NewtonBf16,
    /// Newton with longer steps and two finer products, where the other products run.
    NewtonRefreshed,
}

impl RootChoice {
    /// The method; `None` of [`RootChoice::Auto`].
    pub fn method(self) -> Option<Method> {
        match self {
            Self::Auto => None,
            Self::Eigen => Some(Method::Eigen),
            Self::Newton => Some(Method::Newton),
            Self::NewtonDouble => Some(Method::NewtonDouble),
            Self::NewtonBf16 => Some(Method::NewtonBf16),
            Self::NewtonRefreshed => Some(Method::NewtonRefreshed),
        }
    }
}

/// Settings of Shampoo.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ShampooConfig {
    /// Decay of both momenta, in [0, 1).
    pub beta1: f64,
    /// Decay of the statistics and of the graft's second moment, in (0, 1).
    pub beta2: f64,
    /// ε ≥ 0, the ridge of a root; statistics start at ε · I.
    pub epsilon: f64,
    /// What ε is relative to.
    pub ridge: RidgeForm,
    /// p of the inverse p-th roots, at most 64; 0 for twice the number of axes.
    pub exponent: u32,
    /// How roots are computed.
    pub root: RootChoice,
    /// How statistics and roots are held.
    pub factors: FactorFormat,
    /// Where the products of statistics and directions run.
    pub products: ProductsPlace,
    /// A root whose residual or check is not below this is refused, > 0.
    pub residual_threshold: f64,
    /// Refused roots of one factor in a row that are no error; the last good root stays in use.
    pub tolerated_failures: u32,
    /// Steps from one computation of the roots to the next, ≥ 1.
    pub root_interval: u64,
    /// Computes the roots of an interval's start over the interval and puts them to use at its end.
    pub spread_roots: bool,
    /// Steps from one update of the statistics to the next, ≥ 1.
    pub statistics_interval: u64,
    /// The first step, from 0 on, that descends along the preconditioned gradient; before it the graft's update, with
    /// `graft=none` the gradient itself.
    pub start_step: u64,
    /// Whose step length is taken over, per tensor: none, sgd, adam or rmsprop (normalised).
    pub graft: Graft,
    /// ε ≥ 0 of the graft.
    pub graft_epsilon: f64,
    /// Nesterov's form of both momenta.
    pub nesterov: bool,
    /// Whether vectors, such as biases, are preconditioned (p = 2), or left to the graft.
    pub vectors: bool,
    /// Longest side of a block, ≥ 1.
    pub block_size: usize,
    /// Neighbouring axes are merged while their product is at most this.
    pub merge_size: usize,
    /// Tensors with a longer axis are left to the graft.
    pub largest_size: usize,
    /// Decoupled weight decay λ ≥ 0.
    pub weight_decay: f64,
}

impl Default for ShampooConfig {
    /// The benchmark's settings as its authors tuned them in f32 for roots every 20 steps.
    fn default() -> Self {
        Self {
            beta1: 0.900_055,
            beta2: 0.950_822,
            epsilon: 9.66e-9,
            ridge: RidgeForm::Relative,
            exponent: 0,
            root: RootChoice::Auto,
            factors: FactorFormat::F32,
            products: ProductsPlace::Auto,
            residual_threshold: 0.1,
            tolerated_failures: 3,
            root_interval: 20,
            spread_roots: false,
            statistics_interval: 1,
            start_step: 25,
            graft: Graft::RmsProp,
            graft_epsilon: 1e-12,
            nesterov: false,
            vectors: true,
            block_size: 2048,
            merge_size: 4096,
            largest_size: 4096,
            weight_decay: 0.0,
        }
    }
}

impl ShampooConfig {
    /// How tensors are cut into blocks.
    pub fn limits(&self) -> Limits {
        Limits {
            block: self.block_size,
            merge: self.merge_size,
            largest: self.largest_size,
        }
    }

    /// What is added to a factor's diagonal.
    pub fn ridge(&self) -> Ridge {
        match self.ridge {
            RidgeForm::Relative => Ridge::Relative(self.epsilon),
            RidgeForm::Absolute => Ridge::Absolute(self.epsilon),
        }
    }
}
