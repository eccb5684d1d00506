//! First-order optimizers: one fused kernel over the arena, `w ← w − (Δ(g, state) + η·λ·w)`, with the rule Δ a type
//! parameter. Weight decay λ is decoupled from the gradient (Loshchilov & Hutter 2019). Beside them the moving average of the weights.
//!
//! Shapes: `params`, `grads` and each of the rule's states are arenas of one [`crate::arena::Layout`] layout.

mod average;
mod descend;
mod reference;
mod rules;
mod weights;

pub(crate) use average::{Average, average, moving_average};
pub use descend::{Buffers, Hyper, descend};
pub use reference::{
    Formula, average_weights as average_weights_reference, descend as reference,
    descend_by_name as reference_by_name,
};
// The rules, and what is done with all of them.
pub use rules::*;
pub use weights::average_weights;
