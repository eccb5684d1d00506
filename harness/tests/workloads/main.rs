//! What every workload has to keep to, and that the training loop needs nothing else of one.

mod contract;
mod points;
mod trained;
