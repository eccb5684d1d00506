//! Pictures of training curves: that ordinary and odd runs give one, and what is written on it.
//! The pictures stay in the `tmp` folder of the build directory, to be looked at.

use std::fs;
use std::path::PathBuf;

use sonew_harness::train::plot::{Curve, LossPlot, Scale};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("loss_plot")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Draws both pictures and returns the text of the SVG.
fn drawn(name: &str, plot: &LossPlot) -> String {
    let folder = folder(name);
    plot.write_to_folder(&folder).unwrap();
    let png = fs::read(folder.join("loss.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 1000);
    fs::read_to_string(folder.join("loss.svg")).unwrap()
}

fn plot(caption: &str, curves: Vec<Curve>) -> LossPlot {
    LossPlot {
        caption: caption.into(),
        loss_unit: "nats per image".into(),
        curves,
        scale: Scale::Log,
    }
}

/// Falls from 544 to about `end`, as the benchmark's runs do.
fn run(end: f64, epochs: usize) -> Vec<f64> {
    let shape = |epoch: usize| {
        let left = (epochs - 1 - epoch) as f64 / (epochs - 1) as f64;
        end + 7.0 * left
            + 40.0 * (-(epoch as f64) / 4.0).exp()
            + (epoch as f64 * 1.7 + end).sin() * 0.6 * left
    };
    std::iter::once(544.0)
        .chain((1..epochs).map(shape))
        .collect()
}

const TWELVE: [(&str, f64); 12] = [
    ("SGD", 67.65),
    ("Nesterov", 59.09),
    ("Momentum", 58.65),
    ("Adagrad", 54.39),
    ("RMSProp", 53.33),
    ("Adam", 53.59),
    ("diag-SONew", 53.03),
    ("tridiag-SONew", 51.72),
    ("band-4-SONew", 51.36),
    ("Shampoo, roots every 20", 50.7),
    ("K-FAC", 52.2),
    ("8-bit Adam", 53.8),
];

#[test]
fn twelve_optimizers_over_a_hundred_epochs() {
    let curves = TWELVE
        .iter()
        .map(|(name, end)| Curve::of_losses(*name, &run(*end, 100)))
        .collect();
    let svg = drawn(
        "twelve",
        &plot("MNIST autoencoder, batch 1000, float32", curves),
    );
    for text in [
        "MNIST autoencoder",
        "epoch",
        "nats per image",
        "SGD, 67.65",
        "Shampoo, roots every 20, 50.70",
        "Not shown",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn a_run_of_three_epochs_is_shown_whole() {
    let curves = vec![
        Curve::of_losses("sonew", &[544.7, 90.7, 75.6]),
        Curve::of_losses("adam", &[544.7, 120.0, 95.0]),
    ];
    let svg = drawn("three", &plot("The first three epochs", curves));
    assert!(!svg.contains("Not shown"));
    assert!(
        svg.contains(">500<") || svg.contains("\n500\n"),
        "the axis reaches the first loss"
    );
}

#[test]
fn a_single_curve_of_a_hundred_epochs() {
    drawn(
        "single",
        &plot(
            "sonew, band 4, seed 0",
            vec![Curve::of_losses("sonew", &run(51.4, 100))],
        ),
    );
}

#[test]
fn one_epoch_is_a_point() {
    drawn(
        "point",
        &plot("One epoch", vec![Curve::of_losses("adam", &[544.7])]),
    );
}

#[test]
fn losses_that_are_not_finite_are_left_out_and_counted() {
    let mut diverging = run(60.0, 30);
    for (epoch, loss) in diverging.iter_mut().enumerate().skip(12) {
        *loss = if epoch < 16 {
            *loss * 10_f64.powi(epoch as i32 - 11)
        } else {
            f64::NAN
        };
    }
    let mut gap = run(55.0, 30);
    gap[20] = f64::INFINITY;
    let svg = drawn(
        "diverging",
        &plot(
            "Diverging",
            vec![
                Curve::of_losses("sgd", &diverging),
                Curve::of_losses("adam", &gap),
            ],
        ),
    );
    assert!(svg.contains("sgd, diverged"));
    assert!(svg.contains("Left out of sgd: 14 losses that are not finite numbers."));
    assert!(svg.contains("Left out of adam: 1 loss that is not a finite number."));
}

#[test]
fn equal_and_missing_losses_do_not_break_the_axis() {
    let flat = vec![Curve::of_losses("sgd with learning rate 0", &[543.43; 40])];
    drawn("flat", &plot("Nothing moves", flat));
    assert!(drawn("nothing", &plot("", vec![])).contains("no loss to show"));
    assert!(
        drawn(
            "lost",
            &plot("Lost", vec![Curve::of_losses("sgd", &[f64::NAN; 3])])
        )
        .contains("no loss to show")
    );
    drawn(
        "empty",
        &plot("Not yet", vec![Curve::of_losses("sgd", &[])]),
    );
    let zero = vec![Curve::of_losses("exact", &[3.0, 1.0, 0.0])];
    assert!(
        !drawn("zero", &plot("Down to zero", zero)).contains("log scale"),
        "no logarithm of 0"
    );
    drawn(
        "huge",
        &plot(
            "Huge",
            vec![Curve::of_losses("a", &[1e-300, 1e300, f64::MAX])],
        ),
    );
}

#[test]
fn a_picture_that_cannot_be_written_is_named() {
    let plot = plot("", vec![]);
    for error in [
        plot.write_svg("no/such/loss.svg").unwrap_err(),
        plot.write_png("no/such/loss.png").unwrap_err(),
    ] {
        assert!(error.to_string().contains("no/such/loss"), "{error}");
    }
    // One that cannot take its place leaves nothing beside it.
    let parent = tempfile::tempdir().unwrap();
    for name in ["loss.svg", "loss.png"] {
        fs::create_dir(parent.path().join(name)).unwrap();
    }
    let error = plot.write_to_folder(parent.path()).unwrap_err();
    assert!(error.to_string().contains("loss.svg"), "{error}");
    assert!(plot.write_png(parent.path().join("loss.png")).is_err());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
}
