//! Products by matrix units: a plane multiplies 16 × 16 with 16 × 8 factors of 16 bits at once, or 16 × 8 with 8 × 8 of TF32, and sums in
//! f32.
//!
//! The units of a plane hold parts of the three matrices, "fragments", in words of 32 bits: two terms of 16 bits, or one of TF32. With g the
//! number of a unit divided by 4 and t the rest, it holds rows g and g + 8 of A and column g of B, of those the words t and t + 4, and
//! columns 2t and 2t + 1 of the result in rows g and g + 8 (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", and those
//! for mma.m16n8k8). Which line of a tile is which row or column is free, as is which term is which if A and B agree. Here a unit's lines
//! are neighbours, so that it reads four at once: lines 4g to 4g + 3 are its rows in two fragments of A, and its column in four of B. Then its
//! entries of the result are rows 4g to 4g + 3 and columns 8t to 8t + 7 of the 32 × 32 that these fragments make.

use cubecl::cmma::MmaDefinition;
use cubecl::prelude::*;
use cubecl::tf32;
use half::{bf16, f16};

use super::blueprint::Blueprint;
use super::factors::{FRAGMENT, Parts, parts_of};
use super::kernel::{Place, Plan};
use super::stage::Four;

/// What a unit holds of one factor, or of several in a row.
type Fragments<N, S> = Sequence<Array<Vector<N, S>>>;

/// Words of terms whose products matrix units sum before a unit adds them to its own sums.
const CHAIN: usize = 16;

/// Writes four lines by four terms as words: for each part, vectors of four lines.
#[cube]
pub(super) fn write_words(
    shared: &mut SharedMemory<Four>,
    to: usize,
    staged: &Array<Four>,
    #[comptime] at: usize,
    #[comptime] lines: usize,
    #[comptime] blueprint: Blueprint,
) {
    let parts = comptime!(blueprint.matrix_parts().unwrap_or(Parts::Bf16));
    let terms = comptime!(parts.word_terms());
    let pitch = comptime!(blueprint.pitch(lines));
    #[unroll]
    for number in 0..comptime!(4 / terms) {
        let first = staged[at + comptime!(terms * number)];
        let last = staged[at + comptime!(terms * number + terms - 1)];
        let mut words = Sequence::<f32>::new();
        #[unroll]
        for line in 0..4usize {
            let of_first = parts_of(first[line], parts);
            let of_last = parts_of(last[line], parts);
            #[unroll]
            for part in 0..comptime!(parts.count()) {
                words.push(word(*of_first.index(part), *of_last.index(part), parts));
            }
        }
        #[unroll]
        for part in 0..comptime!(parts.count()) {
            let mut four = Four::empty();
            #[unroll]
            for line in 0..4usize {
                four[line] = *words.index(comptime!(line * parts.count() + part));
            }
            let of_part = comptime!(part * blueprint.terms / terms + number);
            shared[to + comptime!(of_part * pitch)] = four;
        }
    }
}

/// Two numbers of 16 bits, the first in the lower half, as the bits of an f32, for shared memory holds one kind of number; or a TF32.
#[cube]
fn word(first: f32, last: f32, #[comptime] parts: Parts) -> f32 {
    match parts {
        Parts::Tf32 => first,
        Parts::F16 => {
            let mut pair = Vector::<f16, Const<2>>::empty();
            pair[0] = f16::cast_from(first);
            pair[1] = f16::cast_from(last);
            f32::reinterpret(pair)
        }
        // Parts are bf16 already.
        Parts::Bf16 | Parts::Three => {
            f32::reinterpret((u32::reinterpret(first) >> 16u32) | u32::reinterpret(last))
        }
    }
}

/// Adds the products of a turn's terms, of those of this unit's slice, to its sums.
#[cube]
pub(super) fn multiply_turn_by_matrix_units(
    shared: &SharedMemory<Four>,
    base: usize,
    place: Place,
    sums: &mut Array<f32>,
    #[comptime] plan: Plan,
) {
    match comptime!(plan.blueprint.matrix_parts()) {
        Some(Parts::F16) => multiply_turn_of::<f16, Const<2>>(shared, base, place, sums, plan),
        Some(Parts::Tf32) => multiply_turn_of::<tf32, Const<1>>(shared, base, place, sums, plan),
        _ => multiply_turn_of::<bf16, Const<2>>(shared, base, place, sums, plan),
    }
}

