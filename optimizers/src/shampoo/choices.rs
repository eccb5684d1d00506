//! What settings of Shampoo choose between.

use serde::{Deserialize, Serialize};
use sonew_kernels::kronecker::Method;
use sonew_kernels::precision::{HostFormat, Pairs};

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
