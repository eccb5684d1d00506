//! Tensors with settings of their own.

mod run;
#[path = "../software/mod.rs"]
mod software;

use run::{Run, only, tensors, value};
use software::Software;
use sonew_optimizers::{
    Arena, Chains, Error, FirstOrder, Graft, Group, Layout, NonFinite, Numerics, PrecisionKind,
    Recipe, Shampoo, Sonew, State, WeightRounding,
};

const STEPS: usize = 6;
const LR: f64 = 0.01;

#[test]
fn tensors_of_another_optimizer_move_by_the_bits_that_it_moves_them_by_alone() {
    let software = Software::open();
    let context = &software.context;
    let sonew = Sonew::tridiagonal().graft(Graft::Adam);
    let shampoo = Shampoo::default()
        .merge_size(1)
        .start_step(2)
        .root_interval(3);
    let adam = FirstOrder::adam();
    let recipe = Recipe::from(sonew)
        .group(Group::named("embedding").optimizer(adam))
        .group(Group::shaped(&[None, Some(30)]).optimizer(shampoo))
        .group(Group::named("b*").optimizer(adam));
    let alone: [(Recipe, &[&str]); 3] = [
        (sonew.into(), &["w0", "scale", "none"]),
        (adam.into(), &["embedding", "b0", "b1"]),
        (shampoo.into(), &["w1"]),
    ];
    for precision in PrecisionKind::ALL {
        let together = Run::of(context, tensors(), &recipe, precision).steps();
        for (recipe, names) in &alone {
            let own = Run::of(context, only(names), recipe, precision).steps();
            for name in *names {
                assert!(together.bits(name) == own.bits(name), "{precision} {name}");
            }
        }
        let bytes = together.optimizer.state_bytes_per_parameter();
        assert!(bytes > 0.0 && together.optimizer.steps() == STEPS as u64);
    }
}

#[test]
fn the_same_rates_in_a_table_move_weights_as_one_rate_does() {
    let software = Software::open();
    let context = &software.context;
    let recipes: [Recipe; 5] = [
        FirstOrder::adam().weight_decay(0.1).into(),
        FirstOrder::momentum().into(),
        Sonew::tridiagonal().weight_decay(0.1).into(),
        Sonew::band(4).graft(Graft::Adam).into(),
        Shampoo::default().merge_size(1).weight_decay(0.1).into(),
    ];
    for recipe in recipes {
        let alike = Run::of(context, tensors(), &recipe, PrecisionKind::F32).steps();
        let half = recipe.clone().group(Group::named("*").lr(0.5));
        let mut halved = Run::of(context, tensors(), &half, PrecisionKind::F32);
        for step in 0..STEPS {
            let grads = halved.grads(step);
            halved
                .optimizer
                .step(&halved.params, &grads, 2.0 * LR)
                .unwrap();
        }
        for (name, _) in tensors() {
            for (a, b) in alike.bits(&name).into_iter().zip(halved.bits(&name)) {
                let (a, b) = (f32::from_bits(a), f32::from_bits(b));
                // The product with the decay is rounded once more.
                assert!((a - b).abs() <= 1e-6, "{recipe:?} {name}: {a} {b}");
            }
        }
    }
}

#[test]
fn frozen_tensors_stay_whatever_their_gradient_is_and_have_no_state() {
    let software = Software::open();
    let context = &software.context;
    let rest = only(&["embedding", "b0", "scale", "none", "b1"]);
    let mixed = Numerics {
        weights: WeightRounding::Master,
        ..PrecisionKind::Bf16Mixed.into()
    };
    let f32 = PrecisionKind::F32.into();
    let cases = [
        (f32, true),
        (f32, false),
        (PrecisionKind::F16.into(), false),
        (mixed, false),
    ];
    for (numerics, clipped) in cases {
        let base = if clipped {
            Recipe::from(FirstOrder::momentum()).clip_norm(0.5)
        } else {
            Recipe::from(Sonew::band(2))
        };
        let base = base.average(0.9);
        let recipe = base.clone().group(Group::named("w*").frozen());
        let mut run = Run::of(context, tensors(), &recipe, numerics);
        let before = ["w0", "w1"].map(|name| run.bits(name));
        for step in 0..STEPS {
            let mut grads = run.grads(step).tensors(context).unwrap();
            grads[1].fill(f32::NAN);
            grads[5].fill(1e4);
            let format = run.precision.format();
            let grads = Arena::of(context, &run.layout, format, &grads).unwrap();
            run.optimizer.step(&run.params, &grads, LR).unwrap();
        }
        assert!(
            ["w0", "w1"].map(|name| run.bits(name)) == before,
            "{numerics:?}"
        );
        assert_eq!(run.optimizer.report().unwrap().non_finite_gradients, 0);
        let others = Run::of(context, rest.clone(), &base, numerics).steps();
        for (name, _) in &rest {
            for (a, b) in run.bits(name).into_iter().zip(others.bits(name)) {
                // The squares of more tensors are folded in another order, which may round the factor another way.
                let (x, y) = (f32::from_bits(a), f32::from_bits(b));
                let same = a == b || clipped && (x - y).abs() <= 1e-6;
                assert!(same, "{numerics:?} {name}: {x} {y}");
            }
        }
        let state = run.optimizer.state().unwrap();
        let of_frozen = |name: &&String| name.starts_with('w') && !name.ends_with("average");
        let mut names = state.arrays().keys().filter(of_frozen);
        assert!(names.all(|name| name.ends_with("master")));
    }
}

