//! One optimizer step on the autoencoder's tensors, 2,837,314 parameters, on the default device: host clock around
//! a step and the wait for it.

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cubecl::Runtime;
use sonew_benches::Autoencoder;
use sonew_optimizers::OptimizerConfig;
use sonew_runtime::{DeviceVisitor, Opened, Selector};

struct Bench<'a>(&'a mut Criterion);

impl DeviceVisitor for Bench<'_> {
    type Output = ();

    fn visit<R: Runtime>(self, device: Opened<R>) {
        println!("{} through {}", device.info.name, device.info.backend);
        let model = Autoencoder::new(device).expect("the autoencoder fits any device");
        let mut group = self.0.benchmark_group("optimizer step");
        group
            .sample_size(20)
            .throughput(Throughput::Elements(model.segments.parameters() as u64));
        for name in OptimizerConfig::NAMES {
            let config = OptimizerConfig::named(name).expect("a listed name");
            let mut optimizer = model.optimizer(&config).expect("the device runs it");
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|steps| {
                    let started = Instant::now();
                    for _ in 0..steps {
                        optimizer
                            .step(&model.params, &model.grads, 1e-6)
                            .expect("a step");
                    }
                    model.context.wait("steps").expect("the steps ran");
                    started.elapsed()
                });
            });
        }
        group.finish();
    }
}

fn optimizer_step(criterion: &mut Criterion) {
    sonew_runtime::open(Selector::Auto)
        .expect("a device to measure on")
        .accept(Bench(criterion));
}

criterion_group!(benches, optimizer_step);
criterion_main!(benches);
