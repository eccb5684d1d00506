//! States: taken, as bytes, and gone on from.

mod software;

use std::rc::Rc;

use software::Software;
use sonew_kernels::precision::Format;
use sonew_optimizers::{
    Archive, Arena, Context, Error, FirstOrder, Graft, Layout, LossScale, NonFinite, Numerics,
    Optimizer, OptimizerConfig, PrecisionKind, ProductsPlace, Profile, RootChoice, Shampoo, Sonew,
    State, StateArray, StateError, StateFormat, WeightRounding,
};

const PRECISIONS: [PrecisionKind; 5] = PrecisionKind::ALL;

/// Odd lengths, several blocks, a scalar, a tensor without values.
fn layout() -> Layout {
    Layout::named([
        ("w0", vec![15, 20]),
        ("scale", vec![]),
        ("b0", vec![7]),
        ("none", vec![0, 3]),
        ("w1", vec![27, 19]),
    ])
    .unwrap()
}

/// Every family, and what of each has states of its own.
fn configs() -> Vec<OptimizerConfig> {
    let quick = Shampoo::default()
        .merge_size(1)
        .start_step(2)
        .root_interval(3);
    vec![
        FirstOrder::sgd().into(),
        FirstOrder::momentum().into(),
        FirstOrder::adagrad().into(),
        FirstOrder::rmsprop().into(),
        FirstOrder::adam().into(),
        Sonew::diagonal().into(),
        Sonew::tridiagonal().into(),
        Sonew::band(4).relative_epsilon(0.1).into(),
        Sonew::tridiagonal().graft(Graft::Adam).into(),
        Sonew::band(4).graft(Graft::RmsProp).into(),
        quick.into(),
        quick.block_size(16).graft(Graft::None).into(),
        quick
            .spread_roots(true)
            .products(ProductsPlace::Device)
            .into(),
        quick
            .spread_roots(true)
            .root(RootChoice::NewtonRefreshed)
            .into(),
    ]
}

/// A run whose gradients are those of a slope that bends, in the precision's format.
struct Run {
    context: Rc<Context>,
    layout: Layout,
    format: Format,
    params: Arena,
    optimizer: Box<dyn Optimizer>,
}

impl Run {
    fn start(context: &Rc<Context>, config: &OptimizerConfig, numerics: Numerics) -> Self {
        let layout = layout();
        let format = numerics.precision.format();
        let value = |i: usize| sonew_kernels::noise::noise(i) as f32;
        let tensors = layout.tensors().iter();
        let first: Vec<Vec<f32>> = tensors.map(|it| it.clone().map(value).collect()).collect();
        Self {
            params: Arena::of(context, &layout, format, &first).unwrap(),
            optimizer: config.build(numerics, context.clone(), &layout).unwrap(),
            context: context.clone(),
            layout,
            format,
        }
    }

    fn step(&mut self, number: usize) {
        let scale = self.optimizer.loss_scale();
        let slope = |w: &f32| {
            let curvature = 0.5 + (number % 3) as f32;
            (f64::from(curvature * w + w.sin()) * scale) as f32
        };
        let weights = self.params.tensors(&self.context).unwrap();
        let grads: Vec<Vec<f32>> = weights
            .iter()
            .map(|tensor| tensor.iter().map(slope).collect())
            .collect();
        let grads = Arena::of(&self.context, &self.layout, self.format, &grads).unwrap();
        self.optimizer.step(&self.params, &grads, 1e-3).unwrap();
    }

    fn weights(&self) -> Vec<Vec<u32>> {
        let tensors = self.params.tensors(&self.context).unwrap();
        let bits = |tensor: Vec<f32>| tensor.into_iter().map(f32::to_bits).collect();
        tensors.into_iter().map(bits).collect()
    }

    /// A run that goes on from this one: its weights, and its state by way of bytes.
    fn resumed(
        &mut self,
        context: &Rc<Context>,
        config: &OptimizerConfig,
        numerics: Numerics,
    ) -> Self {
        let mut next = Self::start(context, config, numerics);
        let weights = self.params.tensors(&self.context).unwrap();
        next.params = Arena::of(context, &next.layout, next.format, &weights).unwrap();
        let bytes = self.optimizer.state().unwrap().to_bytes().unwrap();
        let state = State::of_bytes(&bytes).unwrap();
        next.optimizer.load_state(&state).unwrap();
        next
    }
}

