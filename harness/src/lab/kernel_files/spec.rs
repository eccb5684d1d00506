//! What a kernel reads, writes and can be told, as its declaration says it.

use std::fmt;

use sonew_kernels::arena::GAP;

use super::settings::Setting;

/// A kernel's declaration: what `sonew kernel --list` prints, and what a file and the options are held to.
pub struct KernelSpec {
    /// The name, that of the contract where it has one.
    pub name: &'static str,
    /// What it computes.
    pub summary: &'static str,
    /// Arrays that it reads, f32.
    pub inputs: Vec<Input>,
    /// Arrays that it writes.
    pub outputs: Vec<Output>,
    /// Options.
    pub settings: Vec<Setting>,
    /// Arrays that may lie in the file without being read: what the kernel before it left there.
    pub passed_over: &'static [&'static str],
    /// Whether it may find no result.
    pub may_refuse: bool,
}

/// A side of an array, by its name, and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name: axes of one name are of one length.
    pub name: &'static str,
    /// Its least length.
    pub least: usize,
    /// Its greatest length.
    pub most: usize,
}

impl Axis {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            least: 1,
            most: usize::MAX,
        }
    }
}

/// Values of a tensor, or columns of a matrix.
pub(super) const N: Axis = Axis::new("n");
/// Rows of a matrix.
pub(super) const M: Axis = Axis::new("m");
/// The inner side of a product.
pub(super) const K: Axis = Axis::new("k");
/// Places of a row of codes.
pub(super) const P: Axis = Axis::new("p");
/// Off-diagonals of a band.
pub(super) const B: Axis = Axis {
    name: "b",
    least: 0,
    most: GAP,
};
/// A single value.
pub(super) const ONE: Axis = Axis {
    name: "1",
    least: 1,
    most: 1,
};

/// What an array that is not there counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// An error.
    Refused,
    /// Zeros.
    Zeros,
    /// Nothing: the kernel does without.
    LeftOut,
}

/// An array that a kernel reads.
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// Its sides.
    pub shape: &'static [Axis],
    /// What it counts as if it is not there.
    pub absent: Absent,
}

/// An array that a kernel writes.
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// Its sides.
    pub shape: &'static [Axis],
    /// Whether it is a count, u32; f32 otherwise.
    pub counts: bool,
    /// What it says of the computation rather than of its result: the oracle has none of it and writes 0.
    pub of_the_way: bool,
    /// With which option it is written, if not always.
    pub only: Option<&'static str>,
}

impl KernelSpec {
    pub(super) fn new(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            inputs: Vec::new(),
            outputs: Vec::new(),
            settings: Vec::new(),
            passed_over: &[],
            may_refuse: false,
        }
    }

    /// Reads an array that must be there.
    pub(super) fn needs(self, name: &'static str, shape: &'static [Axis]) -> Self {
        self.input(name, shape, Absent::Refused)
    }

    /// Reads an array that counts as zeros if it is not there.
    pub(super) fn state(self, name: &'static str, shape: &'static [Axis]) -> Self {
        self.input(name, shape, Absent::Zeros)
    }

    /// Reads an array if it is there.
    pub(super) fn may_have(self, name: &'static str, shape: &'static [Axis]) -> Self {
        self.input(name, shape, Absent::LeftOut)
    }

    fn input(mut self, name: &'static str, shape: &'static [Axis], absent: Absent) -> Self {
        self.inputs.push(Input {
            name,
            shape,
            absent,
        });
        self
    }

    /// Writes an array.
    pub(super) fn gives(mut self, name: &'static str, shape: &'static [Axis]) -> Self {
        self.outputs.push(Output {
            name,
            shape,
            counts: false,
            of_the_way: false,
            only: None,
        });
        self
    }

    /// Writes a count.
    pub(super) fn counts(self, name: &'static str) -> Self {
        let mut spec = self.gives(name, &[ONE]);
        if let Some(output) = spec.outputs.last_mut() {
            output.counts = true;
        }
        spec
    }

    /// The last output is written with this option only.
    pub(super) fn only_with(mut self, option: &'static str) -> Self {
        if let Some(output) = self.outputs.last_mut() {
            output.only = Some(option);
        }
        self
    }

    /// The last output tells of the way to the result.
    pub(super) fn of_the_way(mut self) -> Self {
        if let Some(output) = self.outputs.last_mut() {
            output.of_the_way = true;
        }
        self
    }

    pub(super) fn set(mut self, setting: Setting) -> Self {
        self.settings.push(setting);
        self
    }

    pub(super) fn passes_over(mut self, names: &'static [&'static str]) -> Self {
        self.passed_over = names;
        self
    }

    pub(super) fn may_refuse(mut self) -> Self {
        self.may_refuse = true;
        self
    }

    /// The inputs, for a message.
    pub(super) fn input_names(&self) -> String {
        let names: Vec<_> = self.inputs.iter().map(|input| input.name).collect();
        names.join(", ")
    }
}

/// Sides in brackets.
struct Shape<'a>(&'a [Axis]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|axis| axis.name).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, Shape(self.shape))?;
        f.write_str(match self.absent {
            Absent::Refused => "",
            Absent::Zeros => " (zeros if absent)",
            Absent::LeftOut => " (may be absent)",
        })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, Shape(self.shape))?;
        if self.counts {
            f.write_str(" u32")?;
        }
        match self.only {
            Some(option) => write!(f, " (with {option})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn listed<T: fmt::Display>(all: &[T]) -> String {
            let texts: Vec<_> = all.iter().map(T::to_string).collect();
            texts.join(", ")
        }
        writeln!(f, "{}\n  {}", self.name, self.summary)?;
        writeln!(f, "  in   {}", listed(&self.inputs))?;
        writeln!(f, "  out  {}", listed(&self.outputs))?;
        for setting in &self.settings {
            writeln!(f, "  {setting}")?;
        }
        Ok(())
    }
}
