//! The benchmark of the optimizers, and what is measured and verified beside it. The `sonew` binary puts the parts together.
//!
//! * [`train`] takes the steps of a run, records and plots them; it knows what it trains as a
//!   [`Workload`](workloads::Workload) only.
//! * [`workloads`] holds what is trained, a folder each: data, layout, first weights, gradients, evaluation.
//! * [`lab`] verifies, measures, tunes and inspects the kernels.
//! * [`cli`] says what can be asked for, [`process`] what the program asks of the system.

pub mod arrays;
pub mod cli;
pub mod lab;
pub mod process;
mod replace_file;
pub mod table;
pub mod train;
pub mod workloads;
