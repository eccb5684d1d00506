//! Running recorded launches on the host's processor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::thread;

use super::compiler::HostCompiler;
use super::program::{Listener, Order, Program};
use crate::recorder::{Buffer, Executor, Source};

/// Compiles each text once and runs it.
pub struct HostCuda {
    compiler: HostCompiler,
    programs: HashMap<(String, bool), Result<Program, String>>,
}

impl HostCuda {
    /// With a compiler.
    pub fn new(compiler: HostCompiler) -> Self {
        Self {
            compiler,
            programs: HashMap::new(),
        }
    }

    /// Compiles kernels, two at a time, and says which cannot be, and why, by their texts.
    pub fn prepare(&mut self, kernels: &[&Source]) -> BTreeMap<String, String> {
        let left = Mutex::new(kernels.iter());
        let compiler = &self.compiler;
        let work = || {
            let next = || left.lock().expect("no other thread has panicked").next();
            let compile = |kernel: &&Source| {
                (
                    (kernel.text.clone(), false),
                    compiler.compile(kernel, false),
                )
            };
            std::iter::from_fn(next).map(compile).collect::<Vec<_>>()
        };
        let compiled = thread::scope(|scope| {
            let workers = [scope.spawn(work), scope.spawn(work)];
            workers.map(|worker| worker.join().expect("compiling does not panic"))
        });
        self.programs.extend(compiled.into_iter().flatten());
        let refused = |kernel: &&&Source| match self.programs.get(&(kernel.text.clone(), false)) {
            Some(Err(reason)) => Some((kernel.text.clone(), reason.clone())),
            _ => None,
        };
        kernels
            .iter()
            .filter_map(|kernel| refused(&kernel))
            .collect()
    }

    /// Runs the first `most` cubes of a launch once, in ascending order, and shows `see` every cube's accesses, in the order in which its units
    /// made them, and how many floating-point operations it took.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn trace(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
        most: u32,
        see: Listener<'_>,
    ) -> Result<(), String> {
        let geometry = (cubes, kernel.units);
        let named = |reason: String| format!("{}: {reason}", kernel.entry);
        let program = self.program(kernel, true).map_err(named)?;
        program
            .run(geometry, buffers, info, Order::Ascending, most, Some(see))
            .map_err(named)
    }

    fn program(&mut self, kernel: &Source, traced: bool) -> Result<&mut Program, String> {
        let key = (kernel.text.clone(), traced);
        let compile = || self.compiler.compile(kernel, traced);
        match self.programs.entry(key).or_insert_with(compile) {
            Ok(program) => Ok(program),
            Err(reason) => Err(format!("not executed: {reason}")),
        }
    }
}

impl Executor for HostCuda {
    fn execute(
        &mut self,
        kernel: &Source,
        cubes: (u32, u32, u32),
        buffers: &mut [Buffer<'_>],
        info: &[u64],
    ) -> Result<(), String> {
        let geometry = (cubes, kernel.units);
        let named = |reason: String| format!("{}: {reason}", kernel.entry);
        let program = self.program(kernel, false).map_err(named)?;
        let before = contents(buffers);
        let mut run = |buffers: &[Buffer<'_>], order| {
            program
                .run(geometry, buffers, info, order, u32::MAX, None)
                .map_err(named)
        };
        run(buffers, Order::Descending)?;
        let descending = contents(buffers);
        for (buffer, bytes) in buffers.iter_mut().zip(&before) {
            buffer.write(bytes);
        }
        run(buffers, Order::Ascending)?;
        for (i, (a, d)) in contents(buffers).iter().zip(&descending).enumerate() {
            if let Some(at) = a.iter().zip(d).position(|(a, d)| a != d) {
                return Err(named(format!(
                    "what buffer_{i} has at byte {at} depends on the order of the units"
                )));
            }
        }
        Ok(())
    }
}

fn contents(buffers: &[Buffer<'_>]) -> Vec<Vec<u8>> {
    buffers.iter().map(Buffer::read).collect()
}
