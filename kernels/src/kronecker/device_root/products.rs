//! The products of a round, as tables on the device.

use super::{RootProblem, even};
use crate::context::Context;
use crate::error::Error;
use crate::launch::Strategy;
use crate::product::{Blueprint, Entry, Product, Products, Sums, View};

/// The products of a round.
pub(super) struct RoundProducts {
    /// X = H Q.
    pub advance: Products,
    /// W from its base.
    pub powers: Vec<PowerStep>,
    /// X = M W, and X + z S W summed with more digits.
    pub right: [Products; 2],
    /// M = Wᵀ X, and summed with more digits.
    pub left: [Products; 2],
    /// X = W W of the matrices with an odd p.
    pub square: Option<Products>,
}

/// What a product of a round is.
///
/// Those of two polynomials of one matrix and the congruence are symmetric too, but for rounding, which is not the same on both sides of
/// the diagonal: to take one side for both makes the root's error half as large again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A symmetric matrix times itself: symmetric to the bit.
    Square,
    /// A B.
    Product,
    /// Aᵀ B.
    Congruence,
}

/// One product on the way to a power: `from` times itself or the base, for all matrices that take part.
pub(super) struct PowerStep {
    /// Whether it is read from X and goes to W, or the other way round.
    pub from_x: bool,
    pub squares: Option<Products>,
    pub times_base: Option<Products>,
}

impl RoundProducts {
    pub fn new(
        context: &Context,
        problems: &[RootProblem],
        strategy: Strategy<Blueprint>,
    ) -> Result<Self, Error> {
        // Compensated sums are rare, and their kernel is long.
        let strategy = |sums| match sums {
            Sums::Plain => strategy,
            Sums::Compensated => Strategy::Forced(Blueprint {
                sums,
                ..Blueprint::SMALL
            }),
        };
        let table = |chosen: &dyn Fn(u32) -> bool, kind: Kind, sums: Sums| {
            let numbered = problems.iter().zip(0..);
            let taken = numbered.filter(|(problem, _)| chosen(problem.p));
            let entries: Vec<Entry> = taken
                .map(|(problem, gate)| Entry {
                    gate,
                    symmetric: kind == Kind::Square,
                    ..square_product(problem, kind == Kind::Congruence).into()
                })
                .collect();
            Products::of(context, &entries, None, strategy(sums))
        };
        let chosen = |chosen: &dyn Fn(u32) -> bool, kind: Kind| {
            let any = problems.iter().any(|problem| chosen(problem.p));
            any.then(|| table(chosen, kind, Sums::Plain)).transpose()
        };
        let half = |p: u32| even(p) / 2;
        let longest = problems.iter().map(|p| power_chain(half(p.p)).len()).max();
        let longest = longest.unwrap_or(0);
        let mut powers = Vec::new();
        // Chains end together, in W.
        for left in (0..longest).rev() {
            let at = |p: u32| {
                let chain = power_chain(half(p));
                chain.len().checked_sub(left + 1).map(|at| chain[at])
            };
            powers.push(PowerStep {
                from_x: left % 2 == 0,
                squares: chosen(&|p| at(p) == Some(Link::Square), Kind::Square)?,
                times_base: chosen(&|p| at(p) == Some(Link::TimesBase), Kind::Product)?,
            });
        }
        let all = |_: u32| true;
        let both = |kind| -> Result<[Products; 2], Error> {
            Ok([
                table(&all, kind, Sums::Plain)?,
                table(&all, kind, Sums::Compensated)?,
            ])
        };
        Ok(Self {
            advance: table(&all, Kind::Product, Sums::Plain)?,
            powers,
            right: both(Kind::Product)?,
            left: both(Kind::Congruence)?,
            square: chosen(&|p| p % 2 == 1, Kind::Square)?,
        })
    }
}

/// A product on the way to a power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Square,
    TimesBase,
}

/// The products that lead from a base to its power `exponent` ≥ 1, from the leading binary digit on.
fn power_chain(exponent: u32) -> Vec<Link> {
    let digits = exponent.ilog2();
    let mut chain = Vec::new();
    for digit in (0..digits).rev() {
        chain.push(Link::Square);
        if exponent >> digit & 1 == 1 {
            chain.push(Link::TimesBase);
        }
    }
    chain
}

/// Whether the products that make W from its base start from X: they take turns with W, and end in it.
pub(super) fn power_starts_in_x(p: u32) -> bool {
    power_chain(even(p) / 2).len() % 2 == 1
}

/// A B, or Aᵀ B, of square matrices that lie in the same place of three buffers.
fn square_product(problem: &RootProblem, transposed: bool) -> Product {
    let RootProblem { start, n, .. } = *problem;
    let view = View::rows(start, n);
    let a = if transposed { view.transposed() } else { view };
    Product {
        a,
        b: view,
        c: view,
        m: n,
        n,
        k: n,
    }
}
