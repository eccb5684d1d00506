//! What becomes of memory that a step of training frees.

/// Keeps freed memory in the process, where the C library is glibc.
///
/// Parameters and gradients that pass between a software driver and the host are buffers of megabytes. glibc maps such a buffer
/// anew for every allocation and unmaps it when it is freed, so that every page of it is faulted in and cleared in every step:
/// a quarter of a step of training on two cores (docs/limits.md). Call it before anything is allocated; elsewhere it does nothing.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: i32 = 1 << 30;
        for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
            // SAFETY: `mallopt` sets a number that later allocations read; it takes any, and there is one thread yet. A failure
            // leaves the default.
            unsafe { libc::mallopt(parameter, LARGE) };
        }
    }
}
