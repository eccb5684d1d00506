//! Every optimizer on tensors of every kind of shape: scalars, vectors, matrices with one row or column, empty ones.

mod software;

use std::rc::Rc;

use sonew_optimizers::{
    Arena, Context, Error, KernelError, Layout, Optimizer, OptimizerConfig, PrecisionKind,
};

use software::Software;

const PRECISIONS: [PrecisionKind; 2] = [PrecisionKind::F32, PrecisionKind::Bf16Mixed];

/// Every optimizer, and Shampoo in its other ways to treat a tensor.
const SETTINGS: [(&str, &[(&str, &str)]); 13] = [
    ("sgd", &[]),
    ("momentum", &[]),
    ("nesterov", &[]),
    ("adagrad", &[]),
    ("rmsprop", &[]),
    ("adam", &[]),
    ("diag-sonew", &[]),
    ("tridiag-sonew", &[]),
    ("tridiag-sonew", &[("graft", "adam")]),
    ("band-4-sonew", &[]),
    ("shampoo", &[("start-step", "0")]),
    ("shampoo", &[("start-step", "0"), ("merge-size", "1")]),
    (
        "shampoo",
        &[
            ("start-step", "0"),
            ("merge-size", "1"),
            ("block-size", "3"),
            ("products", "device"),
        ],
    ),
];

fn shapes() -> Vec<Vec<usize>> {
    vec![
        vec![],
        vec![1],
        vec![7],
        vec![1, 7],
        vec![7, 1],
        vec![0],
        vec![0, 3],
        vec![2, 3, 4],
    ]
}

fn built(
    (name, settings): (&str, &[(&str, &str)]),
    precision: PrecisionKind,
    context: &Rc<Context>,
    layout: &Layout,
) -> Box<dyn Optimizer> {
    let mut config = OptimizerConfig::named(name).unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    config.build(precision, context.clone(), layout).unwrap()
}

/// Weights of 1, gradients that differ from place to place, a step: whether all weights moved, and are finite.
fn step_moves_all(context: &Rc<Context>, layout: &Layout) {
    for precision in PRECISIONS {
        for settings in SETTINGS {
            let mut optimizer = built(settings, precision, context, layout);
            let params = Arena::filled(context, layout, precision.format(), 1.0);
            let gradient = |range: &std::ops::Range<usize>| {
                let values = (0..range.len()).map(|i| 0.5 + 0.25 * (i % 5) as f32);
                values.collect::<Vec<f32>>()
            };
            let gradients: Vec<_> = layout.tensors().iter().map(gradient).collect();
            let grads = Arena::of(context, layout, precision.format(), &gradients).unwrap();
            optimizer.step(&params, &grads, 0.125).unwrap();
            let weights = params.tensors(context).unwrap();
            for (shape, values) in layout.shapes().iter().zip(&weights) {
                assert_eq!(values.len(), shape.iter().product::<usize>());
                let moved = values.iter().all(|w| w.is_finite() && *w < 1.0);
                assert!(moved, "{settings:?}, {precision}, {shape:?}: {values:?}");
            }
            let report = optimizer.report().unwrap();
            assert_eq!((report.step, report.non_finite_gradients), (1, 0));
        }
    }
}

#[test]
fn a_step_moves_tensors_of_every_shape_side_by_side() {
    let software = Software::open();
    let layout = Layout::with_shapes(shapes()).unwrap();
    step_moves_all(&software.context, &layout);
}

#[test]
fn a_step_moves_a_tensor_of_any_shape_that_is_alone() {
    let software = Software::open();
    for shape in [vec![], vec![1], vec![1, 7], vec![7, 1]] {
        let layout = Layout::with_shapes(vec![shape]).unwrap();
        step_moves_all(&software.context, &layout);
    }
}

#[test]
fn shampoo_takes_scalars_rows_and_columns_for_vectors_and_empty_tensors_for_nothing() {
    let software = Software::open();
    let layout = Layout::with_shapes(shapes()).unwrap();
    let settings = ("shampoo", &[("merge-size", "1")][..]);
    let shampoo = built(settings, PrecisionKind::F32, &software.context, &layout);
    let [scalar, one, vector, row, column, empty, no_rows, cube] = &shampoo.assignments()[..]
    else {
        panic!("one for each tensor");
    };
    for it in [scalar, one] {
        assert_eq!(it, "vector of 1, p = 2");
    }
    for it in [vector, row, column] {
        assert_eq!(it, "vector of 7, p = 2");
    }
    for it in [empty, no_rows, cube] {
        assert!(it.starts_with("graft only: "), "{it}");
    }
}

