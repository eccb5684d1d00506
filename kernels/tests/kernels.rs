//! Every kernel against its f64 oracle, on the software driver.

#[path = "kernels/agreement.rs"]
mod agreement;
#[path = "kernels/arena.rs"]
mod arena;
#[path = "kernels/bench.rs"]
mod bench;
#[path = "kernels/blocking.rs"]
mod blocking;
#[path = "kernels/catalogue.rs"]
mod catalogue;
#[path = "kernels/coded.rs"]
mod coded;
#[path = "kernels/contract.rs"]
mod contract;
#[path = "kernels/device_root.rs"]
mod device_root;
#[path = "kernels/extremes.rs"]
mod extremes;
#[path = "kernels/factor.rs"]
mod factor;
#[path = "kernels/failure.rs"]
mod failure;
#[path = "kernels/first_order.rs"]
mod first_order;
#[path = "kernels/formats.rs"]
mod formats;
#[path = "kernels/ghosts.rs"]
mod ghosts;
#[path = "kernels/gradients.rs"]
mod gradients;
#[path = "kernels/host_root.rs"]
mod host_root;
#[path = "kernels/identities.rs"]
mod identities;
#[path = "kernels/kronecker.rs"]
mod kronecker;
#[path = "kernels/layout.rs"]
mod layout;
#[path = "kernels/long_walks.rs"]
mod long_walks;
#[path = "kernels/matrices.rs"]
mod matrices;
#[path = "kernels/product.rs"]
mod product;
#[path = "kernels/refusals.rs"]
mod refusals;
#[path = "kernels/row_chains.rs"]
mod row_chains;
#[path = "kernels/scale.rs"]
mod scale;
#[path = "kernels/singular.rs"]
mod singular;
mod software;
#[path = "kernels/statistics.rs"]
mod statistics;
#[path = "kernels/step.rs"]
mod step;
#[path = "kernels/tally.rs"]
mod tally;
#[path = "kernels/team.rs"]
mod team;
#[path = "kernels/team_forms.rs"]
mod team_forms;
#[path = "kernels/tensor_rates.rs"]
mod tensor_rates;
#[path = "kernels/update.rs"]
mod update;
