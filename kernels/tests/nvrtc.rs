//! NVIDIA's compiler takes the CUDA text of kernels as they are launched; no GPU is needed.

use cubecl::server::Handle;
use sonew_kernels::context::{Context, Processor};
use sonew_kernels::evidence::Evidence;
use sonew_kernels::first_order::{self, Adam, FirstOrder, Hyper, descend};
use sonew_kernels::matmul::{self, DeviceMatrix};
use sonew_kernels::precision::{Bf16, F16, F32, HostFormat, Precision};
use sonew_kernels::segments::Segments;
use sonew_kernels::sonew::{EdgeRemoval, FactorBuffers, Tolerance, factor};
use sonew_kernels::sweep::Strategy;
use sonew_runtime::source::{Cuda, Language, Launch, Recorder, record};

#[path = "cuda/nvrtc.rs"]
mod nvrtc;
use nvrtc::Nvrtc;

/// A model of three tensors on a device that records.
struct Model<L: Language> {
    context: Context<Recorder<L>>,
    segments: Segments,
    evidence: Handle,
}

impl<L: Language> Model<L> {
    fn new(context: Context<Recorder<L>>) -> Self {
        Self {
            segments: Segments::new(&[1000, 1, 257]).unwrap(),
            evidence: context.upload(&vec![0u8; Evidence::bytes(1 << 16)]),
            context,
        }
    }

    fn arena<S: HostFormat>(&self) -> Handle {
        let zeros = vec![0.0; self.segments.arena_len()];
        self.context.upload(&S::encode(&zeros))
    }

    fn arenas<S: HostFormat>(&self, count: usize) -> Vec<Handle> {
        (0..count).map(|_| self.arena::<S>()).collect()
    }

    fn descend<F: FirstOrder, P: Precision>(&self) {
        let buffers = first_order::Buffers {
            params: &self.arena::<P::Params>(),
            grads: &self.arena::<P::Params>(),
            states: &self.arenas::<P::State>(F::STATES.len()),
            evidence: &self.evidence,
        };
        let hyper = Hyper {
            lr: 0.5,
            beta1: 0.875,
            beta2: 0.9375,
            epsilon: 1.0 / 1024.0,
            weight_decay: 0.125,
            step: 1,
        };
        let (context, segments) = (&self.context, &self.segments);
        descend::<F, P, _>(context, segments, buffers, hyper, Strategy::Inferred).unwrap();
    }

    /// A product whose sides are no multiples of a tile.
    fn multiply(&self) {
        let matrix = |rows: usize, columns: usize| {
            let zeros = self.context.upload(&vec![0f32; rows * columns]);
            DeviceMatrix::row_major(zeros, rows, columns).unwrap()
        };
        let (c, a, b) = (matrix(30, 70), matrix(30, 50), matrix(50, 70));
        matmul::device(&self.context, &c, &a, &b, Strategy::Inferred).unwrap();
    }

    fn factor<P: Precision>(&self, band: usize) {
        let buffers = FactorBuffers {
            diagonal: &self.arena::<P::State>(),
            edges: &self.arenas::<P::State>(band),
            psi: &self.arenas::<P::State>(band),
            d: &self.arena::<P::State>(),
            evidence: &self.evidence,
        };
        let gamma = Tolerance {
            absolute: 0.0,
            relative: 1.0 / 64.0,
        };
        factor::<P, _>(
            &self.context,
            &self.segments,
            buffers,
            1.0,
            0.0,
            gamma,
            EdgeRemoval::Incident,
            Strategy::Inferred,
        )
        .unwrap();
    }
}

fn launches<L: Language>() -> Vec<Launch> {
    let recording = record::<L>();
    let model = Model::new(Context::new(recording.client(), Processor::Gpu));
    model.descend::<Adam, F32>();
    model.descend::<Adam, F16>();
    model.factor::<Bf16>(4);
    model.multiply();
    recording.take().unwrap()
}

fn compiles<L: Language>(nvrtc: &Nvrtc, sm: u32) {
    let launches = launches::<L>();
    assert_eq!(launches.len(), 4);
    for Launch { source, .. } in &launches {
        let length = nvrtc
            .compile(&source.text, sm)
            .unwrap_or_else(|log| panic!("{}: {log}\n{}", source.entry, source.text));
        println!("{}: {length} bytes of PTX for sm_{sm}", source.entry);
        assert!(length > 1000, "{}: {length}", source.entry);
    }
}

#[test]
fn nvrtc_takes_what_is_launched_on_ampere_and_hopper() {
    let test = "nvrtc_takes_what_is_launched_on_ampere_and_hopper";
    let Some(nvrtc) = Nvrtc::or_skip(test) else {
        return;
    };
    compiles::<Cuda<80>>(&nvrtc, 80);
    compiles::<Cuda<90>>(&nvrtc, 90);
}

#[test]
fn nvrtc_says_what_is_wrong_with_a_text() {
    let Some(nvrtc) = Nvrtc::or_skip("nvrtc_says_what_is_wrong_with_a_text") else {
        return;
    };
    let log = nvrtc
        .compile("__global__ void f() { g(); }", 80)
        .unwrap_err();
    assert!(log.contains("identifier \"g\" is undefined"), "{log}");
}