#[test]
fn a_model_without_a_value_is_refused() {
    for shapes in [vec![], vec![vec![0]], vec![vec![0, 3], vec![0]]] {
        let error = Layout::with_shapes(shapes).unwrap_err();
        assert!(matches!(error, KernelError::Shape { .. }), "{error}");
        assert!(error.to_string().contains("at least one value"), "{error}");
    }
}

/// What each step moves the two tensors by, the second of which has no gradient after the first step.
fn moves(settings: (&str, &[(&str, &str)]), precision: PrecisionKind) -> Vec<[f32; 2]> {
    let software = Software::open();
    let context = &software.context;
    let layout = Layout::with_shapes(vec![vec![3, 2], vec![5]]).unwrap();
    let mut optimizer = built(settings, precision, context, &layout);
    let params = Arena::zeros(context, &layout, precision.format());
    let mut before = [0.0; 2];
    let mut moves = Vec::new();
    for step in 0..3 {
        let second = if step == 0 { 1.0 } else { 0.0 };
        let gradients = [vec![1.0; 6], vec![second; 5]];
        let grads = Arena::of(context, &layout, precision.format(), &gradients).unwrap();
        optimizer.step(&params, &grads, 0.125).unwrap();
        let weights = params.tensors(context).unwrap();
        assert!(weights.iter().flatten().all(|w| w.is_finite()));
        let now = [weights[0][0], weights[1][0]];
        moves.push([before[0] - now[0], before[1] - now[1]]);
        before = now;
    }
    moves
}

#[test]
fn a_tensor_without_a_gradient_has_one_of_zeros_and_is_moved_by_what_momentum_it_has() {
    for precision in PRECISIONS {
        for settings in SETTINGS {
            let moves = moves(settings, precision);
            let [_, at_first] = moves[0];
            assert!(at_first > 0.0, "{settings:?}, {precision}: {moves:?}");
            let without = ["sgd", "adagrad"].contains(&settings.0);
            for &[with_gradient, without_gradient] in &moves[1..] {
                assert!(with_gradient > 0.0, "{settings:?}, {precision}: {moves:?}");
                assert_eq!(
                    without_gradient > 0.0,
                    !without,
                    "{settings:?}, {precision}: {moves:?}"
                );
            }
        }
    }
    let momentum = moves(("momentum", &[("beta1", "0.5")]), PrecisionKind::F32);
    let second: Vec<f32> = momentum.iter().map(|it| it[1]).collect();
    assert_eq!(second, [0.125, 0.0625, 0.03125]);
}

#[test]
fn arenas_of_another_layout_or_format_are_refused_and_nothing_moves() {
    let software = Software::open();
    let context = &software.context;
    let layout = Layout::with_shapes(vec![vec![2, 3], vec![]]).unwrap();
    let other = Layout::with_shapes(vec![vec![2, 300], vec![]]).unwrap();
    for precision in PRECISIONS {
        let format = precision.format();
        let formats = PRECISIONS.map(PrecisionKind::format);
        let wrong_format = formats[usize::from(format == formats[0])];
        let own = || Arena::filled(context, &layout, format, 1.0);
        let others = [
            Arena::filled(context, &other, format, 1.0),
            Arena::filled(context, &layout, wrong_format, 1.0),
        ];
        for settings in SETTINGS {
            let mut optimizer = built(settings, precision, context, &layout);
            let params = own();
            for wrong in &others {
                for (params, grads) in [(&params, wrong), (wrong, &own())] {
                    let error = optimizer.step(params, grads, 0.1).unwrap_err();
                    let refused = matches!(error, Error::Kernel(KernelError::Shape { .. }));
                    assert!(refused, "{settings:?}, {precision}: {error}");
                }
            }
            assert_eq!(optimizer.steps(), 0);
            let weights = params.tensors(context).unwrap().concat();
            assert!(weights.iter().all(|&w| w == 1.0), "{settings:?}");
        }
    }
}
