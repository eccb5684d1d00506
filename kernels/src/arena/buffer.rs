//! The buffer itself, and what is known of it.

use cubecl::server::Handle;

use super::layout::Layout;
use crate::context::Context;
use crate::error::Error;
use crate::launch::require_bytes;
use crate::precision::Format;
use crate::sonew::Ghosts;

/// Values of all tensors of a layout on the device, in one format: parameters, gradients, or a state.
///
/// What lies between tensors is zero. A clone is the same memory.
#[derive(Clone, Debug)]
pub struct Arena {
    handle: Handle,
    layout: Layout,
    format: Format,
    /// The ghost columns behind the tensors of a state of [`crate::sonew::step()`], if there are any.
    ghosts: Option<Ghosts>,
}

impl Arena {
    /// Zeros.
    pub fn zeros(context: &Context, layout: &Layout, format: Format) -> Self {
        Self::zeroed(context, layout, format, None)
    }

    /// Zeros, and ghost columns behind the tensors.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ghosts are those of another layout.
    pub fn zeros_with_ghosts(
        context: &Context,
        layout: &Layout,
        format: Format,
        ghosts: Ghosts,
    ) -> Result<Self, Error> {
        let ghosts = ghosts_of(layout, ghosts)?;
        Ok(Self::zeroed(context, layout, format, ghosts))
    }

    fn zeroed(context: &Context, layout: &Layout, format: Format, ghosts: Option<Ghosts>) -> Self {
        let bytes = format.bytes() * values_of(layout, ghosts);
        Self {
            handle: context.upload(&vec![0u8; bytes]),
            layout: layout.clone(),
            format,
            ghosts,
        }
    }

    /// Tensors that have one value everywhere, rounded to the format.
    pub fn filled(context: &Context, layout: &Layout, format: Format, value: f32) -> Self {
        let mut values = vec![0.0; layout.arena_len()];
        for tensor in layout.tensors() {
            values[tensor.clone()].fill(value);
        }
        Self::uploaded(context, layout, format, None, &values)
    }

    /// The tensors given, each value rounded to the format.
    ///
    /// # Errors
    /// As [`Layout::gather`].
    pub fn of(
        context: &Context,
        layout: &Layout,
        format: Format,
        tensors: &[impl AsRef<[f32]>],
    ) -> Result<Self, Error> {
        let values = layout.gather(tensors)?;
        Ok(Self::uploaded(context, layout, format, None, &values))
    }

    /// The tensors given, and ghost columns that hold what they copy.
    ///
    /// # Errors
    /// As [`Layout::gather`] and [`Arena::zeros_with_ghosts`].
    pub fn of_with_ghosts(
        context: &Context,
        layout: &Layout,
        format: Format,
        tensors: &[impl AsRef<[f32]>],
        ghosts: Ghosts,
    ) -> Result<Self, Error> {
        let mut values = layout.gather(tensors)?;
        let known = ghosts_of(layout, ghosts)?;
        values.resize(ghosts.state_len(), 0.0);
        for (copy, column) in ghosts.copies() {
            values[copy] = values[column];
        }
        Ok(Self::uploaded(context, layout, format, known, &values))
    }

    /// Values that are laid out already, with zeros between tensors, each rounded to the format.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not [`Layout::arena_len`] of them.
    pub fn from_values(
        context: &Context,
        layout: &Layout,
        format: Format,
        values: &[f32],
    ) -> Result<Self, Error> {
        if values.len() != layout.arena_len() {
            return Err(Error::Shape {
                operation: "arena",
                argument: "values",
                found: format!("{} values", values.len()),
                expected: format!("{}, those of the layout", layout.arena_len()),
            });
        }
        Ok(Self::uploaded(context, layout, format, None, values))
    }

    fn uploaded(
        context: &Context,
        layout: &Layout,
        format: Format,
        ghosts: Option<Ghosts>,
        values: &[f32],
    ) -> Self {
        let handle = match format {
            Format::F32 => context.upload(values),
            Format::Bf16 | Format::F16 => context.upload(&format.encode(values)),
        };
        Self {
            handle,
            layout: layout.clone(),
            format,
            ghosts,
        }
    }

    /// A buffer of the device that holds values in this format in this layout, with zeros between tensors.
    ///
    /// # Errors
    /// [`Error::Length`] if it is shorter or longer than the layout.
    pub fn around(handle: Handle, layout: &Layout, format: Format) -> Result<Self, Error> {
        let bytes = (format.bytes() * layout.arena_len()) as u64;
        require_bytes("arena", "handle", &handle, bytes)?;
        Ok(Self {
            handle,
            layout: layout.clone(),
            format,
            ghosts: None,
        })
    }

    /// Where the tensors lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The buffer.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How a value lies in memory.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The ghost columns behind the tensors, if there are any.
    pub fn ghosts(&self) -> Option<Ghosts> {
        self.ghosts
    }

    /// Values in the buffer: those of the layout, and of ghost columns.
    pub fn values(&self) -> usize {
        values_of(&self.layout, self.ghosts)
    }

    /// Bytes of the buffer.
    pub fn bytes(&self) -> usize {
        self.format.bytes() * self.values()
    }

    /// Lends the values of the layout, widened; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn view<O>(
        &self,
        context: &Context,
        operation: &'static str,
        look: impl FnOnce(&[f32]) -> O,
    ) -> Result<O, Error> {
        let n = self.layout.arena_len();
        if self.format == Format::F32 {
            return context.view(operation, &self.handle, |values| look(&values[..n]));
        }
        let bytes = self.format.bytes() * n;
        let decode = |all: &[u8]| self.format.decode(&all[..bytes]);
        Ok(look(&context.view(operation, &self.handle, decode)?))
    }

    /// The values of each tensor, widened, in host memory; waits for the work launched so far.
    ///
    /// # Errors
    /// As [`Context::download`].
    pub fn tensors(&self, context: &Context) -> Result<Vec<Vec<f32>>, Error> {
        self.view(context, "reading an arena", |values| {
            self.layout.scatter(values)
        })
    }
}

/// Values in a buffer of that layout.
fn values_of(layout: &Layout, ghosts: Option<Ghosts>) -> usize {
    ghosts.map_or(layout.arena_len(), |it| it.state_len())
}

/// The ghost columns of a layout, if they are any.
fn ghosts_of(layout: &Layout, ghosts: Ghosts) -> Result<Option<Ghosts>, Error> {
    if ghosts.fit(layout) {
        return Ok(ghosts.any());
    }
    Err(Error::Shape {
        operation: "arena",
        argument: "ghosts",
        found: format!("{} of another layout", ghosts.description()),
        expected: format!("those of {} blocks", layout.blocks()),
    })
}
