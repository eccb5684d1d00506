//! The buffer itself, and what is known of it.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::layout::Segments;
use crate::binding::{array, require_bytes};
use crate::context::Context;
use crate::error::Error;
use crate::precision::{Format, HostFormat};
use crate::sonew::Ghosts;

/// Values of all tensors of a layout on the device, in one format: parameters, gradients, or a state.
///
/// What lies between tensors is zero. A clone is the same memory.
#[derive(Clone, Debug)]
pub struct Arena {
    handle: Handle,
    layout: Segments,
    format: Format,
    /// The ghost columns behind the tensors of a state of [`crate::sonew::step()`], if there are any.
    ghosts: Option<Ghosts>,
}

impl Arena {
    /// Zeros.
    pub fn zeros(context: &Context, layout: &Segments, format: Format) -> Self {
        Self::zeroed(context, layout, format, None)
    }

    /// Zeros, and ghost columns behind the tensors.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ghosts are those of another layout.
    pub fn zeros_with_ghosts(
        context: &Context,
        layout: &Segments,
        format: Format,
        ghosts: Ghosts,
    ) -> Result<Self, Error> {
        let ghosts = ghosts_of(layout, ghosts)?;
        Ok(Self::zeroed(context, layout, format, ghosts))
    }

    fn zeroed(
        context: &Context,
        layout: &Segments,
        format: Format,
        ghosts: Option<Ghosts>,
    ) -> Self {
        let bytes = format.bytes() * values_of(layout, ghosts);
        Self {
            handle: context.upload(&vec![0u8; bytes]),
            layout: layout.clone(),
            format,
            ghosts,
        }
    }

    /// Tensors that have one value everywhere, rounded to the format.
    pub fn filled(context: &Context, layout: &Segments, format: Format, value: f32) -> Self {
        let mut values = vec![0.0; layout.arena_len()];
        for tensor in layout.tensors() {
            values[tensor.clone()].fill(value);
        }
        Self::uploaded(context, layout, format, None, &values)
    }

    /// The tensors given, each value rounded to the format.
    ///
    /// # Errors
    /// As [`Segments::gather`].
    pub fn of(
        context: &Context,
        layout: &Segments,
        format: Format,
        tensors: &[impl AsRef<[f32]>],
    ) -> Result<Self, Error> {
        let values = layout.gather(tensors)?;
        Ok(Self::uploaded(context, layout, format, None, &values))
    }

    /// The tensors given, and ghost columns that hold what they copy.
    ///
    /// # Errors
    /// As [`Segments::gather`] and [`Arena::zeros_with_ghosts`].
    pub fn of_with_ghosts(
        context: &Context,
        layout: &Segments,
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
    /// [`Error::Shape`] if there are not [`Segments::arena_len`] of them.
    pub fn from_values(
        context: &Context,
        layout: &Segments,
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
        layout: &Segments,
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
    pub fn around(handle: Handle, layout: &Segments, format: Format) -> Result<Self, Error> {
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
    pub fn layout(&self) -> &Segments {
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

    /// The buffer as a kernel takes it, in vectors of `width` values.
    pub(crate) fn vectors(&self, width: usize) -> ArrayArg<Gpu> {
        array(&self.handle, self.values() / width)
    }

    /// Requires that it is of that layout and format, without ghost columns.
    ///
    /// # Errors
    /// [`Error::Shape`] if not, with `argument` as its name.
    pub fn require(
        &self,
        operation: &'static str,
        argument: &'static str,
        layout: &Segments,
        format: Format,
    ) -> Result<(), Error> {
        self.check(operation, argument, layout, format, None)
    }

    /// Refuses another format, another layout, and other ghost columns than expected.
    fn check(
        &self,
        operation: &'static str,
        argument: &'static str,
        layout: &Segments,
        format: Format,
        ghosts: Option<Ghosts>,
    ) -> Result<(), Error> {
        let refused = |found: String, expected: String| {
            Err(Error::Shape {
                operation,
                argument,
                found,
                expected,
            })
        };
        if self.format != format {
            let found = format!("an arena of {}", self.format);
            return refused(found, format!("one of {format}"));
        }
        let place = |it: &Segments| {
            let tensors = it.tensors().len();
            format!(
                "{} values of {tensors} tensors in {} blocks",
                it.parameters(),
                it.blocks()
            )
        };
        if !self.layout.agrees(layout) {
            let found = format!("an arena of {}", place(&self.layout));
            let expected = format!("the layout of the others: {}", place(layout));
            return refused(found, expected);
        }
        let behind = |ghosts: Option<Ghosts>| match ghosts {
            None => "no ghost columns".to_owned(),
            Some(ghosts) => ghosts.description(),
        };
        if self.ghosts != ghosts {
            let found = format!("an arena with {}", behind(self.ghosts));
            return refused(found, behind(ghosts));
        }
        Ok(())
    }
}

/// Values in a buffer of that layout.
fn values_of(layout: &Segments, ghosts: Option<Ghosts>) -> usize {
    ghosts.map_or(layout.arena_len(), |it| it.state_len())
}

/// The ghost columns of a layout, if they are any.
fn ghosts_of(layout: &Segments, ghosts: Ghosts) -> Result<Option<Ghosts>, Error> {
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

/// Requires arenas of that layout in a format, without ghost columns; each has the name of an argument.
///
/// # Errors
/// [`Error::Shape`] with the first that is not.
pub fn require<'a, S: HostFormat>(
    operation: &'static str,
    layout: &Segments,
    arenas: impl IntoIterator<Item = (&'static str, &'a Arena)>,
) -> Result<(), Error> {
    require_with_ghosts::<S>(operation, layout, None, arenas)
}

/// Requires arenas of that layout in a format, with these ghost columns.
pub(crate) fn require_with_ghosts<'a, S: HostFormat>(
    operation: &'static str,
    layout: &Segments,
    ghosts: Option<Ghosts>,
    arenas: impl IntoIterator<Item = (&'static str, &'a Arena)>,
) -> Result<(), Error> {
    for (argument, arena) in arenas {
        arena.check(operation, argument, layout, S::FORMAT, ghosts)?;
    }
    Ok(())
}

/// Arenas under one name, as [`require`] takes them.
pub(crate) fn named<'a>(
    argument: &'static str,
    arenas: impl IntoIterator<Item = &'a Arena>,
) -> impl Iterator<Item = (&'static str, &'a Arena)> {
    arenas.into_iter().map(move |arena| (argument, arena))
}

/// A sequence of arenas as a kernel takes it, in vectors of `width` values.
pub(crate) fn sequence<'a, E: CubePrimitive>(
    arenas: impl IntoIterator<Item = &'a Arena>,
    width: usize,
) -> SequenceArg<Gpu, Array<E>> {
    let mut sequence = SequenceArg::new();
    for arena in arenas {
        sequence.push(arena.vectors(width));
    }
    sequence
}
