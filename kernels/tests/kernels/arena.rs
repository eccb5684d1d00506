//! What an arena knows, and tensors that move into it and out of it on the device.

use sonew_kernels::arena::{Arena, Layout, Part};
use sonew_kernels::error::Error;
use sonew_kernels::precision::Format;
use sonew_kernels::sonew::{Blueprint, EdgeRemoval, Ghosts};

use crate::bench::*;

/// Odd, even, a block, and none.
const LENGTHS: &[usize] = &[1, 2, 7, 0, 256, 257, 33];

fn layout() -> Layout {
    Layout::new(LENGTHS).unwrap()
}

/// Values that differ from tensor to tensor, of both signs, not all in a format of 16 bits.
fn values(seed: usize) -> Vec<Vec<f32>> {
    let of = |(t, &n): (usize, &usize)| (0..n).map(|i| noise(seed + t, i) as f32).collect();
    LENGTHS.iter().enumerate().map(of).collect()
}

/// The bytes that an arena of these tensors should have: zeros wherever no tensor is.
fn expected(format: Format, tensors: &[Vec<f32>]) -> Vec<u8> {
    format.encode(&layout().gather(tensors).unwrap())
}

fn bytes(bench: &Bench, arena: &Arena) -> Vec<u8> {
    bench.context.download("test", arena.handle()).unwrap()
}

#[test]
fn a_dense_tensor_is_written_into_its_place_and_nothing_else_changes() {
    let bench = Bench::open();
    for format in Format::ALL {
        let mut tensors = values(1);
        let arena = Arena::of(&bench.context, &layout(), format, &tensors).unwrap();
        assert_eq!(
            bytes(&bench, &arena),
            expected(format, &tensors),
            "{format}"
        );
        for (t, new) in values(50).into_iter().enumerate() {
            let dense = bench.context.upload(&format.encode(&new));
            arena.write(&bench.context, t, &dense).unwrap();
            tensors[t] = new;
            let found = bytes(&bench, &arena);
            assert!(found == expected(format, &tensors), "{format}, tensor {t}");
        }
    }
}

#[test]
fn what_shares_the_last_word_of_a_dense_tensor_stays_out_of_the_arena() {
    let bench = Bench::open();
    let format = Format::Bf16;
    let mut tensors = values(1);
    let arena = Arena::of(&bench.context, &layout(), format, &tensors).unwrap();
    for (t, new) in values(50).into_iter().enumerate() {
        // Something in the second half of the last word where the length is odd.
        let mut padded = new.clone();
        padded.resize(new.len().next_multiple_of(2), 1.0);
        let dense = bench.context.upload(&format.encode(&padded));
        arena.write(&bench.context, t, &dense).unwrap();
        tensors[t] = new;
    }
    assert!(bytes(&bench, &arena) == expected(format, &tensors));
}

#[test]
fn a_tensor_that_is_read_is_dense_and_can_be_written_again() {
    let bench = Bench::open();
    for format in Format::ALL {
        let tensors = values(1);
        let arena = Arena::of(&bench.context, &layout(), format, &tensors).unwrap();
        let other = Arena::zeros(&bench.context, &layout(), format);
        for (t, values) in tensors.iter().enumerate() {
            let dense = arena.read(&bench.context, t).unwrap();
            let found: Vec<u8> = bench.context.download("test", &dense).unwrap();
            // Behind an odd number of bf16 is a zero.
            assert_eq!(found, format.encode(values), "{format}, tensor {t}");
            other.write(&bench.context, t, &dense).unwrap();
        }
        assert!(
            bytes(&bench, &other) == expected(format, &tensors),
            "{format}"
        );
        assert!(
            bytes(&bench, &arena) == expected(format, &tensors),
            "{format}"
        );
    }
}

#[test]
fn tensors_move_without_passing_through_host_memory() {
    let bench = Bench::open();
    let context = &bench.context;
    let arena = Arena::of(context, &layout(), Format::F32, &values(1)).unwrap();
    let other = Arena::zeros(context, &layout(), Format::F32);
    let before = (context.uploads(), context.waits());
    for t in 0..LENGTHS.len() {
        let dense = arena.read(context, t).unwrap();
        other.write(context, t, &dense).unwrap();
    }
    assert_eq!((context.uploads(), context.waits()), before);
    assert_eq!(other.tensors(context).unwrap(), values(1));
}

#[test]
fn moving_names_the_tensor_that_there_is_none_of_and_the_length_that_is_another() {
    let bench = Bench::open();
    let context = &bench.context;
    let arena = Arena::zeros(context, &layout(), Format::Bf16);
    let dense = context.upload(&[0u8; 16]);
    let unknown = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        let names = matches!(
            error,
            Error::Shape {
                argument: "tensor",
                ..
            }
        );
        assert!(names, "{error}");
    };
    unknown(arena.write(context, LENGTHS.len(), &dense));
    unknown(arena.read(context, LENGTHS.len()).map(|_| ()));
    arena.write(context, 2, &dense).expect("seven values");
    for tensor in [0, 1, 3, 4] {
        let error = arena.write(context, tensor, &dense).unwrap_err();
        let names = matches!(
            error,
            Error::Length {
                argument: "from",
                ..
            }
        );
        assert!(names, "{error}");
    }
}