fn label(config: &OptimizerConfig, numerics: Numerics) -> String {
    format!("{config:?} {numerics:?}")
}

/// Steps before and after the state is taken: a root is due among the latter, and an interval of roots is cut in two.
const BEFORE: usize = 5;
const AFTER: usize = 5;

fn goes_on_with_the_same_bits(
    context: &Rc<Context>,
    other: &Rc<Context>,
    config: &OptimizerConfig,
    numerics: Numerics,
) {
    let label = label(config, numerics);
    let mut run = Run::start(context, config, numerics);
    (0..BEFORE).for_each(|step| run.step(step));
    let mut resumed = run.resumed(other, config, numerics);
    assert_eq!(resumed.optimizer.steps(), run.optimizer.steps(), "{label}");
    assert_eq!(
        resumed.optimizer.report().unwrap(),
        run.optimizer.report().unwrap(),
        "{label}"
    );
    for step in BEFORE..BEFORE + AFTER {
        run.step(step);
        resumed.step(step);
    }
    assert!(resumed.weights() == run.weights(), "{label}");
    assert_eq!(
        resumed.optimizer.report().unwrap(),
        run.optimizer.report().unwrap(),
        "{label}"
    );
    assert_eq!(
        resumed.optimizer.state().unwrap(),
        run.optimizer.state().unwrap(),
        "{label}"
    );
}

#[test]
fn every_optimizer_in_every_precision_goes_on_from_its_state_with_the_same_bits() {
    let software = Software::open();
    let context = &software.context;
    for config in configs() {
        for precision in PRECISIONS {
            goes_on_with_the_same_bits(context, context, &config, precision.into());
        }
    }
}

#[test]
fn masters_drawn_weights_loss_scales_and_narrow_states_go_on_with_the_same_bits() {
    let software = Software::open();
    let context = &software.context;
    let mixed = Numerics::from(PrecisionKind::Bf16Mixed);
    let half = Numerics::from(PrecisionKind::F16Mixed);
    let numerics = [
        Numerics {
            weights: WeightRounding::Master,
            ..mixed
        },
        Numerics {
            weights: WeightRounding::Stochastic,
            seed: 7,
            ..mixed
        },
        Numerics {
            statistics: StateFormat::Parameters,
            ..mixed
        },
        Numerics {
            weights: WeightRounding::Master,
            ..half
        },
        // Overflows at first, and grows while the run goes on.
        Numerics {
            loss_scale: Some(LossScale {
                initial: 1e6,
                growth_interval: 2,
                floor: 1.0,
            }),
            ..half
        },
        Numerics {
            non_finite: NonFinite::Skip,
            ..PrecisionKind::F32.into()
        },
    ];
    let configs: [OptimizerConfig; 3] = [
        FirstOrder::adam().into(),
        Sonew::tridiagonal().into(),
        Shampoo::default().merge_size(1).root_interval(3).into(),
    ];
    for numerics in numerics {
        for config in &configs {
            goes_on_with_the_same_bits(context, context, config, numerics);
        }
    }
}

#[test]
fn a_state_knows_no_blueprint() {
    let software = Software::open();
    let context = &software.context;
    // The geometry of a graphics processor: other ghost columns, other runs, other slots.
    let client = context.client().clone();
    let other = Rc::new(Context::new(client, Profile::GPU));
    for config in configs() {
        // Products of matrices are summed in another order in another form.
        if matches!(config, OptimizerConfig::Shampoo(_)) {
            continue;
        }
        for precision in [PrecisionKind::F32, PrecisionKind::F16] {
            goes_on_with_the_same_bits(context, &other, &config, precision.into());
            goes_on_with_the_same_bits(&other, context, &config, precision.into());
        }
    }
}

