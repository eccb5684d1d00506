//! A device as the kernels see it: its client, its profile, and launches that report their failure.

use std::any::type_name_of_val;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Client;
pub use sonew_runtime::{Profile, Units};

use crate::error::Error;
use crate::launch::{Grid, Tuned};

/// One device, used from one thread.
///
/// A stream of CubeCL belongs to the thread that launches, so a context is not meant to be shared between threads.
pub struct Context {
    client: Client,
    profile: Profile,
    tuned: Tuned,
    launches: Cell<u64>,
    uploads: Cell<u64>,
    waits: Cell<u64>,
    proven: RefCell<HashSet<u64>>,
}

impl Context {
    /// A context over an open client.
    pub fn new(client: Client, profile: Profile) -> Self {
        Self {
            client,
            profile,
            tuned: Tuned::default(),
            launches: Cell::new(0),
            uploads: Cell::new(0),
            waits: Cell::new(0),
            proven: RefCell::default(),
        }
    }

    /// The same device, with blueprints that were tuned for it.
    pub fn with_tuned(mut self, tuned: Tuned) -> Self {
        self.tuned = tuned;
        self
    }

    /// Blueprints that were tuned for the device.
    pub fn tuned(&self) -> &Tuned {
        &self.tuned
    }

    /// Kernels launched so far.
    pub fn launches(&self) -> u64 {
        self.launches.get()
    }

    /// Buffers uploaded so far.
    pub fn uploads(&self) -> u64 {
        self.uploads.get()
    }

    /// Times that work was waited for so far, to be read or to be done.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the form of kernels depends on.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Requires that the device can have a buffer of `bytes` for `argument`. A larger one would fail in a thread of the driver,
    /// long after it was asked for, so whoever allocates by a caller's sizes asks first.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if not.
    pub fn require_buffer(
        &self,
        operation: &'static str,
        argument: &'static str,
        bytes: u64,
    ) -> Result<(), Error> {
        let allowed = self.largest_buffer();
        if bytes <= allowed {
            return Ok(());
        }
        Err(Error::TooLarge {
            operation,
            argument,
            found: bytes,
            allowed,
        })
    }

    /// Bytes of the largest buffer that the device can have.
    pub fn largest_buffer(&self) -> u64 {
        self.client.properties().memory.max_page_size
    }

    /// Requires that a cube can have `bytes` of shared memory.
    ///
    /// # Errors
    /// [`Error::Limit`] if not.
    pub fn require_shared(&self, operation: &'static str, bytes: usize) -> Result<(), Error> {
        let allowed = self.client.properties().hardware.max_shared_memory_size;
        if bytes <= allowed {
            return Ok(());
        }
        Err(Error::Limit {
            operation,
            resource: "bytes of shared memory",
            found: bytes as u64,
            allowed: allowed as u64,
        })
    }

    /// Uploads values to a new buffer, one that the device can have ([`Context::require_buffer`]).
    pub fn upload<T: bytemuck::Pod + Send + Sync>(&self, values: &[T]) -> Handle {
        self.uploads.set(self.uploads.get() + 1);
        self.client.create_from_slice(bytemuck::cast_slice(values))
    }

    /// Downloads a buffer after checking that everything launched before it succeeded.
    ///
    /// # Errors
    /// [`Error::Launch`] if any launch since the last check failed: the bytes would be stale.
    pub fn download<T: bytemuck::Pod>(
        &self,
        operation: &'static str,
        buffer: &Handle,
    ) -> Result<Vec<T>, Error> {
        self.view(operation, buffer, <[T]>::to_vec)
    }

    /// As [`Context::download`], but lends the values to `look` instead of copying them once more.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn view<T: bytemuck::Pod, O>(
        &self,
        operation: &'static str,
        buffer: &Handle,
        look: impl FnOnce(&[T]) -> O,
    ) -> Result<O, Error> {
        self.check(operation)?;
        self.waits.set(self.waits.get() + 1);
        let bytes = guarded(operation, || self.client.read_one(buffer.clone()))?
            .map_err(|error| launch_error(operation, error))?;
        Ok(match bytemuck::try_cast_slice(&bytes) {
            Ok(values) => look(values),
            // What was read does not begin where such a value may.
            Err(_) => look(&bytemuck::pod_collect_to_vec::<u8, T>(&bytes)),
        })
    }

    /// Reports the failure of any launch since the last check; does not wait for the work itself.
    ///
    /// # Errors
    /// [`Error::Launch`] with what the driver said.
    pub fn check(&self, operation: &'static str) -> Result<(), Error> {
        guarded(operation, || self.client.flush())?.map_err(|error| launch_error(operation, error))
    }

    /// Waits until all launched work is done.
    ///
    /// # Errors
    /// [`Error::Launch`] with what the driver said.
    pub fn wait(&self, operation: &'static str) -> Result<(), Error> {
        self.waits.set(self.waits.get() + 1);
        guarded(operation, || cubecl::future::block_on(self.client.sync()))?
            .map_err(|error| launch_error(operation, error))
    }

    /// Launches a kernel through `launch`, after checking its geometry against the device's limits.
    ///
    /// CubeCL 0.10 compiles a kernel at its first launch and reports nothing if that fails. The first launch of each
    /// `variant` therefore runs on the device's thread, where a panic of the compiler is caught, and the stream is
    /// checked after it; later launches of the same variant only enqueue.
    ///
    /// # Errors
    /// [`Error::Limit`] before anything is launched, [`Error::Launch`] if the first launch of the variant failed.
    pub fn launch<F>(
        &self,
        operation: &'static str,
        variant: impl Hash,
        grid: Grid,
        launch: F,
    ) -> Result<(), Error>
    where
        F: FnOnce(&Client, CubeCount, CubeDim) + Send,
    {
        self.require_grid(operation, grid)?;
        self.launches.set(self.launches.get() + 1);
        let count = CubeCount::Static(grid.cubes, 1, 1);
        let dim = CubeDim::new_1d(grid.units);
        let mut hasher = DefaultHasher::new();
        (operation, type_name_of_val(&launch), grid, variant).hash(&mut hasher);
        let key = hasher.finish();
        if self.proven.borrow().contains(&key) {
            launch(&self.client, count, dim);
            return Ok(());
        }
        let client = self.client.clone();
        guarded(operation, || {
            self.client.exclusive(move || launch(&client, count, dim))
        })?
        .map_err(|error| launch_error(operation, error))?;
        self.check(operation)?;
        self.proven.borrow_mut().insert(key);
        Ok(())
    }

    /// Refuses a launch that is larger than the device takes.
    pub(crate) fn require_grid(&self, operation: &'static str, grid: Grid) -> Result<(), Error> {
        let hardware = &self.client.properties().hardware;
        let limits = [
            ("cubes", grid.cubes, hardware.max_cube_count.0),
            ("units per cube", grid.units, hardware.max_units_per_cube),
            ("units along x", grid.units, hardware.max_cube_dim.0),
            ("buffers", grid.buffers, hardware.max_bindings),
        ];
        for (resource, found, allowed) in limits {
            if found > allowed {
                return Err(Error::Limit {
                    operation,
                    resource,
                    found: found.into(),
                    allowed: allowed.into(),
                });
            }
        }
        Ok(())
    }
}

/// Runs a call into the client that may panic in the caller when the device is lost.
fn guarded<T>(operation: &'static str, call: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| Error::Launch {
        operation,
        reason: panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("the device was lost")
            .to_owned(),
    })
}

fn launch_error(operation: &'static str, error: impl core::fmt::Debug) -> Error {
    Error::Launch {
        operation,
        reason: format!("{error:?}"),
    }
}
