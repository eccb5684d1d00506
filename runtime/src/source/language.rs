//! What distinguishes one language of kernels from another.

use std::fmt::Debug;

use cubecl::ir::DeviceProperties;
use cubecl::server::MemoryLayoutPolicy;
use cubecl::{Compiler, Runtime};

/// The compiler of a language.
pub(crate) type CompilerOf<L> = <<L as Language>::Like as Runtime>::Compiler;
/// A compiled kernel of a language.
pub(crate) type RepresentationOf<L> = <CompilerOf<L> as Compiler>::Representation;

/// A language that kernels compile to, with the properties of a device that takes it.
pub trait Language: Clone + Debug + Send + Sync + 'static {
    /// The runtime of `CubeCL` whose devices take this language.
    type Like: Runtime;
    /// How that runtime lays out tensors.
    type Layout: MemoryLayoutPolicy;

    /// The language's name.
    const NAME: &'static str;
    /// What the runtime calls itself on such a device.
    const RUNTIME: &'static str;
    /// Whether scalars and lengths are a kernel's last argument, by value; otherwise they are a
    /// buffer.
    const BY_VALUE: bool;

    /// What such a device reports.
    fn properties() -> DeviceProperties;

    /// How that runtime sets the compiler on such a device.
    fn options() -> <CompilerOf<Self> as Compiler>::CompilationOptions;

    /// The compiler in its initial state.
    fn compiler() -> CompilerOf<Self>;

    /// The layout for buffers that start at multiples of `alignment` bytes.
    fn layout(alignment: usize) -> Self::Layout;

    /// The shared memory of a compiled kernel, in bytes.
    fn shared_bytes(compiled: &RepresentationOf<Self>) -> usize;

    /// The text with everything in a fixed order that `CubeCL` leaves to chance.
    fn settled(text: String) -> String {
        text
    }
}
