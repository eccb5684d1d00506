//! The software driver, which is one device: one test at a time has it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sonew_runtime::{Client, Selector};

/// The right to use the driver.
pub type Turn = MutexGuard<'static, ()>;

/// Opens the driver when it is this test's turn. SONEW_TEST_DEVICE names another device or language, as `vulkan:cpu`.
pub fn open() -> (Client, Turn) {
    static DEVICE: Mutex<()> = Mutex::new(());
    let turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let selector = match std::env::var("SONEW_TEST_DEVICE") {
        Ok(name) => name.parse().expect("SONEW_TEST_DEVICE names a device"),
        Err(_) => Selector::Software,
    };
    let device = sonew_runtime::open(selector)
        .expect("these tests need a Vulkan driver: install mesa-vulkan-drivers");
    (device.client, turn)
}
