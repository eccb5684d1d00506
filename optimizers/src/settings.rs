//! Settings: a family of optimizers declares each once, by [`settings!`], with its default, its meaning and its range.
//! Fields, builder methods, the strings of the command line and what is listed all follow from that.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sonew_kernels::context::Context;
use sonew_kernels::precision::Precision;
use sonew_kernels::segments::Segments;

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

    /// Allocates the states and makes the optimizer, of settings that were checked.
    fn start<P: Precision>(
        self,
        context: Rc<Context>,
        segments: &Segments,
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
                segments: &$crate::Segments,
            ) -> Result<Box<dyn $crate::Optimizer>, $crate::Error> {
                $crate::OptimizerConfig::from(self).build(numerics, context, segments)
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

/// Checks every range, and whether the settings go together.
pub(crate) fn validate<F: Family>(family: &F) -> Result<(), Error> {
    let (fields, defaults) = (fields(family), fields(&family.defaults()));
    for Declared { key, .. } in F::DECLARED {
        // A string cannot set what the optimizer does not have, nor may the builder.
        if !family.uses(key) && fields.get(*key) != defaults.get(*key) {
            return Err(unknown(family, key));
        }
    }
    family.in_range()?;
    family.agree()
}

/// The settings of an optimizer, with their values and meanings.
pub(crate) fn list<F: Family>(family: &F) -> Vec<Setting> {
    let fields = fields(family);
    let mut declared: Vec<_> = F::DECLARED
        .iter()
        .filter(|it| family.uses(it.key))
        .collect();
    let place = |key: &str| F::LISTED_FIRST.iter().position(|first| *first == key);
    declared.sort_by_key(|it| place(it.key).unwrap_or(usize::MAX));
    declared
        .into_iter()
        .map(|&Declared { key, meaning, .. }| Setting {
            key,
            value: match fields.get(key) {
                Some(Value::String(text)) => text.clone(),
                other => other.map(Value::to_string).unwrap_or_default(),
            },
            meaning,
        })
        .collect()
}

/// Sets one value by its key.
pub(crate) fn set<F: Family>(family: &mut F, key: &str, value: &str) -> Result<(), Error> {
    let updated = read(family, key, value)?;
    validate(&updated)?;
    *family = updated;
    Ok(())
}

/// With one value replaced, which may lie outside its range.
fn read<F: Family>(family: &F, key: &str, value: &str) -> Result<F, Error> {
    let key = if key == "momentum" { "beta1" } else { key };
    if !(F::DECLARED.iter().any(|it| it.key == key) && family.uses(key)) {
        return Err(unknown(family, key));
    }
    let mut fields = fields(family);
    let text = Value::String(value.into());
    let number = serde_json::from_str(value).ok();
    let current = fields.insert(key.into(), Value::Null);
    // A word may be spelled as a number, and a number may stand where a word was.
    let spellings = match (&current, number) {
        (Some(Value::String(_)), Some(number)) => vec![text, number],
        (_, Some(number)) => vec![number],
        (_, None) => vec![text],
    };
    let mut reason = None;
    for spelling in spellings {
        fields.insert(key.into(), spelling);
        match serde_json::from_value(Value::Object(fields.clone())) {
            Ok(updated) => return Ok(updated),
            Err(error) => {
                reason.get_or_insert_with(|| expected_of(current.as_ref(), value, &error));
            }
        }
    }
    let reason = reason.unwrap_or_default();
    Err(unreadable(family, key, value, &reason))
}

fn fields(family: &impl Family) -> Map<String, Value> {
    match serde_json::to_value(family) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn unknown<F: Family>(family: &F, key: &str) -> Error {
    let known: Vec<_> = list(family).iter().map(|setting| setting.key).collect();
    Error::UnknownSetting {
        optimizer: family.name(),
        key: key.into(),
        known: known.join(", "),
    }
}

pub(crate) fn unreadable(family: &impl Family, key: &str, found: &str, reason: &str) -> Error {
    Error::Unreadable {
        optimizer: family.name(),
        key: key.into(),
        found: found.into(),
        reason: reason.into(),
    }
}

/// What a setting should be: what serde's error lists, or what the value that it has tells.
fn expected_of(current: Option<&Value>, given: &str, error: &serde_json::Error) -> String {
    let reason = error.to_string();
    let listed = reason.find("expected").map(|at| &reason[at..]);
    if let Some(listed) = listed.filter(|it| it.contains('`')) {
        return listed.into();
    }
    let is_large = given
        .parse()
        .is_ok_and(|it: f64| it >= 1.0 && it.fract() == 0.0);
    match current {
        Some(Value::Bool(_)) => "expected true or false".into(),
        Some(Value::Number(it)) if it.is_f64() => "expected a finite number, as 0.5 or 1e-3".into(),
        Some(Value::Number(_)) if is_large => "expected a smaller number, in digits alone".into(),
        Some(Value::Number(_)) => "expected a whole number ≥ 0".into(),
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FirstOrder, Shampoo, Sonew};

    /// What some setting takes, and what some refuses; the words of a choice are read from its refusal.
    const NUMBERS: [&str; 9] = ["0.25", "7", "2", "1", "0", "-1", "65", "true", "false"];

    fn candidates<F: Family>(family: &F, key: &str) -> Vec<String> {
        let mut all: Vec<String> = NUMBERS.iter().map(|it| (*it).into()).collect();
        if let Err(Error::Unreadable { reason, .. }) = read(family, key, "no such word") {
            all.extend(reason.split('`').skip(1).step_by(2).map(String::from));
        }
        all
    }

    /// Calls `each` with every optimizer of a family, a setting of it, and what a string has made of that, unchecked.
    fn each_string<F: Family>(mut each: impl FnMut(F, &Declared<F>, &str, F)) {
        for name in F::NAMES {
            let family = F::named(name).unwrap();
            for declared in F::DECLARED.iter().filter(|it| family.uses(it.key)) {
                for value in candidates(&family, declared.key) {
                    if let Ok(changed) = read(&family, declared.key, &value) {
                        each(family, declared, &value, changed);
                    }
                }
            }
        }
    }

    fn builders_and_strings_agree<F: Family + PartialEq + std::fmt::Debug>() {
        let mut changed_keys = Vec::new();
        each_string::<F>(|defaults, declared, value, read| {
            let key = declared.key;
            let built = (declared.build)(defaults, read);
            let mut by_string = defaults;
            match set(&mut by_string, key, value) {
                Ok(()) => {
                    assert_eq!(built, by_string, "{key} = {value}");
                    if by_string != defaults {
                        changed_keys.push(key);
                    }
                }
                Err(error) => {
                    assert_eq!(validate(&built), Err(error), "{key} = {value}");
                    assert_eq!(by_string, defaults, "a refused setting changes nothing");
                }
            }
        });
        for Declared { key, .. } in F::DECLARED {
            assert!(changed_keys.contains(key), "nothing tried changes {key}");
        }
    }

    #[test]
    fn builders_and_strings_give_the_same_settings_and_the_same_refusals() {
        builders_and_strings_agree::<FirstOrder>();
        builders_and_strings_agree::<Sonew>();
        builders_and_strings_agree::<Shampoo>();
    }

    #[test]
    fn what_a_rule_does_not_use_is_refused_of_builders_and_strings_alike() {
        let mut sgd = FirstOrder::sgd();
        let refusal = set(&mut sgd, "beta2", "0.5");
        assert!(matches!(refusal, Err(Error::UnknownSetting { .. })));
        assert_eq!(validate(&FirstOrder::sgd().beta2(0.5)), refusal);
        assert_eq!(validate(&FirstOrder::sgd()), Ok(()));
    }

    fn meanings<F: Family>() -> impl Iterator<Item = (&'static str, &'static str)> {
        F::DECLARED.iter().map(|it| (it.key, it.meaning))
    }

    #[test]
    fn a_key_means_the_same_in_every_family() {
        let all: Vec<_> = meanings::<FirstOrder>()
            .chain(meanings::<Sonew>())
            .chain(meanings::<Shampoo>())
            .collect();
        for (key, meaning) in &all {
            assert!(!meaning.is_empty(), "{key} has a meaning");
            let mut same_key = all.iter().filter(|(other, _)| other == key);
            assert!(same_key.all(|(_, other)| other == meaning), "{key}");
        }
    }

    #[test]
    fn the_key_of_a_field_is_what_json_calls_it() {
        fn of<F: Family>() {
            let fields = fields(&F::named(F::NAMES[0]).unwrap());
            for Declared { key, .. } in F::DECLARED {
                assert!(fields.contains_key(*key), "{key}");
            }
        }
        of::<FirstOrder>();
        of::<Sonew>();
        of::<Shampoo>();
    }
}
