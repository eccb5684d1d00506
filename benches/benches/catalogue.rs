//! Kernels and optimizer steps on the autoencoder's 2,837,314 parameters, and the products of its training step (an "element" is one
//! of two operations for each term), on the default device: the host's clock around launches and the wait for the last. SONEW_BENCH=full
//! adds every precision that the device has, wider bands and 16 Mi values.
//! A bench of something that computes anything else than its oracle ends in an error.

use std::env;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BenchmarkId, Throughput};
use sonew_benches::{Criterion, run};
use sonew_harness::lab::bench::{BenchError, Model, Request, Work, each_product, kernels, prove};
use sonew_harness::process::freed_memory;
use sonew_optimizers::{Context, OptimizerConfig, PrecisionKind};
use sonew_runtime::{Device, Selector};

fn benches(mut criterion: criterion::Criterion, device: &Device) -> Result<(), BenchError> {
    println!("{} through {}", device.info.name, device.info.backend);
    let context = Rc::new(Context::new(device.client.clone(), device.info.profile));
    let request = if env::var("SONEW_BENCH").is_ok_and(|it| it == "full") {
        Request::full(&context, &device.info)
    } else {
        Request::quick(vec![PrecisionKind::F32], vec![0, 1, 4], Vec::new())
    };
    let mut group = criterion.benchmark_group("kernel");
    kernels(&context, &request, &mut Criterion(&mut group))?;
    group.finish();

    let mut group = criterion.benchmark_group("product");
    each_product(&context, &mut |subject, work| {
        let operations = subject.operations();
        group.throughput(Throughput::Elements(operations as u64));
        let id = BenchmarkId::new(subject.name, subject.factors);
        run(&mut group, id, work)
    })?;
    group.finish();

    let mut group = criterion.benchmark_group("optimizer step");
    for &precision in &request.precisions {
        let model = Model::new(&context, precision)?;
        for name in OptimizerConfig::NAMES {
            prove(&context, name, precision)?;
            let mut optimizer = model.optimizer(name)?;
            let step = || Ok(optimizer.step(&model.params, &model.grads, 1e-6)?);
            let id = BenchmarkId::new(name, precision);
            run(&mut group, id, Work::new(&context, step))?;
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn main() -> ExitCode {
    freed_memory::keep();
    let criterion = criterion::Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let done = sonew_runtime::open(Selector::Auto)
        .map_err(|error| error.to_string())
        .and_then(|device| benches(criterion, &device).map_err(|it| it.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
