//! The parts of the MNIST autoencoder benchmark: what goes in (images, first weights, batch order, learning rates)
//! and what comes out (run folders, curves, tables). The `sonew` binary puts them together.

pub mod arrays;
pub mod bench;
pub mod cli;
pub mod compare;
pub mod data;
pub mod freed_memory;
pub mod init;
#[cfg(feature = "cuda")]
pub mod inspect;
pub mod interrupt;
pub mod kept_kernels;
pub mod kernel_io;
pub mod network;
mod not_a_number;
pub mod order;
pub mod plan;
pub mod plot;
pub mod progress;
pub mod record;
mod replace_file;
pub mod report;
pub mod roots;
pub mod runtime_folder;
pub mod schedule;
pub mod source;
pub mod stability;
pub mod streams;
pub mod summary;
pub mod table;
pub mod train;
pub mod training_contract;
pub mod tune;
pub mod verify;
