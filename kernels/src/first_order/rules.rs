//! The rules. Each says what to subtract from a weight and how its states move, as the benchmark ran them; the
//! conventions are those of optax, and differ from PyTorch's where noted.
//!
//! Second moments are squares, so their format holds those of gradients from its least normal number's square root to its
//! largest number's: 2⁻⁶³ to 2⁶⁴ in f32 and bf16, 2⁻⁷ to 2⁸ in f16. There, with ε = 0, a step does not depend on the unit of
//! the gradient: c · g with c a power of two moves weights by the same bits, or by c times as much without a second moment. A
//! smaller gradient leaves the moment as it is; a larger one takes it to the largest finite number, from which it comes down
//! again.

use cubecl::prelude::*;

use super::average::moving_average;
use super::descend::Values;
use super::reference::Formula;
use crate::precision::{Arithmetic, Storage, product, quotient, sum};

/// A first-order rule: from a gradient and the states, what to subtract and the new states.
// The macro adds functions to a trait that no comment reaches.
#[allow(missing_docs)]
#[cube]
pub trait Rule: Send + Sync + 'static {
    /// Returns the subtrahend, then each new state, in the order of [`FirstOrder::STATES`]. States are stored as `T`.
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32>;
}

/// A number that a rule's formula has beside the learning rate η and the weight decay λ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// β₁, the decay of the momentum.
    Beta1,
    /// β₂, the decay of the second moment.
    Beta2,
    /// ε.
    Epsilon,
    /// t, on which the bias corrections depend.
    Step,
}

/// What the host needs to know of a rule.
pub trait FirstOrder: Rule + Formula {
    /// The name on the command line.
    const NAME: &'static str;
    /// The names of its states, one arena each.
    const STATES: &'static [&'static str];
    /// What it computes, with the decay of weights.
    const FORMULA: &'static str;
    /// The numbers of the formula.
    const NUMBERS: &'static [Number];
    /// Whether its steps, with ε = 0, do not depend on the unit of the gradient, as where it divides by the root of a second
    /// moment; otherwise they are proportional to it. The contract holds a rule to either.
    const NORMALISES: bool;
}

/// Something that is done with a rule as a type.
pub trait RuleVisitor {
    /// What comes of it.
    type Output;

    /// Does it with `L`.
    fn visit<L: FirstOrder>(&mut self) -> Self::Output;
}

macro_rules! rules {
    ($($rule:ident: $name:literal, $states:expr, $formula:literal, $numbers:expr, $normalises:literal;)*) => {
        $(impl FirstOrder for $rule {
            const NAME: &'static str = $name;
            const STATES: &'static [&'static str] = $states;
            const FORMULA: &'static str = $formula;
            const NUMBERS: &'static [Number] = $numbers;
            const NORMALISES: bool = $normalises;
        })*

        /// The names of all rules.
        pub const NAMES: &[&str] = &[$($name),*];

        /// Visits every rule, in the order of [`NAMES`].
        pub fn each_rule<V: RuleVisitor>(visitor: &mut V) -> Vec<V::Output> {
            vec![$(visitor.visit::<$rule>()),*]
        }

        /// Visits the rule of a name; `None` if there is none.
        pub fn named_rule<V: RuleVisitor>(name: &str, visitor: &mut V) -> Option<V::Output> {
            match name {
                $($name => Some(visitor.visit::<$rule>()),)*
                _ => None,
            }
        }
    };
}

use Number::{Beta1, Beta2, Epsilon, Step};

// All that tools know of the rules: name, states, formula, its numbers, whether steps are free of the gradient's unit.
rules! {
    Sgd: "sgd", &[], "w ← w − η (g + λ w)", &[], false;
    Momentum: "momentum", &["velocity"], "m ← g + β₁ m; w ← w − η (m + λ w)", &[Beta1], false;
    Nesterov: "nesterov", &["velocity"], "m ← g + β₁ m; w ← w − η (g + β₁ m + λ w)", &[Beta1], false;
    Adagrad: "adagrad", &["accumulator"], "a ← a + g²; w ← w − η (g / √(a + ε) + λ w)", &[Epsilon], true;
    RmsProp: "rmsprop", &["second_moment", "velocity"],
        "v ← β₂ v + (1−β₂) g²; m ← β₁ m + η g / √(v + ε); w ← w − m − η λ w", &[Beta1, Beta2, Epsilon], true;
    Adam: "adam", &["first_moment", "second_moment"],
        "m ← β₁ m + (1−β₁) g; v ← β₂ v + (1−β₂) g²; w ← w − η (m̂ / (√v̂ + ε) + λ w)",
        &[Beta1, Beta2, Epsilon, Step], true;
}

