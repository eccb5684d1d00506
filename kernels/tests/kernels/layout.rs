//! Where tensors lie in an arena.

use sonew_kernels::arena::{BLOCK, GAP, Layout, Part};

#[test]
fn every_tensor_starts_at_a_block_and_is_followed_by_a_gap() {
    let layout = Layout::new(&[1, 256, 0, 224, 225, 1000]).unwrap();
    let mut previous_end = 0;
    for tensor in layout.tensors() {
        assert_eq!(tensor.start % BLOCK, 0);
        assert!(tensor.start >= previous_end + GAP);
        previous_end = tensor.end;
    }
    assert!(layout.arena_len() >= previous_end + BLOCK);
    assert_eq!(layout.tensors()[3].len(), 224);
    assert_eq!(layout.block_ranges()[3].len(), 1);
    assert_eq!(layout.block_ranges()[4].len(), 2);
}

#[test]
fn locate_inverts_the_layout_and_knows_the_gaps() {
    let layout = Layout::new(&[3, 300]).unwrap();
    let second = layout.tensors()[1].clone();
    assert_eq!(layout.locate(second.start + 299), Some((1, 299)));
    assert_eq!(layout.locate(second.end), None);
    assert_eq!(layout.locate(0), None);
}

#[test]
fn gather_and_scatter_are_inverse_and_refuse_other_shapes() {
    let layout = Layout::new(&[2, 3]).unwrap();
    let arena = layout
        .gather(&[vec![1.0, 2.0], vec![3.0, 4.0, 5.0]])
        .unwrap();
    assert_eq!(
        layout.scatter(&arena),
        [vec![1.0, 2.0], vec![3.0, 4.0, 5.0]]
    );
    assert!(layout.gather(&[[1.0], [2.0]]).is_err());
    assert!(layout.gather(&[[1.0]]).is_err());
}

#[test]
fn a_layout_without_values_is_refused() {
    assert!(Layout::new(&[]).is_err());
    assert!(Layout::new(&[0, 0]).is_err());
}

#[test]
fn tensors_are_named_by_their_number_or_as_told_and_no_name_is_told_twice() {
    let layout = Layout::new(&[2, 3]).unwrap();
    assert_eq!(layout.names(), ["t0", "t1"]);
    let named = Layout::named([("w", vec![2]), ("b", vec![3])]).unwrap();
    assert_eq!(named.names(), ["w", "b"]);
    assert_eq!(named.tensors(), layout.tensors());
    assert!(Layout::named([("w", vec![2]), ("w", vec![3])]).is_err());
    assert!(Layout::named([("", vec![2])]).is_err());
}

#[test]
fn an_arranged_layout_has_its_parts_apart_and_its_tensors_in_their_order() {
    let layout = Layout::named([("w", vec![300]), ("b", vec![5]), ("v", vec![1])]).unwrap();
    let arranged = layout.arranged(&[1, 0, 1]).unwrap();
    assert_eq!(arranged.names(), layout.names());
    assert_eq!(arranged.shapes(), layout.shapes());
    // The pad, `b`, a block of zeros, two blocks of `w`, `v`, the pad.
    let starts: Vec<_> = arranged
        .tensors()
        .iter()
        .map(|it| it.start / BLOCK)
        .collect();
    assert_eq!((starts, arranged.blocks()), (vec![3, 1, 5], 7));
    assert_eq!(layout.arranged(&[0, 0, 0]).unwrap(), layout);
    assert!(layout.arranged(&[0, 0]).is_err());
}

#[test]
fn a_part_is_laid_out_as_its_tensors_alone_would_be() {
    let layout = Layout::named([("w", vec![300]), ("b", vec![5]), ("v", vec![1])]).unwrap();
    let arranged = layout.arranged(&[1, 0, 1]).unwrap();
    let part = Part::new(&arranged, vec![0, 2]).unwrap();
    assert_eq!(
        part.layout(),
        &Layout::named([("w", vec![300]), ("v", vec![1])]).unwrap()
    );
    assert_eq!(part.tensors(), [0, 2]);
    for other in [vec![], vec![0], vec![1, 2], vec![2, 0], vec![3]] {
        assert!(Part::new(&arranged, other.clone()).is_err(), "{other:?}");
    }
    let whole = Part::new(&layout, vec![0, 1, 2]).unwrap();
    assert_eq!(whole.layout(), &layout);
    assert!(
        Part::new(&layout, vec![1]).is_err(),
        "others lie right beside it"
    );
}
