//! Criterion over what `sonew bench` measures: the same kernels and steps, proven in the same way before they are timed.

use std::cell::RefCell;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Throughput};
use sonew_harness::lab::bench::{BenchError, Subject, Timer, Work};

/// A group of criterion's as what times kernels.
pub struct Criterion<'a, 'b>(pub &'a mut BenchmarkGroup<'b, WallTime>);

impl Timer for Criterion<'_, '_> {
    fn time(&mut self, subject: Subject, work: Work<'_>) -> Result<(), BenchError> {
        let name = format!("{} {}", subject.kernel, subject.case);
        let of = format!("{}, {} values", subject.precision, subject.values);
        self.0.throughput(Throughput::Bytes(subject.bytes));
        run(self.0, BenchmarkId::new(name.trim(), of), work)
    }
}

/// Times work. Criterion takes no errors from within; the first is kept, and what follows it takes no time.
///
/// # Errors
/// As [`Work::run`].
pub fn run(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut work: Work<'_>,
) -> Result<(), BenchError> {
    let failure = RefCell::new(None);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|launches| {
            work.run(launches).unwrap_or_else(|error| {
                failure.borrow_mut().get_or_insert(error);
                std::time::Duration::from_nanos(launches)
            })
        });
    });
    failure.into_inner().map_or(Ok(()), Err)
}