/// Stochastic gradient descent: Δ = η g.
pub struct Sgd;

#[cube]
impl Rule for Sgd {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        _state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let mut out = Sequence::<f32>::new();
        out.push(product::<A>(hyper.lr, gradient));
        out
    }
}

/// Heavy-ball momentum: b ← g + β₁ b, Δ = η b (optax `trace`; PyTorch's SGD without dampening is the same).
pub struct Momentum;

#[cube]
impl Rule for Momentum {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let velocity = sum::<A>(
            gradient,
            product::<A>(hyper.beta1.kept, *state.index(0usize)),
        );
        let mut out = Sequence::<f32>::new();
        out.push(product::<A>(hyper.lr, velocity));
        out.push(velocity);
        out
    }
}

/// Nesterov momentum: b ← g + β₁ b, Δ = η (g + β₁ b) with the new b.
pub struct Nesterov;

#[cube]
impl Rule for Nesterov {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let velocity = sum::<A>(
            gradient,
            product::<A>(hyper.beta1.kept, *state.index(0usize)),
        );
        let ahead = sum::<A>(gradient, product::<A>(hyper.beta1.kept, velocity));
        let mut out = Sequence::<f32>::new();
        out.push(product::<A>(hyper.lr, ahead));
        out.push(velocity);
        out
    }
}

/// Adagrad: s ← s + g², Δ = η g / √(s + ε), 0 where s = 0 (optax: ε inside the root; PyTorch's is outside).
pub struct Adagrad;

#[cube]
impl Rule for Adagrad {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let grown = sum::<A>(*state.index(0usize), product::<A>(gradient, gradient));
        let total = min(grown, T::largest());
        let root = A::round(sum::<A>(total, hyper.epsilon).sqrt());
        let delta = product::<A>(hyper.lr, quotient::<A>(gradient, root));
        let mut out = Sequence::<f32>::new();
        out.push(select(total == 0.0, 0.0, delta));
        out.push(total);
        out
    }
}

/// RMSProp: v ← β₂ v + (1−β₂) g², b ← β₁ b + η g / √(v + ε), Δ = b.
///
/// As optax chains it: no bias correction, ε inside the root, and the learning rate inside the momentum buffer, which
/// matters when it changes. (PyTorch: ε outside the root, learning rate outside the buffer.)
pub struct RmsProp;

#[cube]
impl Rule for RmsProp {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let square = product::<A>(gradient, gradient);
        let moved = moving_average::<A>(*state.index(0usize), square, &hyper.beta2);
        let second = min(moved, T::largest());
        let root = A::round(sum::<A>(second, hyper.epsilon).sqrt());
        // v + ε = 0 only when ε is 0 and every square so far was 0 or underflowed: no information, no move.
        let scaled = select(root == 0.0, 0.0, quotient::<A>(gradient, root));
        let velocity = sum::<A>(
            product::<A>(hyper.beta1.kept, *state.index(1usize)),
            product::<A>(hyper.lr, scaled),
        );
        let mut out = Sequence::<f32>::new();
        out.push(velocity);
        out.push(second);
        out.push(velocity);
        out
    }
}

/// Adam: m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², Δ = η m̂ / (√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)
/// (Kingma & Ba 2015; optax and PyTorch agree).
pub struct Adam;

#[cube]
impl Rule for Adam {
    fn step<A: Arithmetic, T: Storage>(
        gradient: f32,
        state: &Sequence<f32>,
        hyper: &Values,
    ) -> Sequence<f32> {
        let first = moving_average::<A>(*state.index(0usize), gradient, &hyper.beta1);
        let square = product::<A>(gradient, gradient);
        let moved = moving_average::<A>(*state.index(1usize), square, &hyper.beta2);
        let second = min(moved, T::largest());
        let numerator = product::<A>(first, hyper.correction1);
        let root = A::round(product::<A>(second, hyper.correction2).sqrt());
        let denominator = sum::<A>(root, hyper.epsilon);
        // √v̂ + ε = 0 only when ε is 0 and every square so far was 0 or underflowed: no information, no move.
        let scaled = select(
            denominator == 0.0,
            0.0,
            quotient::<A>(numerator, denominator),
        );
        let mut out = Sequence::<f32>::new();
        out.push(product::<A>(hyper.lr, scaled));
        out.push(first);
        out.push(second);
        out
    }
}
