//! What the program asks of the system that it runs on: streams, signals, memory, and folders for its run and its kernels.

pub mod freed_memory;
pub mod interrupt;
pub mod kept_kernels;
pub mod runtime_folder;
pub mod streams;
mod words;

pub use words::words_of_this_process;
