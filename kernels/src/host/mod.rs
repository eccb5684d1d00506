//! What the host's processor computes through crates that only the feature `host` brings: products, eigenvectors, and values
//! shared between threads. Without it a product or an eigenvector is [`Error::NotBuilt`](crate::error::Error::NotBuilt).
//!
//! CPU adapters need it, and whoever asks for roots on the host; on a GPU everything else is kernels.

#[cfg(feature = "host")]
mod built;
#[cfg(not(feature = "host"))]
mod missing;

#[cfg(feature = "host")]
pub(crate) use built::{each_part, multiply, symmetric};
#[cfg(not(feature = "host"))]
pub(crate) use missing::{each_part, multiply, symmetric};

/// Whether the library was built with the feature `host`.
pub const BUILT: bool = cfg!(feature = "host");

/// A matrix at an address, with the steps from a row to the next and from a column to the next.
pub(crate) type At<P> = (P, [usize; 2]);

/// A = V Λ Vᵀ.
pub(crate) struct Eigen {
    /// Λ, ascending.
    pub(crate) values: Vec<f64>,
    /// V, n × n row-major: column k belongs to value k.
    pub(crate) vectors: Vec<f64>,
}