#[test]
fn an_arena_knows_its_length_and_refuses_a_buffer_that_has_another() {
    let bench = Bench::open();
    let (context, layout) = (&bench.context, layout());
    for format in Format::ALL {
        let arena = Arena::zeros(context, &layout, format);
        assert_eq!(arena.values(), layout.arena_len());
        assert_eq!(arena.bytes(), format.bytes() * layout.arena_len());
        let handle = arena.handle().clone();
        let around = Arena::around(handle.clone(), &layout, format).unwrap();
        assert_eq!(around.format(), format);
        let short = handle.offset_end(4);
        let error = Arena::around(short, &layout, format).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{error}");
        let few = vec![0.0; layout.arena_len() - 1];
        assert!(Arena::from_values(context, &layout, format, &few).is_err());
    }
}

#[test]
fn every_value_of_a_filled_arena_lies_in_a_tensor() {
    let bench = Bench::open();
    for format in Format::ALL {
        let arena = Arena::filled(&bench.context, &layout(), format, 0.5);
        let tensors: Vec<Vec<f32>> = LENGTHS.iter().map(|&n| vec![0.5; n]).collect();
        assert!(
            bytes(&bench, &arena) == expected(format, &tensors),
            "{format}"
        );
    }
}

#[test]
fn ghost_columns_lie_behind_the_tensors_and_hold_what_they_copy() {
    let bench = Bench::open();
    let (context, layout) = (&bench.context, layout());
    let blueprint = Blueprint::infer::<sonew_kernels::precision::F32>(context.profile(), 1);
    let ghosts = Ghosts::new(&layout, 1, EdgeRemoval::Outgoing, blueprint);
    let empty = Arena::zeros_with_ghosts(context, &layout, Format::F32, ghosts).unwrap();
    assert_eq!(empty.values(), ghosts.state_len());
    let tensors = values(1);
    let arena = Arena::of_with_ghosts(context, &layout, Format::F32, &tensors, ghosts).unwrap();
    let all: Vec<f32> = context.download("test", arena.handle()).unwrap();
    assert_eq!(all.len(), ghosts.state_len());
    for (copy, column) in ghosts.copies() {
        assert_eq!(all[copy], all[column]);
    }
    // The values of tensors are those of an arena without.
    assert_eq!(arena.tensors(context).unwrap(), tensors);
    // A tensor that is written would leave the copies behind.
    let dense = arena.read(context, 0).unwrap();
    assert!(arena.write(context, 0, &dense).is_err());
    let other = Layout::new(&[5000]).unwrap();
    assert!(Arena::zeros_with_ghosts(context, &other, Format::F32, ghosts).is_err());
}

#[test]
fn an_arena_is_held_to_a_layout_and_a_format_even_where_its_length_is_the_same() {
    let bench = Bench::open();
    let (context, layout) = (&bench.context, Layout::new(&[12, 300]).unwrap());
    let arena = Arena::zeros(context, &layout, Format::Bf16);
    let require = |layout: &Layout, format| {
        let result = arena.require("test", "moment", layout, format);
        result.map_err(|error| error.to_string())
    };
    // Where tensors lie counts, not their shapes.
    let shaped = Layout::with_shapes(vec![vec![3, 4], vec![300]]).unwrap();
    assert_eq!(require(&shaped, Format::Bf16), Ok(()));
    assert_eq!(
        require(&layout, Format::F16).unwrap_err(),
        "test: moment is an arena of bf16, expected one of f16"
    );
    let other = Layout::new(&[13, 300]).unwrap();
    assert_eq!(other.arena_len(), layout.arena_len());
    let refused = require(&other, Format::Bf16).unwrap_err();
    assert!(refused.contains("moment"), "{refused}");
    assert!(refused.contains("313 values"), "{refused}");
}

#[test]
fn a_part_of_an_arena_is_the_same_memory_and_what_moves_it_leaves_the_others_alone() {
    let bench = Bench::open();
    let context = &bench.context;
    let parts: Vec<usize> = (0..LENGTHS.len()).map(|tensor| tensor % 3).collect();
    let layout = layout().arranged(&parts).unwrap();
    for format in Format::ALL {
        let mut tensors = values(1);
        let whole = Arena::of(context, &layout, format, &tensors).unwrap();
        let numbers = vec![1, 4];
        let part = Part::new(&layout, numbers.clone()).unwrap();
        let arena = part.of("test", "whole", &whole).unwrap();
        let rounded = |tensor: usize| format.decode(&format.encode(&tensors[tensor]));
        let seen: Vec<Vec<f32>> = numbers
            .iter()
            .map(|&tensor| rounded(tensor)[..LENGTHS[tensor]].to_vec())
            .collect();
        assert_eq!(arena.tensors(context).unwrap(), seen, "{format}");
        for (tensor, new) in values(50).into_iter().enumerate() {
            if let Some(own) = numbers.iter().position(|&it| it == tensor) {
                let dense = context.upload(&format.encode(&new));
                arena.write(context, own, &dense).unwrap();
                tensors[tensor] = new;
            }
        }
        let expected = format.encode(&layout.gather(&tensors).unwrap());
        assert!(bytes(&bench, &whole) == expected, "{format}");
        let other = Arena::zeros(context, &Layout::new(LENGTHS).unwrap(), format);
        assert!(part.of("test", "whole", &other).is_err());
    }
}
