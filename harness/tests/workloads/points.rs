//! A workload that no list has: the middle of points in space, ½|w − x|² for each point x. w lies in two tensors.

use sonew_harness::train::TrainError;
use sonew_harness::train::init::{First, Tensor};
use sonew_harness::workloads::{Examples, Memory, Objective, Workload};
use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::{Context, Profile};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

pub struct Points {
    pub points: Vec<[f32; 3]>,
    tensors: [Tensor; 2],
    layout: Layout,
}

impl Points {
    pub fn new(count: usize) -> Self {
        let coordinate = |at: usize| (at as f32 * 0.7).sin() + 2.0;
        let tensor = |name: &str, values, first| Tensor {
            name: name.into(),
            shape: vec![values],
            first,
        };
        Self {
            points: (0..count)
                .map(|at| [3 * at, 3 * at + 1, 3 * at + 2].map(coordinate))
                .collect(),
            tensors: [
                tensor("plane", 2, First::Uniform(0.5)),
                tensor("height", 1, First::Zeros),
            ],
            layout: Layout::with_shapes(vec![vec![2], vec![1]]).unwrap(),
        }
    }
}

impl Workload for Points {
    fn title(&self) -> &str {
        "The middle of points"
    }

    fn loss_unit(&self) -> &str {
        "half a square per point"
    }

    fn examples(&self) -> Examples {
        Examples {
            count: self.points.len(),
            one: "point",
            many: "points",
        }
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn arrange(&mut self, layout: Layout) {
        self.layout = layout;
    }

    fn memory(&self, _: Profile, _: usize) -> Memory {
        Memory {
            buffer: 0,
            host: 0,
            options: "--batch",
        }
    }

    fn objective<'a>(
        &'a self,
        _: &Context,
        _: PrecisionKind,
        batch: usize,
        _: Multiplication,
    ) -> Result<Box<dyn Objective + 'a>, TrainError> {
        Ok(Box::new(Distance {
            points: self,
            batch,
            order: Vec::new(),
            losses: Vec::new(),
        }))
    }
}

struct Distance<'a> {
    points: &'a Points,
    batch: usize,
    order: Vec<u32>,
    losses: Vec<f64>,
}

impl Distance<'_> {
    /// The mean loss of points and its gradient.
    fn of(
        &self,
        context: &Context,
        params: &Arena,
        indices: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(f64, [f32; 3]), TrainError> {
        let tensors = params.tensors(context)?;
        let w = [tensors[0][0], tensors[0][1], tensors[1][0]];
        let (mut loss, mut gradient, count) = (0.0, [0.0; 3], indices.len());
        for index in indices {
            for axis in 0..3 {
                let off = w[axis] - self.points.points[index][axis];
                loss += f64::from(off).powi(2) / 2.0 / count as f64;
                gradient[axis] += off / count as f32;
            }
        }
        Ok((loss, gradient))
    }
}

impl Objective for Distance<'_> {
    fn set_order(&mut self, _: &Context, indices: Vec<u32>) -> Result<(), TrainError> {
        let count = self.points.points.len();
        if let Some(&outside) = indices.iter().find(|&&index| index as usize >= count) {
            return Err(TrainError::Workload(format!("no point {outside}").into()));
        }
        self.order = indices;
        Ok(())
    }

    fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        number: usize,
        scale: f64,
    ) -> Result<Arena, TrainError> {
        let batch = self.order.chunks_exact(self.batch).nth(number);
        let batch = batch.ok_or_else(|| TrainError::Workload("no such batch".into()))?;
        let indices = batch.iter().map(|&index| index as usize);
        let (loss, gradient) = self.of(context, params, indices)?;
        self.losses.push(loss);
        let gradient = gradient.map(|g| (f64::from(g) * scale) as f32);
        let (layout, format) = (params.layout(), params.format());
        let tensors = [&gradient[..2], &gradient[2..]];
        Ok(Arena::of(context, layout, format, &tensors)?)
    }

    fn losses(&mut self, _: &Context) -> Result<Vec<f64>, TrainError> {
        Ok(std::mem::take(&mut self.losses))
    }

    fn tells_at_once(&self) -> bool {
        true
    }

    fn evaluate(&mut self, context: &Context, params: &Arena) -> Result<f64, TrainError> {
        let all = 0..self.points.points.len();
        Ok(self.of(context, params, all)?.0)
    }
}
