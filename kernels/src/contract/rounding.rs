//! Conversions between f32 and the formats of a precision, and tensors that move into arenas: bit for bit.

use super::Check;
use super::bench::{Bench, noise};
use super::outcome::Outcome;
use crate::context::Context;
use crate::error::Error;
use crate::launch::{Strategy, Sweep};
use crate::precision::{
    HostFormat, Native, Precision, Storage, convert, inspect, round_stochastically,
};

pub(super) fn checks<P: Precision>() -> Vec<Check> {
    let format = <P::Params as HostFormat>::NAME;
    vec![
        Check::new("convert", format, conversions::<P>),
        Check::new("stochastic-rounding", format, draws::<P>),
        Check::new("inspect", "", inspections::<P>),
        Check::new("arena-move", format, moves::<P>),
    ]
}

/// Values of all sizes that every format has, and their signs.
fn spread(t: usize, i: usize) -> f64 {
    let scale = ((i % 25) as f64 - 12.0).exp2();
    f64::from((scale * noise(t, i)) as f32)
}

fn conversions<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let values = bench.tensors(spread);
    let (wide, narrow) = (
        bench.arena::<Native<f32>>(&values)?,
        bench.empty::<P::Params>(),
    );
    let back = bench.empty::<Native<f32>>();
    let sweep = Sweep::plain::<P>(context, "convert");
    let forced = Strategy::Forced(sweep);
    convert::<Native<f32>, P::Params>(context, &wide, &narrow, forced)?;
    convert::<P::Params, Native<f32>>(context, &narrow, &back, forced)?;
    let mut outcome = Outcome::named("there and back");
    for (found, values) in bench.read(&back)?.iter().zip(&values) {
        outcome.add(found, &held::<P>(values), |_| 0.0);
    }
    Ok(vec![outcome])
}

/// Every tensor from a buffer of its own into an arena, and from there into another.
fn moves<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let values = bench.tensors(spread);
    let arena = bench.empty::<P::Params>();
    for (tensor, values) in values.iter().enumerate() {
        let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        let dense = context.upload(&P::Params::encode(&narrow));
        arena.write(context, tensor, &dense)?;
    }
    let (mut written, mut read) = (Outcome::named("written"), Outcome::named("read"));
    for (tensor, found) in bench.read(&arena)?.iter().enumerate() {
        let expected = held::<P>(&values[tensor]);
        written.add(found, &expected, |_| 0.0);
        let dense: Vec<u8> = context.download("contract", &arena.read(context, tensor)?)?;
        // The last word may have room for one value more.
        let found = &P::Params::decode(&dense)[..expected.len()];
        read.add(found, &expected, |_| 0.0);
    }
    Ok(vec![written, read])
}

/// Rounded to the parameters' format.
fn held<P: Precision>(values: &[f64]) -> Vec<f64> {
    let rounded = |&x: &f64| f64::from(P::Params::rounded(x as f32));
    values.iter().map(rounded).collect()
}

/// The hash of the counter, on the host.
fn random_bits(index: u32, key: u32, step: u32) -> u32 {
    let mixed = |x: u32| {
        let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    };
    mixed(mixed(index ^ key).wrapping_add(step))
}

fn draws<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let (seed, step) = (5, 3);
    let bench = Bench::new(context, lengths)?;
    let values = bench.tensors(spread);
    let (wide, narrow) = (
        bench.arena::<Native<f32>>(&values)?,
        bench.empty::<P::Params>(),
    );
    let sweep = Sweep::plain::<P>(context, "stochastic-rounding");
    let forced = Strategy::Forced(sweep);
    round_stochastically::<P::Params>(context, &wide, &narrow, seed, step, forced)?;
    let mut outcome = Outcome::named("drawn neighbours");
    let bits = 16 - 3 * u32::from(<P::Params as Storage>::PER_WORD == 1);
    let mask = if <P::Params as Storage>::BYTES == 4 {
        0
    } else {
        (1u32 << bits) - 1
    };
    let found = bench.read(&narrow)?;
    for ((found, values), range) in found.iter().zip(&values).zip(bench.layout.tensors()) {
        // |x| moved up by less than a unit of the digits that are kept, and cut off to them.
        let drawn: Vec<f64> = values
            .iter()
            .zip(range.clone())
            .map(|(&x, at)| {
                let random = random_bits(at as u32, seed as u32, step as u32);
                let moved = (x as f32).to_bits().wrapping_add(random & mask) & !mask;
                f64::from(f32::from_bits(moved))
            })
            .collect();
        // Denormals of f16 are drawn by another way; both neighbours are a unit of theirs away at most.
        let denormal = |e: f64| mask == 0x1fff && e.abs() < 6.2e-5;
        outcome.add(found, &drawn, |e| if denormal(e) { 6e-8 } else { 0.0 });
    }
    Ok(vec![outcome])
}

fn inspections<P: Precision>(context: &Context, lengths: &[usize]) -> Result<Vec<Outcome>, Error> {
    let bench = Bench::new(context, lengths)?;
    let values = bench.dyadic(4);
    let grads = bench.arena::<P::Params>(&values)?;
    let wide = bench.empty::<Native<f32>>();
    let sweep = Sweep::plain::<P>(context, "inspect");
    let slots = bench.slots(sweep);
    let (factor, forced) = (0.25, Strategy::Forced(sweep));
    inspect::<P::Params>(context, &grads, Some(&wide), factor, &slots, forced)?;
    let mut outcome = Outcome::named("widened and scaled");
    for (found, values) in bench.read(&wide)?.iter().zip(&values) {
        let scaled: Vec<f64> = values.iter().map(|x| factor * x).collect();
        outcome.add(found, &scaled, |_| 0.0);
    }
    Ok(vec![outcome, bench.nothing_noted(&slots)?])
}
