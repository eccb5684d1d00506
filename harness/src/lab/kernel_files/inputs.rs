//! The arrays of a file, held to a kernel's declaration.

use std::collections::BTreeMap;

use super::KernelFileError;
use super::settings::Settings;
use super::spec::{Absent, Axis, Input, KernelSpec};
use crate::arrays::Arrays;

/// The inputs of one run: every array of the shape that is declared, and the options. What is taken out is gone, so that
/// what nobody wanted can be named.
pub(super) struct Inputs {
    spec: KernelSpec,
    /// The options.
    pub settings: Settings,
    sizes: BTreeMap<&'static str, usize>,
    arrays: BTreeMap<&'static str, Vec<f32>>,
}

impl Inputs {
    /// Takes from `file` what `spec` declares.
    pub fn new(
        spec: KernelSpec,
        mut file: Arrays,
        given: &[(String, String)],
    ) -> Result<Self, KernelFileError> {
        let settings = Settings::new(spec.name, &spec.settings, given)?;
        let (mut sizes, mut arrays) = (BTreeMap::new(), BTreeMap::new());
        for input in &spec.inputs {
            if input.absent != Absent::Refused && file.get(input.name).is_none() {
                continue;
            }
            let (shape, values) = file.take_f32(input.name)?;
            bind(spec.name, input, shape, &mut sizes)?;
            arrays.insert(input.name, values);
        }
        // What the kernel itself wrote may come back beside its states.
        let written = spec.outputs.iter().map(|output| output.name);
        let mut known: Vec<_> = spec.inputs.iter().map(|input| input.name).collect();
        for name in written.chain(spec.passed_over.iter().copied()) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        file.require_only(&format!("kernel {}", spec.name), &known)?;
        Ok(Self {
            spec,
            settings,
            sizes,
            arrays,
        })
    }

    /// The length of an axis.
    ///
    /// # Panics
    /// If no array that must be there has the axis.
    pub fn size(&self, axis: Axis) -> usize {
        self.sizes[axis.name]
    }

    /// Values of the largest array.
    pub fn largest(&self) -> usize {
        self.arrays.values().map(Vec::len).max().unwrap_or(0)
    }

    /// An array of the file, or the zeros that it counts as.
    pub fn take(&mut self, name: &'static str) -> Vec<f32> {
        if let Some(values) = self.arrays.remove(name) {
            return values;
        }
        let declared = self.spec.inputs.iter().find(|input| input.name == name);
        let sides = declared.map_or(&[][..], |input| input.shape);
        vec![0.0; sides.iter().map(|&axis| self.size(axis)).product()]
    }

    /// An array of indices below `below`, which files hold as f32.
    pub fn take_indices(
        &mut self,
        name: &'static str,
        below: usize,
    ) -> Result<Vec<u32>, KernelFileError> {
        let kernel = self.spec.name;
        let values = self.take(name).into_iter().enumerate();
        let index = |(place, found): (usize, f32)| {
            // Beyond 2²⁴ not every number is an f32.
            let fits = found >= 0.0 && found.fract() == 0.0 && found < below.min(1 << 24) as f32;
            fits.then_some(found as u32).ok_or(KernelFileError::Index {
                kernel,
                array: name,
                place,
                found,
                most: below.min(1 << 24) - 1,
            })
        };
        values.map(index).collect()
    }

    /// An array that the kernel can do without.
    pub fn take_if_given(&mut self, name: &'static str) -> Option<Vec<f32>> {
        self.arrays.remove(name)
    }

    /// The lines of a `[b, n]` array. What would couple to a value beyond the tensor is no edge.
    pub fn take_band(&mut self, name: &'static str) -> Vec<Vec<f32>> {
        let (values, n) = (self.take(name), self.size(super::spec::N));
        let lines = values.chunks_exact(n).enumerate();
        lines
            .map(|(k, line)| {
                let mut line = line.to_vec();
                line[n.saturating_sub(k + 1)..].fill(0.0);
                line
            })
            .collect()
    }

    /// Refuses arrays and options that were given and not used.
    pub fn require_all_used(&self) -> Result<(), KernelFileError> {
        self.settings.require_all_read()?;
        if self.arrays.is_empty() {
            return Ok(());
        }
        let left: Vec<_> = self.arrays.keys().copied().collect();
        Err(KernelFileError::Unread {
            kernel: self.spec.name,
            found: left.join(", "),
            expected: self.spec.input_names(),
        })
    }
}

/// Holds a shape to what is declared and to the shapes before it.
fn bind(
    kernel: &'static str,
    input: &Input,
    found: Vec<usize>,
    sizes: &mut BTreeMap<&'static str, usize>,
) -> Result<(), KernelFileError> {
    let before = sizes.clone();
    let fits = found.len() == input.shape.len()
        && found.iter().zip(input.shape).all(|(&length, axis)| {
            let wanted = *sizes.entry(axis.name).or_insert(length);
            (axis.least..=axis.most).contains(&length) && length == wanted
        });
    if fits {
        return Ok(());
    }
    let side = |axis: &Axis| match (before.get(axis.name), axis.most) {
        (Some(&length), _) => length.to_string(),
        (None, usize::MAX) => format!("{} ≥ {}", axis.name, axis.least),
        (None, most) => format!("{} from {} to {most}", axis.name, axis.least),
    };
    let sides: Vec<_> = input.shape.iter().map(side).collect();
    Err(KernelFileError::Shape {
        kernel,
        array: input.name,
        found,
        expected: format!("[{}]", sides.join(", ")),
    })
}
