//! An open device as kernels and optimizers take it.

use cubecl::Runtime;
use sonew_optimizers::{Context, Processor};
use sonew_runtime::Opened;

/// The device, and what it computes on.
pub fn context<R: Runtime>(device: &Opened<R>) -> Context<R> {
    let processor = match device.info.processor {
        sonew_runtime::Processor::Gpu => Processor::Gpu,
        sonew_runtime::Processor::Cpu => Processor::Cpu,
    };
    Context::new(device.client.clone(), processor)
}