#[test]
fn what_is_not_finite_in_a_frozen_tensor_skips_and_stops_nothing() {
    let software = Software::open();
    let context = &software.context;
    let recipe = Recipe::from(FirstOrder::adam()).group(Group::named("w0").frozen());
    for precision in [PrecisionKind::F32, PrecisionKind::F16Mixed] {
        for non_finite in [NonFinite::Skip, NonFinite::Stop] {
            let numerics = Numerics {
                non_finite,
                ..precision.into()
            };
            let mut run = Run::of(context, tensors(), &recipe, numerics);
            let mut step = |bad: usize| {
                let mut grads = run.grads(0).tensors(context).unwrap();
                grads[bad][3] = f32::NAN;
                let format = run.precision.format();
                let grads = Arena::of(context, &run.layout, format, &grads).unwrap();
                let stepped = run.optimizer.step(&run.params, &grads, LR);
                let report = run.optimizer.report().unwrap();
                (
                    stepped.is_ok(),
                    run.optimizer.steps(),
                    report.first_non_finite,
                )
            };
            assert_eq!(step(1), (true, 1, None), "{numerics:?}");
            // Of a loss scale that can be halved a step is skipped whatever the policy.
            let (stepped, steps, first) = step(2);
            let scaled = precision == PrecisionKind::F16Mixed;
            assert_eq!(stepped, scaled || non_finite == NonFinite::Skip);
            assert_eq!((steps, first), (1, Some((2, 3))), "{numerics:?}");
        }
    }
}

#[test]
fn all_tensors_frozen_is_a_step_that_moves_nothing() {
    let software = Software::open();
    let context = &software.context;
    let recipe = Recipe::from(FirstOrder::adam()).group(Group::named("*").frozen());
    let run = Run::of(context, tensors(), &recipe, PrecisionKind::F32).steps();
    let untouched = Run::of(context, tensors(), &recipe, PrecisionKind::F32);
    for (name, _) in tensors() {
        assert!(run.bits(&name) == untouched.bits(&name));
    }
    assert_eq!(run.optimizer.steps(), STEPS as u64);
    assert_eq!(run.optimizer.state_bytes_per_parameter(), 0.0);
}

#[test]
fn rows_as_chains_move_as_tensors_of_one_row_each() {
    let software = Software::open();
    let context = &software.context;
    for sonew in [Sonew::tridiagonal(), Sonew::band(4)] {
        for precision in [PrecisionKind::F32, PrecisionKind::F16] {
            let recipe = Recipe::from(sonew).group(Group::named("w0").chains(Chains::Rows));
            let run = Run::of(context, tensors(), &recipe, precision).steps();
            let rows = Layout::new(&[20; 15]).unwrap();
            let format = precision.format();
            let rows_of = |seed| {
                let row = |r: usize| (0..20).map(|i| value(seed, "w0", 20 * r + i)).collect();
                let rows_of: Vec<Vec<f32>> = (0..15).map(row).collect();
                Arena::of(context, &rows, format, &rows_of).unwrap()
            };
            let params = rows_of(0);
            let mut apart = sonew.build(precision, context.clone(), &rows).unwrap();
            for step in 0..STEPS {
                apart.step(&params, &rows_of(step + 1), LR).unwrap();
            }
            let expected = params.tensors(context).unwrap().concat();
            let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
            assert!(run.bits("w0") == expected, "{sonew:?} {precision}");
            let whole = Run::of(context, tensors(), &sonew.into(), precision).steps();
            assert!(run.bits("w0") != whole.bits("w0") && run.bits("w1") == whole.bits("w1"));
        }
    }
}

