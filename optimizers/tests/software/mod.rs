//! The software driver, which is one device: one test at a time has it.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cubecl::wgpu::WgpuRuntime;
use sonew_optimizers::{Context, Processor};
use sonew_runtime::{Device, Selector};

pub type R = WgpuRuntime;

/// Its context, and the right to use it.
pub struct Software {
    pub context: Rc<Context<R>>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Software {
    pub fn open() -> Self {
        static DEVICE: Mutex<()> = Mutex::new(());
        let guard = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
        let device = sonew_runtime::open(Selector::Software)
            .expect("these tests need a Vulkan driver: install mesa-vulkan-drivers");
        let Device::Wgpu(opened) = device else {
            panic!("the software driver is a wgpu device");
        };
        Self {
            context: Rc::new(Context::new(opened.client, Processor::Cpu)),
            _one_at_a_time: guard,
        }
    }
}