#[test]
fn a_state_of_shampoo_knows_no_place_of_products() {
    let software = Software::open();
    let host = &software.context;
    let client = host.client().clone();
    let device = &Rc::new(Context::new(client, Profile::GPU));
    for spread in [false, true] {
        let config = Shampoo::default()
            .merge_size(1)
            .start_step(2)
            .root_interval(3)
            // Of a few gradients the statistics are all but singular.
            .epsilon(1e-3)
            .spread_roots(spread)
            .into();
        let numerics = PrecisionKind::F32.into();
        for (from, to) in [(host, device), (device, host)] {
            let mut run = Run::start(from, &config, numerics);
            (0..BEFORE).for_each(|step| run.step(step));
            let mut resumed = run.resumed(to, &config, numerics);
            let found = |run: &Run| run.optimizer.report().unwrap().roots.unwrap();
            assert_eq!(found(&run).refused, found(&resumed).refused);
            for step in BEFORE..BEFORE + AFTER {
                run.step(step);
                resumed.step(step);
            }
            let expected = run.params.tensors(from).unwrap();
            let found = resumed.params.tensors(to).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let size = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                for (f, e) in found.iter().zip(expected) {
                    // Products are summed in another order, and roots iterated instead of decomposed: as from plain f64
                    // (`thirty_steps_on_a_network`).
                    assert!((f - e).abs() <= 1e-4 * size, "{f} instead of {e}");
                }
            }
        }
    }
}

#[test]
fn a_state_holds_what_the_optimizer_says_it_takes() {
    let software = Software::open();
    let context = &software.context;
    for config in configs() {
        // Of spread roots an interval's statistics and next roots count as scratch.
        if matches!(config, OptimizerConfig::Shampoo(it) if it.spread_roots) {
            continue;
        }
        for precision in PRECISIONS {
            let mut run = Run::start(context, &config, precision.into());
            run.step(0);
            let state = run.optimizer.state().unwrap();
            let bytes = state.arrays().values();
            let bytes: usize = bytes
                .map(|it| it.format().bytes() * it.values().len())
                .sum();
            let each = bytes as f64 / run.layout.parameters() as f64;
            let said = run.optimizer.state_bytes_per_parameter();
            assert!(
                (each - said).abs() < 1e-9,
                "{config:?} {precision}: {each}, not {said}"
            );
        }
    }
}

#[test]
fn arrays_are_called_by_their_tensor_and_keep_shape_and_format() {
    let software = Software::open();
    let names = |config: OptimizerConfig| {
        let mut run = Run::start(&software.context, &config, PrecisionKind::Bf16.into());
        let state = run.optimizer.state().unwrap();
        let arrays = state.arrays().iter();
        let of_w0 = arrays.filter(|(name, _)| name.starts_with("w0/"));
        let told = of_w0.map(|(name, it)| format!("{name} {} {:?}", it.format(), it.shape()));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        names(Sonew::band(2).into()),
        [
            "w0/diagonal bf16 [15, 20]",
            "w0/edges[1] bf16 [15, 20]",
            "w0/edges[2] bf16 [15, 20]",
            "w0/first_moment bf16 [15, 20]",
        ]
    );
    assert_eq!(
        names(Shampoo::default().merge_size(1).block_size(16).into()),
        [
            "w0/block0/left_root f32 [15, 15]",
            "w0/block0/left_statistics f32 [15, 15]",
            "w0/block0/right_root f32 [16, 16]",
            "w0/block0/right_statistics f32 [16, 16]",
            "w0/block1/left_root f32 [15, 15]",
            "w0/block1/left_statistics f32 [15, 15]",
            "w0/block1/right_root f32 [4, 4]",
            "w0/block1/right_statistics f32 [4, 4]",
            "w0/graft_momentum bf16 [15, 20]",
            "w0/momentum bf16 [15, 20]",
            "w0/second_moment bf16 [15, 20]",
        ]
    );
}

/// What loading a state says, and that it has changed nothing.
fn refusal(run: &mut Run, state: &State) -> StateError {
    let before = run.optimizer.state().unwrap();
    let Err(Error::State(refused)) = run.optimizer.load_state(state) else {
        panic!("the state was taken");
    };
    assert_eq!(run.optimizer.state().unwrap(), before);
    refused
}

