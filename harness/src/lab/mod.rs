//! What is verified, measured, tuned and inspected: the kernels and steps of the optimizers, on a device or without one.

pub mod bench;
pub mod devices;
#[cfg(feature = "cuda")]
pub mod inspect;
pub mod kernel_files;
pub mod report;
pub mod roots;
pub mod source;
pub mod stability;
pub mod training_contract;
pub mod tune;
pub mod verify;
