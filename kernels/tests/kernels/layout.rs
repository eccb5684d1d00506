//! Where tensors lie in an arena.

use sonew_kernels::arena::{BLOCK, GAP, Layout};

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