#[test]
fn the_launches_of_a_step_depend_on_the_optimizers_and_not_on_tensors_or_rates() {
    let software = Software::open();
    let context = &software.context;
    let launches = |recipe: &Recipe, copies: usize| {
        let all = (0..copies).flat_map(|copy| {
            let own = tensors().into_iter();
            own.map(move |(name, shape)| (format!("{copy}.{name}"), shape))
        });
        let mut run = Run::of(context, all.collect(), recipe, PrecisionKind::F32);
        run.step(0);
        let grads = run.grads(1);
        let (launched, waited) = (context.launches(), context.waits());
        run.optimizer.step(&run.params, &grads, LR).unwrap();
        assert_eq!(context.waits(), waited);
        context.launches() - launched
    };
    let sonew = Recipe::from(Sonew::tridiagonal());
    for copies in [1, 20] {
        assert_eq!(launches(&sonew, copies), 1);
        let rates = sonew
            .clone()
            .group(Group::named("*b*").lr(0.5).weight_decay(0.0))
            .group(Group::named("*w*").chains(Chains::Rows));
        assert_eq!(launches(&rates, copies), 1);
        let frozen = rates.clone().group(Group::shaped(&[]).frozen());
        assert_eq!(launches(&frozen, copies), 1);
        let two = rates.group(Group::named("*embedding").optimizer(FirstOrder::adam()));
        assert_eq!(launches(&two, copies), 2);
    }
}

#[test]
fn a_state_with_groups_clipping_accumulation_and_averages_goes_on_with_the_same_bits() {
    let software = Software::open();
    let context = &software.context;
    let recipe = Recipe::from(Sonew::tridiagonal())
        .group(
            Group::named("embedding")
                .optimizer(FirstOrder::adam())
                .lr(3.0),
        )
        .group(Group::named("b*").weight_decay(0.1).lr(0.5))
        .group(Group::named("w0").chains(Chains::Rows))
        .group(Group::named("scale").frozen())
        .clip_norm(1.0)
        .clip_value(0.5)
        .accumulate(3)
        .average(0.9);
    let master = Numerics {
        weights: WeightRounding::Master,
        ..PrecisionKind::F16Mixed.into()
    };
    for numerics in [
        PrecisionKind::F32.into(),
        PrecisionKind::Bf16.into(),
        master,
    ] {
        // In the middle of an accumulation, and behind one; before the first step, too.
        for before in [1, 4, 6] {
            let mut whole = Run::of(context, tensors(), &recipe, numerics);
            (0..before).for_each(|step| whole.step(step));
            let bytes = whole.optimizer.state().unwrap().to_bytes().unwrap();
            let mut resumed = Run::of(context, tensors(), &recipe, numerics);
            let weights = whole.params.tensors(context).unwrap();
            let format = whole.precision.format();
            resumed.params = Arena::of(context, &whole.layout, format, &weights).unwrap();
            let state = State::of_bytes(&bytes).unwrap();
            resumed.optimizer.load_state(&state).unwrap();
            assert_eq!(resumed.optimizer.pending(), whole.optimizer.pending());
            for step in before..12 {
                whole.step(step);
                resumed.step(step);
            }
            for (name, _) in tensors() {
                assert!(
                    whole.bits(&name) == resumed.bits(&name),
                    "{numerics:?} {name}"
                );
            }
            let averages = |run: &Run| run.optimizer.averages().unwrap().unwrap();
            assert_eq!(
                averages(&whole).tensors(context).unwrap(),
                averages(&resumed).tensors(context).unwrap()
            );
        }
    }
    // Factors may change, and nothing else.
    let mut run = Run::of(context, tensors(), &recipe, PrecisionKind::F32);
    let state = run.optimizer.state().unwrap();
    let other = |group: Group| {
        let recipe = recipe.clone().group(group);
        let mut run = Run::of(context, tensors(), &recipe, PrecisionKind::F32);
        run.optimizer.load_state(&state)
    };
    assert_eq!(other(Group::named("b*").lr(0.25)), Ok(()));
    assert!(other(Group::named("b*").weight_decay(0.2)).is_err());
    assert!(other(Group::named("w0").chains(Chains::Tensor)).is_err());
    assert!(other(Group::named("b0").frozen()).is_err());
}

