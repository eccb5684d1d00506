//! First weights: drawn from a seed, or read.

use sonew_harness::arrays::{Array, ArraysError};
use sonew_harness::train::init::InitError;
use sonew_harness::workloads::autoencoder::weights::{AUTOENCODER_SIZES, Weights};

use crate::{bytes, file_with, stored};

/// First draws of seed 0: a change here means that no published run can be repeated.
const WEIGHTS_OF_SEED_0: [f32; 4] = [0.017942812, 0.024249967, 0.026661847, -0.003952627];

#[test]
fn first_weights_fill_the_glorot_interval_and_biases_are_zero() {
    let weights = Weights::glorot_uniform(&AUTOENCODER_SIZES, 0).unwrap();
    assert_eq!(weights.parameter_count(), 2_837_314);
    for layer in &weights.layers {
        let limit = (6.0 / (layer.inputs + layer.outputs) as f32).sqrt();
        let largest = layer
            .weight
            .iter()
            .fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest <= limit && largest > 0.99 * limit);
        let count = layer.weight.len() as f64;
        let mean = layer
            .weight
            .iter()
            .map(|&value| f64::from(value))
            .sum::<f64>()
            / count;
        let square = layer
            .weight
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum::<f64>()
            / count;
        let variance = f64::from(limit).powi(2) / 3.0;
        assert!(mean.abs() < 5.0 * (variance / count).sqrt());
        assert!((square / variance - 1.0).abs() < 5.0 / count.sqrt());
        assert!(layer.bias.iter().all(|&bias| bias == 0.0) && layer.bias.len() == layer.outputs);
    }
}

#[test]
fn a_seed_gives_the_same_weights_for_ever() {
    let first =
        |seed| Weights::glorot_uniform(&[784, 1000], seed).unwrap().layers[0].weight[..4].to_vec();
    assert_eq!(first(0), WEIGHTS_OF_SEED_0);
    assert_ne!(first(1), first(0));
}

#[test]
fn sizes_that_describe_no_network_are_refused() {
    for sizes in [
        &[784][..],
        &[],
        &[784, 0, 784],
        &[784, 1 << 60, 784],
        &[1 << 40; 2],
    ] {
        assert!(matches!(
            Weights::glorot_uniform(sizes, 0),
            Err(InitError::Sizes { .. })
        ));
    }
}

#[test]
fn weights_read_back_as_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.safetensors");
    let weights = Weights::glorot_uniform(&[6, 4, 6], 3).unwrap();
    weights.save(&path).unwrap();
    assert_eq!(Weights::load(&path, &[6, 4, 6]).unwrap(), weights);
    let error = Weights::load(&path, &[6, 5, 6]).unwrap_err().to_string();
    assert!(
        error.contains("\"w0\"") && error.contains("[5, 6]") && error.contains("[4, 6]"),
        "{error}"
    );
    let error = Weights::load(&path, &[6, 4, 6, 2]).unwrap_err().to_string();
    assert!(error.contains("expected an array \"w2\""), "{error}");
}

#[test]
fn weights_that_are_not_finite_or_not_floats_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bias = Array::f32([1], vec![0.0]);
    let path = file_with(
        folder.path(),
        &[
            ("w0", Array::f32([1, 2], vec![0.0, f32::NAN])),
            ("b0", bias.clone()),
        ],
    );
    assert!(matches!(
        Weights::load(&path, &[2, 1]),
        Err(InitError::NotFinite { position: 1, .. })
    ));
    let path = file_with(
        folder.path(),
        &[("w0", Array::u32([1, 2], vec![0, 1])), ("b0", bias)],
    );
    assert!(matches!(
        Weights::load(&path, &[2, 1]),
        Err(InitError::Arrays(ArraysError::WrongType { .. }))
    ));
}

#[test]
fn weights_of_another_width_are_taken_and_arrays_beside_them_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.safetensors");
    let (w, b) = (
        bytes(&[0.5, -0.25], f64::to_le_bytes),
        bytes(&[0x3c00], u16::to_le_bytes),
    );
    let arrays = [("w0", "F64", "[1, 2]", &w[..]), ("b0", "F16", "[1]", &b)];
    std::fs::write(&path, stored(&arrays)).unwrap();
    let layer = Weights::load(&path, &[2, 1]).unwrap().layers.remove(0);
    assert_eq!((layer.weight, layer.bias), (vec![0.5, -0.25], vec![1.0]));
    for (name, taken) in [("w1", false), ("W0", false), ("step", true)] {
        let mut more = arrays.to_vec();
        more.push((name, "I64", "[]", &[0; 8]));
        std::fs::write(&path, stored(&more)).unwrap();
        match Weights::load(&path, &[2, 1]) {
            Ok(_) => assert!(taken, "{name}"),
            Err(error) => assert!(!taken && error.to_string().contains(name), "{error}"),
        }
    }
}