#[cube]
fn multiply_turn_of<N: Float, S: Size>(
    shared: &SharedMemory<Four>,
    base: usize,
    place: Place,
    sums: &mut Array<f32>,
    #[comptime] plan: Plan,
) {
    let blueprint = comptime!(plan.blueprint);
    let parts = comptime!(blueprint.matrix_parts().unwrap_or(Parts::Bf16));
    let words = comptime!(blueprint.slice_terms() / parts.word_terms());
    // Fragments of several parts fill the registers.
    let together = comptime!(if parts.count() == 1 && words.is_multiple_of(CHAIN) {
        CHAIN
    } else {
        FRAGMENT[2]
    });
    let lane = place.number % 32;
    let word = lane % 4 + place.slice * words;
    let across = comptime!(blueprint.columns / 32);
    let column = place.number / 32 % across * 8 + lane / 4;
    let left_pitch = comptime!(blueprint.pitch(blueprint.rows));
    let right_pitch = comptime!(blueprint.pitch(blueprint.columns));
    let mut left = base + word * left_pitch + place.row;
    let mut right =
        base + comptime!(blueprint.operand(blueprint.rows)) + word * right_pitch + column;
    for _ in 0..comptime!(words / together) {
        let steps = comptime!(together / FRAGMENT[2]);
        multiply_chain::<N, S>(shared, left, right, sums, steps, plan);
        left += comptime!(together * left_pitch);
        right += comptime!(together * right_pitch);
    }
}

/// Adds the products of `steps` fragments' terms.
#[cube]
fn multiply_chain<N: Float, S: Size>(
    shared: &SharedMemory<Four>,
    left: usize,
    right: usize,
    sums: &mut Array<f32>,
    #[comptime] steps: usize,
    #[comptime] plan: Plan,
) {
    let blueprint = comptime!(plan.blueprint);
    let parts = comptime!(blueprint.matrix_parts().unwrap_or(Parts::Bf16));
    let halves = comptime!(blueprint.unit_rows / 4);
    let left_pitch = comptime!(blueprint.pitch(blueprint.rows));
    let right_pitch = comptime!(blueprint.pitch(blueprint.columns));
    // Of each step, and each part.
    let mut rows = Fragments::<N, S>::new();
    let mut columns = Fragments::<N, S>::new();
    #[unroll]
    for step in 0..steps {
        #[unroll]
        for part in 0..comptime!(parts.count()) {
            let words = comptime!(part * blueprint.terms / parts.word_terms() + step * FRAGMENT[2]);
            let left = left + comptime!(words * left_pitch);
            #[unroll]
            for half in 0..halves {
                let left = left + comptime!(half * blueprint.rows / 8);
                read_rows(shared, left, &mut rows, left_pitch);
            }
            read_columns(
                shared,
                right + comptime!(words * right_pitch),
                &mut columns,
                right_pitch,
            );
        }
    }
    let units = MmaDefinition::<N, N, f32>::new(
        FRAGMENT[0],
        FRAGMENT[1],
        comptime!(parts.fragment_terms()),
    );
    #[unroll]
    for i in 0..comptime!(2 * halves) {
        #[unroll]
        for j in 0..4usize {
            let mut found = Array::<Vector<f32, Const<1>>>::new(4usize);
            #[unroll]
            for entry in 0..4usize {
                found[entry] = Vector::new(0.0f32);
            }
            #[unroll]
            for step in 0..steps {
                #[unroll]
                for product in 0..comptime!(parts.products().len()) {
                    let x = comptime!(parts.products()[product][0]);
                    let y = comptime!(parts.products()[product][1]);
                    units.execute_inplace(
                        rows.index(comptime!((step * parts.count() + x) * 2 * halves + i)),
                        columns.index(comptime!((step * parts.count() + y) * 4 + j)),
                        &mut found,
                    );
                }
            }
            #[unroll]
            for entry in 0..4usize {
                let row = comptime!(2 * i + entry / 2);
                let value = found[entry];
                sums[comptime!(row * 8 + entry % 2 * 4 + j)] += value[0];
            }
        }
    }
}

/// Four rows of A: two fragments.
#[cube]
fn read_rows<N: Float, S: Size>(
    shared: &SharedMemory<Four>,
    at: usize,
    rows: &mut Fragments<N, S>,
    #[comptime] pitch: usize,
) {
    let near = shared[at];
    let far = shared[at + comptime!(4 * pitch)];
    #[unroll]
    for i in 0..2usize {
        let mut fragment = Array::<Vector<N, S>>::new(4usize);
        fragment[0] = Vector::<N, S>::reinterpret(near[comptime!(2 * i)]);
        fragment[1] = Vector::<N, S>::reinterpret(near[comptime!(2 * i + 1)]);
        fragment[2] = Vector::<N, S>::reinterpret(far[comptime!(2 * i)]);
        fragment[3] = Vector::<N, S>::reinterpret(far[comptime!(2 * i + 1)]);
        rows.push(fragment);
    }
}

/// Four columns of B: as many fragments.
#[cube]
fn read_columns<N: Float, S: Size>(
    shared: &SharedMemory<Four>,
    at: usize,
    columns: &mut Fragments<N, S>,
    #[comptime] pitch: usize,
) {
    let near = shared[at];
    let far = shared[at + comptime!(4 * pitch)];
    #[unroll]
    for j in 0..4usize {
        let mut fragment = Array::<Vector<N, S>>::new(2usize);
        fragment[0] = Vector::<N, S>::reinterpret(near[j]);
        fragment[1] = Vector::<N, S>::reinterpret(far[j]);
        columns.push(fragment);
    }
}