#[test]
fn groups_are_told_by_a_closure_and_each_tensor_says_what_it_gets() {
    let software = Software::open();
    let layout = Layout::named(tensors()).unwrap();
    let by_closure = Recipe::from(Sonew::tridiagonal()).group_each(&layout, |name, shape| {
        let group = Group::named("*");
        match (name, shape) {
            ("embedding", _) => Some(group.optimizer(FirstOrder::adam())),
            (_, [_]) => Some(group.lr(0.5).weight_decay(0.1)),
            (_, [1, _]) => Some(group.frozen()),
            (_, [_, 20]) => Some(group.chains(Chains::Rows)),
            _ => None,
        }
    });
    let run = Run::of(
        &software.context,
        tensors(),
        &by_closure,
        PrecisionKind::F32,
    );
    assert_eq!(
        run.optimizer.assignments(),
        [
            "adam",
            "tridiag-sonew, a chain for each row",
            "tridiag-sonew, learning rate × 0.5, weight decay 0.1",
            "tridiag-sonew",
            "tridiag-sonew",
            "frozen",
            "tridiag-sonew, learning rate × 0.5, weight decay 0.1",
        ]
    );
}

#[test]
fn a_non_finite_gradient_is_told_by_its_number_in_the_whole() {
    let software = Software::open();
    let context = &software.context;
    let recipe =
        Recipe::from(Sonew::tridiagonal()).group(Group::named("w*").optimizer(FirstOrder::adam()));
    let mut run = Run::of(context, tensors(), &recipe, PrecisionKind::F32);
    let mut grads = run.grads(0).tensors(context).unwrap();
    grads[5][7] = f32::NAN;
    grads[2][3] = f32::INFINITY;
    let grads = Arena::of(context, &run.layout, PrecisionKind::F32.format(), &grads).unwrap();
    run.optimizer.step(&run.params, &grads, LR).unwrap();
    let report = run.optimizer.report().unwrap();
    assert_eq!(report.non_finite_gradients, 2);
    assert_eq!(report.first_non_finite, Some((2, 3)));
    let spoiled = |name: &str| {
        run.bits(name)
            .into_iter()
            .any(|it| !f32::from_bits(it).is_finite())
    };
    let names: Vec<String> = tensors().into_iter().map(|it| it.0).collect();
    let found: Vec<&String> = names.iter().filter(|name| spoiled(name)).collect();
    assert_eq!(found, ["b0", "w1"]);
}

#[test]
fn what_no_group_can_be_is_refused_before_anything_moves() {
    let software = Software::open();
    let context = &software.context;
    let layout = Layout::named(tensors()).unwrap();
    let base = || Recipe::from(Sonew::tridiagonal());
    let build = |recipe: Recipe| {
        let built = recipe.build(PrecisionKind::F32, context.clone(), &layout);
        built.map(drop).unwrap_err()
    };
    let error = build(base().group(Group::named("v*").lr(0.5)));
    assert!(matches!(error, Error::Group { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("`v*`: no tensor is in it; there are embedding [40, 9]")
    );
    let error = build(base().group(Group::named("b*").lr(-1.0)));
    assert!(matches!(error, Error::Range { .. }), "{error}");
    let error = build(base().group(Group::named("b*").weight_decay(f64::NAN)));
    assert!(matches!(error, Error::Range { .. }), "{error}");
    let adam = Recipe::from(FirstOrder::adam());
    let error = build(adam.group(Group::named("w*").chains(Chains::Rows)));
    assert!(
        error
            .to_string()
            .contains("chains are SONew's; adam has none"),
        "{error}"
    );
    // A layout that was not arranged.
    let error = build(base().group(Group::named("b*").optimizer(FirstOrder::adam())));
    assert!(error.to_string().contains("arrange the layout"), "{error}");

    let recipe = base().group(Group::named("b*").optimizer(FirstOrder::adam()).lr(1e30));
    let mut run = Run::of(context, tensors(), &recipe, PrecisionKind::F32);
    let before: Vec<_> = tensors().iter().map(|it| run.bits(&it.0)).collect();
    let grads = run.grads(0);
    for lr in [-1.0, f64::NAN, 1e10] {
        assert!(run.optimizer.step(&run.params, &grads, lr).is_err(), "{lr}");
    }
    let other = Arena::zeros(context, &layout, PrecisionKind::F32.format());
    assert!(run.optimizer.step(&run.params, &other, LR).is_err());
    let after: Vec<_> = tensors().iter().map(|it| run.bits(&it.0)).collect();
    assert!(before == after);
}
