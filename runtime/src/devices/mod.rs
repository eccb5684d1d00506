//! The devices of this machine: how they are named, listed and opened, and what they can compute with.

#[cfg(feature = "wgpu")]
mod adapters;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod device;
mod formats;
mod missing;
mod profile;
mod selector;
mod survey;

pub use device::{Device, open};
pub use formats::{Format, FormatSupport, Support, support};
pub use missing::{LookedFor, Missing, Sought};
pub use profile::{Profile, Units};
pub use selector::{ParseSelectorError, Selector};
pub use survey::{Backend, DeviceInfo, Processor, Survey, survey};
