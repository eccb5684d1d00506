//! Why a state cannot be read, or does not fit an optimizer.

/// Why a state cannot be read, or does not fit an optimizer. What does not fit changes nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// The bytes are not what was written.
    #[error("loading a state: {reason}; it is damaged or no state at all, take an earlier one")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// It was written in another form.
    #[error(
        "loading a state: it was written as version {found}, expected at most {expected}; load it with a newer version of the library"
    )]
    Version {
        /// Its version.
        found: String,
        /// The newest that can be read.
        expected: u32,
    },
    /// It could not be written.
    #[error("writing a state: {reason}")]
    Unwritable {
        /// What went wrong.
        reason: String,
    },
    /// Something that the optimizer needs is not there.
    #[error(
        "loading a state: it has no {name}; it is the state of another optimizer or of another model"
    )]
    Missing {
        /// What is missing.
        name: String,
    },
    /// Something is there that the optimizer does not have.
    #[error("loading a state: it has {name}, which this optimizer of this model has not")]
    Extra {
        /// What there is.
        name: String,
    },
    /// An array has another shape, or is held in another format.
    #[error(
        "loading a state: {name} is {found}, expected {expected}; build the optimizer for the same tensors and precision"
    )]
    Shape {
        /// The array.
        name: String,
        /// Format and shape found.
        found: String,
        /// Format and shape of the optimizer.
        expected: String,
    },
    /// A setting has another value. The learning rate is none: it may change.
    #[error(
        "loading a state: it was found with {part}: {key} = {found}, and this optimizer has {expected}; build it with the same settings (the learning rate and the blueprint may differ)"
    )]
    Setting {
        /// Which part of the optimizer has the setting.
        part: String,
        /// The key.
        key: String,
        /// Its value in the state.
        found: String,
        /// That of the optimizer.
        expected: String,
    },
}
