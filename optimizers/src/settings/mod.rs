//! Settings: a family of optimizers declares each once, by [`settings!`], with its default, its meaning and its range.
//! Fields, builder methods, the strings of the command line and what is listed all follow from that.

mod keys;

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sonew_kernels::arena::Layout;
use sonew_kernels::context::Context;
use sonew_kernels::precision::Precision;

use crate::groups::Own;
use crate::{Error, Optimizer};

/// One setting of an optimizer, for listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key of `--set key=value`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it means.
    pub meaning: &'static str,
}

/// Where a number may lie.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    /// In words.
    pub expected: &'static str,
    pub holds: fn(f64) -> bool,
}

/// Kernels are given f32.
pub(crate) const DECAY: Range = Range {
    expected: "0 ≤ β < 1 in f32",
    holds: |x| (0.0..1.0).contains(&(x as f32)) && x >= 0.0,
};

pub(crate) const NOT_NEGATIVE: Range = Range {
    expected: "≥ 0 and finite in f32",
    holds: |x| x >= 0.0 && (x as f32).is_finite(),
};

pub(crate) const POSITIVE: Range = Range {
    expected: "> 0 and finite in f32",
    holds: |x| x as f32 > 0.0 && (x as f32).is_finite(),
};

pub(crate) const COUNT: Range = Range {
    expected: "a whole number ≥ 1",
    holds: |x| x >= 1.0,
};

/// What a range is about; `None` where a word stands for a number.
pub(crate) trait Number {
    fn number(self) -> Option<f64>;
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Number for $number {
            fn number(self) -> Option<f64> {
                Some(self as f64)
            }
        })+
    };
}

numbers!(f64, u32, u64, usize);

/// A setting of the family `F`.
pub(crate) struct Declared<F> {
    pub key: &'static str,
    pub meaning: &'static str,
    /// Calls the builder's method on the former with what the latter has. Tests hold it against the strings.
    #[cfg_attr(not(test), expect(dead_code))]
    pub build: fn(F, F) -> F,
}

/// What [`settings!`] writes.
pub(crate) trait Settings: Copy + Serialize + DeserializeOwned + 'static {
    const DECLARED: &'static [Declared<Self>];
    /// The keys that are listed before the others, which follow as they are declared.
    const LISTED_FIRST: &'static [&'static str];

    /// The defaults of what is called the same.
    fn defaults(self) -> Self;

    /// Whether each number lies in its range.
    fn in_range(&self) -> Result<(), Error>;
}

/// What a family says beside its settings.
pub(crate) trait Family: Settings {
    /// Its optimizers with their defaults; a name may stand for others like it.
    const NAMES: &'static [&'static str];

    fn named(name: &str) -> Option<Self>;

    fn name(&self) -> String;

    fn default_lr(&self) -> f64;

    /// The decoupled weight decay λ.
    fn weight_decay(&self) -> f64;

    /// Allocates the states and makes the optimizer, of settings that were checked, for tensors with settings of their own.
    fn start<P: Precision>(
        self,
        context: Rc<Context>,
        layout: &Layout,
        own: Own,
    ) -> Result<Box<dyn Optimizer>, Error>;

    /// Whether an optimizer of the family has a setting.
    fn uses(&self, _key: &str) -> bool {
        true
    }

    /// Whether settings go together, each of which is in its range.
    fn agree(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Declares the settings of a family: the fields of a struct, in the order in which they are written to JSON.
///
/// A setting is `/// meaning`, then `name: type = default, within RANGE;`. The range may be left out. The meaning is what
/// `sonew optimizers` prints; the key is the name with hyphens. A field in `named { … }` is told by the optimizer's name;
/// defaults may depend on it.
macro_rules! settings {
    (
        $(#[$about:meta])+
        pub struct $family:ident {
            $(named {
                $(#[$named_about:meta])+
                $named:ident: $named_type:ty $(, within $named_range:expr)?
            })?
            $(
                $(#[doc = $meaning:literal])+
                $field:ident: $type:ty = $default:expr $(, within $range:expr)?;
            )+
        }
        listed first: $($first:ident),+
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $family {
            $(
                $(#[$named_about])+
                pub $named: $named_type,
            )?
            $(
                $(#[doc = $meaning])+
                pub $field: $type,
            )+
        }

        impl $family {
            fn with_defaults($($named: $named_type)?) -> Self {
                Self {
                    $($named,)?
                    $($field: $default,)+
                }
            }

            $(
                $(#[doc = $meaning])+
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+

            /// Allocates the states and makes the optimizer.
            ///
            /// # Errors
            /// As [`OptimizerConfig::build`](crate::OptimizerConfig::build).
            pub fn build(
                self,
                numerics: impl Into<$crate::Numerics>,
                context: std::rc::Rc<$crate::Context>,
                layout: &$crate::Layout,
            ) -> Result<Box<dyn $crate::Optimizer>, $crate::Error> {
                $crate::OptimizerConfig::from(self).build(numerics, context, layout)
            }
        }

        impl From<$family> for $crate::OptimizerConfig {
            fn from(settings: $family) -> Self {
                Self::$family(settings)
            }
        }

        impl $crate::settings::Settings for $family {
            const DECLARED: &'static [$crate::settings::Declared<Self>] = &[$(
                $crate::settings::Declared {
                    key: $crate::settings::key!($field),
                    meaning: concat!($($meaning),+).trim_ascii_start(),
                    build: |settings, other| settings.$field(other.$field),
                },
            )+];
            const LISTED_FIRST: &'static [&'static str] = &[$($crate::settings::key!($first)),+];

            fn defaults(self) -> Self {
                Self::with_defaults($(self.$named)?)
            }

            fn in_range(&self) -> Result<(), $crate::Error> {
                use $crate::settings::{check, key};
                $($(check(self, key!($named), self.$named, $named_range)?;)?)?
                $($(check(self, key!($field), self.$field, $range)?;)?)+
                Ok(())
            }
        }
    };
}

/// The key of a field.
macro_rules! key {
    ($field:ident) => {{
        const FIELD: &str = stringify!($field);
        const BYTES: [u8; FIELD.len()] = $crate::settings::hyphenated(FIELD);
        const KEY: &str = match std::str::from_utf8(&BYTES) {
            Ok(key) => key,
            Err(_) => FIELD,
        };
        KEY
    }};
}

pub(crate) use keys::{list, set, unreadable, validate};
pub(crate) use {key, settings};

/// The bytes of a name of `N` bytes.
pub(crate) const fn hyphenated<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        let byte = name.as_bytes()[at];
        bytes[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    bytes
}

pub(crate) fn check(
    family: &impl Family,
    key: &'static str,
    value: impl Number,
    range: Range,
) -> Result<(), Error> {
    match value.number() {
        Some(found) if !(range.holds)(found) => Err(Error::Range {
            optimizer: family.name(),
            key,
            found,
            expected: range.expected,
        }),
        _ => Ok(()),
    }
}
