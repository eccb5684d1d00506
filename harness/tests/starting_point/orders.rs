//! Batch orders: drawn from a seed, or read.

use sonew_harness::arrays::{Array, ArraysError};
use sonew_harness::train::order::{BatchOrder, OrderError};
use sonew_harness::workloads::Examples;

use crate::{bytes, file_with, stored};

/// First batch of seed 0: a change here means that no published run can be repeated.
const ORDER_OF_SEED_0: [u32; 4] = [16_645, 21_158, 9_456, 54_032];

fn images(count: usize) -> Examples {
    Examples {
        count,
        one: "image",
        many: "images",
    }
}

#[test]
fn every_epoch_is_a_fresh_permutation_without_the_incomplete_batch() {
    let mut order = BatchOrder::shuffled(images(10), 3, 7).unwrap();
    assert_eq!(order.steps_per_epoch(), 3);
    let mut epoch = |number: usize| -> Vec<u32> {
        (0..3)
            .flat_map(|step| order.batch(3 * number + step).unwrap().to_vec())
            .collect()
    };
    let (first, second, again) = (epoch(0), epoch(1), epoch(0));
    for indices in [&first, &second] {
        let mut sorted = indices.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 9, "no image twice in an epoch");
        assert!(sorted.iter().all(|&index| index < 10));
    }
    assert_ne!(first, second);
    assert_eq!(
        first, again,
        "an epoch can be drawn without those before it"
    );
}

#[test]
fn a_seed_gives_the_same_order_for_ever() {
    let first = |seed| {
        BatchOrder::shuffled(images(60_000), 4, seed)
            .unwrap()
            .batch(0)
            .unwrap()
            .to_vec()
    };
    assert_eq!(first(0), ORDER_OF_SEED_0);
    assert_ne!(first(1), first(0));
}

#[test]
fn a_batch_larger_than_the_data_is_refused() {
    assert!(matches!(
        BatchOrder::shuffled(images(10), 11, 0),
        Err(OrderError::Batch {
            batch: 11,
            examples: Examples { count: 10, .. }
        })
    ));
    assert!(matches!(
        BatchOrder::shuffled(images(10), 0, 0),
        Err(OrderError::Batch { .. })
    ));
}

#[test]
fn an_order_reads_back_as_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.safetensors");
    let mut drawn = BatchOrder::shuffled(images(10), 3, 7).unwrap();
    drawn.save(&path, 5).unwrap();
    let mut read = BatchOrder::load(&path, images(10), 3, 5).unwrap();
    for step in 0..5 {
        assert_eq!(read.batch(step).unwrap(), drawn.batch(step).unwrap());
    }
    assert!(matches!(
        read.batch(5),
        Err(OrderError::PastEnd { step: 5, steps: 5 })
    ));
    assert!(
        matches!(
            BatchOrder::load(&path, images(10), 3, 6),
            Err(OrderError::Shape { .. })
        ),
        "too few steps"
    );
    assert!(
        matches!(
            BatchOrder::load(&path, images(10), 5, 3),
            Err(OrderError::Shape { .. })
        ),
        "another batch size"
    );
    assert!(matches!(
        BatchOrder::load(&path, images(9), 3, 5),
        Err(OrderError::Index {
            index: 9,
            examples: Examples { count: 9, .. },
            ..
        })
    ));
}

#[test]
fn an_order_of_any_integers_is_read_and_stands_alone_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.safetensors");
    let signed = bytes(&[3, 0, 2, 1], i64::to_le_bytes);
    let order = ("order", "I64", "[2, 2]", &signed[..]);
    std::fs::write(&path, stored(&[order])).unwrap();
    let mut read = BatchOrder::load(&path, images(4), 2, 2).unwrap();
    assert_eq!(read.batch(0).unwrap(), [3, 0]);
    assert_eq!(read.batch(1).unwrap(), [2, 1]);
    std::fs::write(&path, stored(&[order, ("Order", "I64", "[0]", &[])])).unwrap();
    let error = BatchOrder::load(&path, images(4), 2, 2)
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"Order\" differs"), "{error}");
}

#[test]
fn an_order_of_floats_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_with(
        folder.path(),
        &[("order", Array::f32([1, 2], vec![0.0, 1.0]))],
    );
    assert!(matches!(
        BatchOrder::load(&path, images(9), 2, 1),
        Err(OrderError::Arrays(ArraysError::WrongType { .. }))
    ));
}
