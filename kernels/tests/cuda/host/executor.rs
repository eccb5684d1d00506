//! Running recorded launches on the host's processor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::thread;

use sonew_runtime::source::{Buffer, Executor, Source};

use super::compiler::Compiler;
use super::program::{Order, Program};

/// Compiles each text once and runs it.
pub struct HostCuda {
    compiler: Compiler,
    programs: HashMap<String, Result<Program, String>>,
}

impl HostCuda {
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            programs: HashMap::new(),
        }
    }

    /// Compiles kernels, two at a time, and says which cannot be, and why.
    pub fn prepare(&mut self, kernels: &[&Source]) -> BTreeMap<String, String> {
        let left = Mutex::new(kernels.iter());
        let compiler = &self.compiler;
        let work = || {
            let next = || left.lock().expect("no other thread has panicked").next();
            let compile = |kernel: &&Source| (kernel.text.clone(), compiler.compile(kernel));
            std::iter::from_fn(next).map(compile).collect::<Vec<_>>()
        };
        let compiled = thread::scope(|scope| {
            let workers = [scope.spawn(work), scope.spawn(work)];
            workers.map(|worker| worker.join().expect("compiling does not panic"))
        });
        self.programs.extend(compiled.into_iter().flatten());
        let refused = |kernel: &&&Source| match self.programs.get(&kernel.text) {
            Some(Err(reason)) => Some((kernel.text.clone(), reason.clone())),
            _ => None,
        };
        kernels
            .iter()
            .filter_map(|kernel| refused(&kernel))
            .collect()
    }

    fn program(&mut self, kernel: &Source) -> Result<&mut Program, String> {
        if !self.programs.contains_key(&kernel.text) {
            let program = self.compiler.compile(kernel);
            self.programs.insert(kernel.text.clone(), program);
        }
        match self.programs.get_mut(&kernel.text) {
            Some(Ok(program)) => Ok(program),
            Some(Err(reason)) => Err(format!("not executed: {reason}")),
            None => Err("not compiled".to_owned()),
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
        let program = self.program(kernel).map_err(named)?;
        let before = contents(buffers);
        let mut run = |buffers: &[Buffer<'_>], order| {
            program.run(geometry, buffers, info, order).map_err(named)
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
