//! How large a launch is.

/// The geometry of a launch: `cubes` cubes of `units` units, binding `buffers` buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Cubes along x.
    pub cubes: u32,
    /// Units of a cube along x.
    pub units: u32,
    /// Buffers the kernel binds, scalars included as one.
    pub buffers: u32,
}
