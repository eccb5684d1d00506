//! An open device as kernels and optimizers take it.

use sonew_optimizers::{Context, Processor};
use sonew_runtime::Device;

/// The device, and what it computes on.
pub fn context(device: &Device) -> Context {
    let processor = match device.info.processor {
        sonew_runtime::Processor::Gpu => Processor::Gpu,
        sonew_runtime::Processor::Cpu => Processor::Cpu,
    };
    Context::new(device.client.clone(), processor)
}
