//! The states of SONew by their names.

use sonew_kernels::precision::Precision;

use super::SonewOptimizer;
use crate::{Error, Keeper, Optimizer};

impl<P: Precision> SonewOptimizer<P> {
    pub(super) fn keep_states(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        let context = self.context.clone();
        keeper.family::<_, P>(&self.config)?;
        self.own.keep(keeper, &self.layout)?;
        keeper.record("steps", &mut self.step)?;
        keeper.arena(&context, "first_moment", &mut self.moment)?;
        keeper.arena(&context, "diagonal", &mut self.diagonal)?;
        for (edges, distance) in self.edges.iter_mut().zip(1..) {
            keeper.arena(&context, &format!("edges[{distance}]"), edges)?;
        }
        let staged = self.scratch.as_mut().and_then(|it| it.staged.as_mut());
        if let Some(second) = staged.and_then(|it| it.second.as_mut()) {
            keeper.arena(&context, "graft_second_moment", second)?;
        }
        let mut loaded = self.loaded;
        keeper.report(|| self.report(), &mut loaded)?;
        self.loaded = loaded;
        Ok(())
    }
}
