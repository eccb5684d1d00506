//! What [`DeviceRoots::compute`](super::DeviceRoots::compute) is made of: a round of the iteration, λ_max, and the check of a root.

use cubecl::server::Handle;

use super::check::{Multiplier, Times};
use super::control::{FINISHED, LAST, PLAIN, REFRESH, START, bits};
use super::{AMPLIFICATIONS, DeviceRoots, POWER_ITERATIONS};
use crate::context::Context;
use crate::error::Error;
use crate::product::{Gate, Products, gated};

impl DeviceRoots {
    /// H ← H Q, and M by congruence.
    pub(super) fn round(&self, context: &Context, statistics: &Handle) -> Result<(), Error> {
        let Self { h, m, q, w, x, .. } = self;
        let added = |products: &Products, buffers: [&Handle; 3], mask: u32, keep: f64| {
            let phases = &self.phases;
            gated(context, products, buffers, keep, Gate { phases, mask })
        };
        let plainly = |products: &Products, buffers, mask| added(products, buffers, mask, 0.0);
        let (plain, refresh) = (bits(&[PLAIN]), bits(&[REFRESH]));
        self.polynomial(context)?;
        let products = &self.products;
        plainly(&products.advance, [h, q, x], bits(&[PLAIN, REFRESH, LAST]))?;
        self.settle(context, statistics)?;
        for step in &products.powers {
            let (from, to) = if step.from_x { (x, w) } else { (w, x) };
            if let Some(squares) = &step.squares {
                plainly(squares, [from, from, to], plain | refresh)?;
            }
            if let Some(times_base) = &step.times_base {
                plainly(times_base, [from, q, to], plain | refresh)?;
            }
        }
        self.ridge_product(context)?;
        let [right, right_refreshed] = &products.right;
        plainly(right, [m, w, x], plain)?;
        added(right_refreshed, [m, w, x], refresh, 1.0)?;
        for (products, mask) in products.left.iter().zip([plain, refresh]) {
            plainly(products, [w, x, m], mask)?;
        }
        self.symmetrise(context)
    }

    /// A vector and its product with z S after some power iterations.
    pub(super) fn power_iterate(
        &self,
        context: &Context,
        statistics: &Handle,
    ) -> Result<[&Handle; 2], Error> {
        let [a, b, ..] = &self.vectors;
        let mut last = [&self.noise, a];
        for k in 0..POWER_ITERATIONS {
            if k > 0 {
                last = if k % 2 == 1 { [a, b] } else { [b, a] };
            }
            let mask = bits(&[START]);
            let how = (Multiplier::Statistics, Times::Always, true);
            self.apply(context, statistics, last, mask, k, how)?;
        }
        // The quotient wants a vector and its own image.
        let next = [last[1], last[0]];
        let how = (Multiplier::Statistics, Times::Always, false);
        self.apply(context, statistics, next, bits(&[START]), 0, how)?;
        Ok(next)
    }

    /// Decides which of the roots that are finished are accepted.
    pub(super) fn check(
        &self,
        context: &Context,
        statistics: &Handle,
        threshold: f64,
        last: bool,
    ) -> Result<(), Error> {
        self.finish(context)?;
        let [start, a, b, c, d] = &self.vectors;
        let mask = bits(&[FINISHED]);
        let mut from = &self.noise;
        for k in 0..AMPLIFICATIONS {
            let to = if k % 2 == 1 { start } else { a };
            let how = (Multiplier::Root, Times::Always, true);
            self.apply(context, &self.w, [from, to], mask, k, how)?;
            from = to;
        }
        // An even number of amplifications ends in `start`.
        let half = |times: Times, pair: [&Handle; 2]| -> Result<usize, Error> {
            let launches = self.largest_order.div_ceil(2) as usize;
            let mut from = start;
            for k in 0..launches {
                let to = pair[k % 2];
                let how = (Multiplier::Root, times, k == 0);
                self.apply(context, &self.w, [from, to], mask, k, how)?;
                from = to;
            }
            Ok((launches - 1) % 2)
        };
        let left = [a, b][half(Times::HalfDown, [a, b])?];
        let right = half(Times::HalfUp, [c, d])?;
        let (right, image) = if right == 0 { (c, d) } else { (d, c) };
        let how = (Multiplier::Ridged, Times::Always, false);
        self.apply(context, statistics, [right, image], mask, 0, how)?;
        self.accept(context, left, image, threshold, last)
    }
}
