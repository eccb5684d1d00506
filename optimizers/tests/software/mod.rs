//! The software driver, which is one device: one test at a time has it.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sonew_optimizers::{Context, Profile};
use sonew_runtime::Selector;

/// Its context, and the right to use it.
pub struct Software {
    pub context: Rc<Context>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Software {
    /// Opens the driver when it is this test's turn. SONEW_TEST_DEVICE names another device or language, as `vulkan:cpu`.
    pub fn open() -> Self {
        static DEVICE: Mutex<()> = Mutex::new(());
        let guard = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
        let selector = match std::env::var("SONEW_TEST_DEVICE") {
            Ok(name) => name.parse().expect("SONEW_TEST_DEVICE names a device"),
            Err(_) => Selector::Software,
        };
        let device = sonew_runtime::open(selector)
            .expect("these tests need a Vulkan driver: install mesa-vulkan-drivers");
        Self {
            context: Rc::new(Context::new(device.client, Profile::LLVMPIPE)),
            _one_at_a_time: guard,
        }
    }
}
