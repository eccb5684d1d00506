//! What the form of a kernel depends on beside sizes and formats.

/// How the units of a processor are kept busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Units {
    /// Few at a time: each has a long stretch of memory of its own, whose accesses follow each other in time.
    Few,
    /// Many side by side: neighbours have neighbouring words, and a cube is a team that shares what it read.
    Many,
}

/// What kernels and those who launch them ask of a device, without knowing which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Which form of a kernel is preferred.
    pub units: Units,
    /// Whether the device's memory is the host's: products of matrices then run on the host, in a library made for it.
    pub host_memory: bool,
    /// Whether two values of 32 bits in a word of 64 cost as much as one.
    pub wide_words: bool,
    /// After how many iterations of all its loops together a unit is ended without an error, if ever.
    pub loop_iterations: Option<usize>,
}

impl Profile {
    /// A graphics processor.
    pub const GPU: Self = Self {
        units: Units::Many,
        host_memory: false,
        wide_words: false,
        loop_iterations: None,
    };

    /// A driver that computes on the host's processor.
    pub const SOFTWARE: Self = Self {
        units: Units::Few,
        host_memory: true,
        wide_words: true,
        loop_iterations: None,
    };

    /// Mesa's llvmpipe (`LP_MAX_TGSI_LOOP_ITERATIONS` of its sources).
    pub const LLVMPIPE: Self = Self {
        loop_iterations: Some(65_535),
        ..Self::SOFTWARE
    };

    /// That of a software driver by its name, as wgpu tells it.
    #[cfg(feature = "wgpu")]
    pub(crate) fn of_software(driver: &str) -> Self {
        if driver.starts_with("llvmpipe") {
            Self::LLVMPIPE
        } else {
            Self::SOFTWARE
        }
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::Profile;

    #[test]
    fn only_llvmpipe_ends_loops() {
        let mesa = Profile::of_software("llvmpipe Mesa 22.3.6 (LLVM 15.0.6)");
        assert_eq!(mesa, Profile::LLVMPIPE);
        assert_eq!(Profile::of_software("SwiftShader").loop_iterations, None);
    }
}
