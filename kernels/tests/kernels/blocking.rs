//! How tensors become matrices and blocks.

use sonew_kernels::arena::Layout;
use sonew_kernels::kronecker::{Blocking, Limits};

const LIMITS: Limits = Limits {
    block: 2048,
    merge: 4096,
    largest: 4096,
};

fn blocking(shapes: &[&[usize]], limits: Limits) -> Blocking {
    let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
    Blocking::new(&Layout::with_shapes(shapes).unwrap(), limits, None, true).unwrap()
}

#[test]
fn every_shape_has_an_assignment() {
    let shapes: &[&[usize]] = &[
        &[],
        &[1],
        &[7],
        &[1, 9],
        &[9, 1],
        &[1, 5000],
        &[1000, 784],
        &[3, 4],
        &[5000, 10],
        &[64, 3, 3, 70],
        &[100, 100, 100],
        &[0, 3],
    ];
    let found = blocking(shapes, LIMITS);
    let text: Vec<String> = found
        .assignments()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        text,
        [
            "vector of 1, p = 2",
            "vector of 1, p = 2",
            "vector of 7, p = 2",
            "vector of 9, p = 2",
            "vector of 9, p = 2",
            "graft only: an axis of 5000 is longer than 4096",
            "matrix of 1000 × 784, p = 4",
            "vector of 12, p = 2",
            "graft only: an axis of 5000 is longer than 4096",
            "matrix of 576 × 70, p = 4",
            "graft only: 3 axes are left after merging",
            "graft only: it is empty",
        ]
    );
}

#[test]
fn blocks_cover_each_value_of_a_cut_matrix_once() {
    let limits = Limits {
        block: 40,
        merge: 1,
        ..LIMITS
    };
    let found = blocking(&[&[3], &[100, 70]], limits);
    let layout = Layout::with_shapes(vec![vec![3], vec![100, 70]]).unwrap();
    let mut seen = vec![0; layout.arena_len()];
    for block in found.blocks() {
        for row in 0..block.rows {
            for column in 0..block.columns {
                seen[block.start + row * block.stride + column] += 1;
            }
        }
    }
    assert_eq!(layout.scatter(&seen), [vec![1; 3], vec![1; 7000]]);
    assert_eq!(found.blocks().len(), 1 + 3 * 2);
    let sizes: Vec<usize> = found.factors().iter().map(|factor| factor.n).collect();
    assert_eq!(sizes, [3, 40, 40, 40, 30, 40, 40, 40, 30, 20, 40, 20, 30]);
    let total: usize = sizes.iter().map(|n| n * n).sum();
    assert_eq!(found.factor_values(), total);
}