/// A state with some of its arrays and texts changed.
fn changed(state: &State, change: impl FnOnce(&mut Archive)) -> State {
    let mut archive = Archive::default();
    state.clone().put_into(&mut archive);
    change(&mut archive);
    State::of_archive(&archive).unwrap()
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let software = Software::open();
    let context = &software.context;
    let f32 = PrecisionKind::F32.into();
    let adam: OptimizerConfig = FirstOrder::adam().into();
    let mut run = Run::start(context, &adam, f32);
    run.step(0);
    let state = run.optimizer.state().unwrap();
    let mut own = Run::start(context, &adam, f32);
    own.step(1);

    let less = changed(&state, |archive| {
        archive.arrays.remove("state/b0/first_moment");
    });
    let name = "b0/first_moment".to_owned();
    assert_eq!(refusal(&mut own, &less), StateError::Missing { name });

    let more = changed(&state, |archive| {
        let array = StateArray::new(vec![1], Format::F32, vec![0.0]).unwrap();
        archive.arrays.insert("state/b9/first_moment".into(), array);
    });
    let name = "b9/first_moment".to_owned();
    assert_eq!(refusal(&mut own, &more), StateError::Extra { name });

    let other_shape = changed(&state, |archive| {
        let array = StateArray::new(vec![8], Format::F32, vec![0.0; 8]).unwrap();
        archive.arrays.insert("state/b0/first_moment".into(), array);
    });
    let refused = refusal(&mut own, &other_shape).to_string();
    assert!(
        refused.contains("b0/first_moment is f32 of [8], expected f32 of [7]"),
        "{refused}"
    );

    let mut other = Run::start(context, &FirstOrder::adam().beta2(0.99).into(), f32);
    let refused = refusal(&mut other, &state).to_string();
    assert!(
        refused.contains("beta2 = 0.999, and this optimizer has 0.99"),
        "{refused}"
    );

    let mut other = Run::start(context, &FirstOrder::momentum().into(), f32);
    let refused = refusal(&mut other, &state).to_string();
    assert!(refused.contains("rule = \"adam\""), "{refused}");

    let mut other = Run::start(context, &Sonew::tridiagonal().into(), f32);
    refusal(&mut other, &state);

    let mut other = Run::start(context, &adam, PrecisionKind::Bf16Mixed.into());
    let refused = refusal(&mut other, &state).to_string();
    assert!(refused.contains("precision"), "{refused}");
    let mut other = Run::start(context, &adam, PrecisionKind::F16Mixed.into());
    refusal(&mut other, &state);
}

#[test]
fn a_setting_that_a_state_does_not_know_is_to_have_its_default() {
    let software = Software::open();
    let f32 = PrecisionKind::F32.into();
    let mut run = Run::start(&software.context, &Sonew::tridiagonal().into(), f32);
    run.step(0);
    let older = changed(&run.optimizer.state().unwrap(), |archive| {
        let head = archive.texts.get_mut("state").unwrap();
        assert!(head.contains("\"gamma\":0.0,"));
        *head = head.replace("\"gamma\":0.0,", "");
    });
    run.optimizer.load_state(&older).unwrap();
    let mut other = Run::start(
        &software.context,
        &Sonew::tridiagonal().gamma(0.5).into(),
        f32,
    );
    let refused = refusal(&mut other, &older).to_string();
    assert!(refused.contains("gamma = 0.0"), "{refused}");
}

#[test]
fn a_damaged_archive_is_refused_whatever_is_damaged() {
    let mut archive = Archive::default();
    let array = StateArray::new(vec![3], Format::Bf16, vec![1.0, -2.0, 0.5]).unwrap();
    archive.arrays.insert("w0/first_moment".into(), array);
    archive.texts.insert("note".into(), "a text".into());
    let whole = archive.to_bytes().unwrap();
    assert_eq!(Archive::of_bytes(&whole).unwrap(), archive);
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            // A blank of the header may become another blank; nothing else is the same archive.
            match Archive::of_bytes(&bytes) {
                Err(StateError::Damaged { .. } | StateError::Version { .. }) => {}
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
        assert!(Archive::of_bytes(&whole[..at]).is_err(), "{at} bytes");
    }
    assert!(Archive::of_bytes(&[whole, vec![0]].concat()).is_err());
    let refused = State::of_archive(&archive).unwrap_err().to_string();
    assert!(refused.contains("no state of an optimizer"), "{refused}");
}
