//! The options of a kernel: what each takes, and what was given.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::KernelFileError;
use super::descending::Descending;

/// An option of a kernel.
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// What it is unless it is set.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    kind: Kind,
    /// Whether it may be `none`.
    optional: bool,
}

/// What an option takes.
enum Kind {
    /// A number that f32 holds.
    Number,
    /// The same, ≥ 0.
    NonNegative,
    /// A number whose reciprocal f32 holds as well.
    Positive,
    /// The decay of a moving average in f32.
    Decay,
    /// The same, or 1 for a sum.
    DecayOrSum,
    Whole(RangeInclusive<u64>),
    Choice(Vec<&'static str>),
}

/// What an option is.
#[derive(Clone, Copy)]
enum Value {
    Number(f64),
    Whole(u64),
    Choice(&'static str),
    Nothing,
}

/// The most steps that a bias correction is told of.
const STEPS: u64 = i32::MAX as u64;

impl Setting {
    fn new(key: &'static str, default: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self {
            key,
            default,
            meaning,
            kind,
            optional: false,
        }
    }

    pub(super) fn number(key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(key, default, Kind::Number, meaning)
    }

    pub(super) fn non_negative(
        key: &'static str,
        default: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self::new(key, default, Kind::NonNegative, meaning)
    }

    pub(super) fn positive(
        key: &'static str,
        default: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self::new(key, default, Kind::Positive, meaning)
    }

    pub(super) fn decay(key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(key, default, Kind::Decay, meaning)
    }

    pub(super) fn decay_or_sum(
        key: &'static str,
        default: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self::new(key, default, Kind::DecayOrSum, meaning)
    }

    pub(super) fn whole(
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> Self {
        Self::new(key, default, Kind::Whole(range), meaning)
    }

    /// One of some names, the first unless set.
    pub(super) fn choice<T>(
        key: &'static str,
        of: &[(&'static str, T)],
        meaning: &'static str,
    ) -> Self {
        let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
        let default = names.first().copied().unwrap_or_default();
        Self::new(key, default, Kind::Choice(names), meaning)
    }

    /// The same, unless set.
    pub(super) fn by_default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Also `none`.
    pub(super) fn or_none(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Its names, if it takes one of some.
    pub fn choices(&self) -> &[&'static str] {
        match &self.kind {
            Kind::Choice(names) => names,
            Kind::Number
            | Kind::NonNegative
            | Kind::Positive
            | Kind::Decay
            | Kind::DecayOrSum
            | Kind::Whole(_) => &[],
        }
    }

    /// What it takes, in words.
    fn expected(&self) -> String {
        let held = "0, or of a size from 1.2e-38 to 3.4e38";
        let text = match &self.kind {
            Kind::Number => format!("a number that f32 holds ({held})"),
            Kind::NonNegative => format!("a number ≥ 0 that f32 holds ({held})"),
            Kind::Positive => "a number from 1.2e-38 to 8.5e37".into(),
            Kind::Decay => format!("0 ≤ β < 1 in f32 ({held})"),
            Kind::DecayOrSum => "0 < β ≤ 1 in f32, from 1.2e-38 on".into(),
            Kind::Whole(range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Kind::Choice(names) => names.join(", "),
        };
        let none = if self.optional { ", or none" } else { "" };
        format!("expected {text}{none}")
    }

    fn read(&self, text: &str) -> Option<Value> {
        if self.optional && text == "none" {
            return Some(Value::Nothing);
        }
        let number = |fits: &dyn Fn(f32) -> bool| {
            let value = held_in_f32(text)?;
            fits(value as f32).then_some(Value::Number(value))
        };
        match &self.kind {
            Kind::Number => number(&|_| true),
            Kind::NonNegative => number(&|x| x >= 0.0),
            Kind::Positive => number(&|x| x > 0.0 && x.recip() >= f32::MIN_POSITIVE),
            Kind::Decay => number(&|x| (0.0..1.0).contains(&x)),
            Kind::DecayOrSum => number(&|x| x > 0.0 && x <= 1.0),
            Kind::Whole(range) => {
                let value = text.parse().ok()?;
                range.contains(&value).then_some(Value::Whole(value))
            }
            Kind::Choice(names) => {
                let name = names.iter().find(|name| **name == text)?;
                Some(Value::Choice(name))
            }
        }
    }
}

/// A finite number that is no more than rounded in f32: what f32 would make infinite or 0 is none.
fn held_in_f32(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let narrow = value as f32;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let is_zero = !mantissa.contains(|digit: char| matches!(digit, '1'..='9'));
    let held = narrow.is_finite() && (is_zero || narrow.abs() >= f32::MIN_POSITIVE);
    held.then_some(value)
}

/// The learning rate and the weight decay, which nearly every kernel that descends has.
pub(super) fn descent_settings() -> [Setting; 3] {
    let factor = "a factor of lr that is the tensor's own, as its weight decay then is";
    [
        Setting::non_negative("lr", "0.001", "learning rate"),
        Setting::non_negative("weight-decay", "0", "decoupled weight decay"),
        Setting::non_negative("tensor-lr", "none", factor).or_none(),
    ]
}

/// The number of the step.
pub(super) fn step_setting() -> Setting {
    let meaning = "steps taken, this one included; for bias correction";
    Setting::whole("step", "1", 1..=STEPS, meaning)
}

struct Slot {
    value: Value,
    /// As it was given; `None` for the default.
    given: Option<String>,
    read: Cell<bool>,
}

/// The options of one run. Which of them were read is kept, so that one that was given in vain can be named.
pub(super) struct Settings {
    kernel: &'static str,
    slots: BTreeMap<&'static str, Slot>,
}

impl Settings {
    /// The defaults, replaced by what is set.
    pub fn new(
        kernel: &'static str,
        declared: &[Setting],
        given: &[(String, String)],
    ) -> Result<Self, KernelFileError> {
        let refused = |found: String, expected: String| KernelFileError::Option {
            kernel,
            found,
            expected,
        };
        let value = |setting: &Setting, text: &str| {
            let found = || format!("{}={text}", setting.key);
            let read = setting.read(text);
            read.ok_or_else(|| refused(found(), setting.expected()))
        };
        let mut slots = BTreeMap::new();
        for setting in declared {
            let slot = Slot {
                value: value(setting, setting.default)?,
                given: None,
                read: Cell::new(false),
            };
            slots.insert(setting.key, slot);
        }
        for (key, text) in given {
            let Some(setting) = declared.iter().find(|setting| setting.key == key) else {
                let known: Vec<_> = declared.iter().map(|setting| setting.key).collect();
                let expected = if known.is_empty() {
                    "unknown; the kernel has no options".into()
                } else {
                    format!("unknown; the kernel has {}", known.join(", "))
                };
                return Err(refused(format!("`{key}`"), expected));
            };
            let value = value(setting, text)?;
            let Some(slot) = slots.get_mut(setting.key) else {
                continue;
            };
            if let Some(before) = slot.given.replace(text.clone()) {
                let found = format!("{key}={before} and {key}={text}");
                return Err(refused(found, "expected it once".into()));
            }
            slot.value = value;
        }
        Ok(Self { kernel, slots })
    }

    fn value(&self, key: &'static str) -> Value {
        let slot = &self.slots[key];
        slot.read.set(true);
        slot.value
    }

    /// A number.
    ///
    /// # Panics
    /// If the kernel declares no such number; so do the others.
    pub fn number(&self, key: &'static str) -> f64 {
        self.optional_number(key)
            .unwrap_or_else(|| panic!("{key} is declared as a number"))
    }

    /// A number, or `None`.
    pub fn optional_number(&self, key: &'static str) -> Option<f64> {
        match self.value(key) {
            Value::Number(value) => Some(value),
            Value::Nothing => None,
            Value::Whole(_) | Value::Choice(_) => panic!("{key} is declared as a number"),
        }
    }

    /// A number of a kernel that has it, or `otherwise`.
    pub fn number_or(&self, key: &'static str, otherwise: f64) -> f64 {
        if self.slots.contains_key(key) {
            self.number(key)
        } else {
            otherwise
        }
    }

    pub fn whole(&self, key: &'static str) -> u64 {
        match self.value(key) {
            Value::Whole(value) => value,
            Value::Number(_) | Value::Choice(_) | Value::Nothing => {
                panic!("{key} is declared as a whole number")
            }
        }
    }

    /// A whole number of a kernel that has it, or `otherwise`.
    pub fn whole_or(&self, key: &'static str, otherwise: u64) -> u64 {
        if self.slots.contains_key(key) {
            self.whole(key)
        } else {
            otherwise
        }
    }

    /// What the name that was chosen stands for, in the list that the option was declared with.
    pub fn choice<T: Copy>(&self, key: &'static str, of: &[(&'static str, T)]) -> T {
        let Value::Choice(chosen) = self.value(key) else {
            panic!("{key} is declared as a choice");
        };
        let found = of.iter().find(|(name, _)| *name == chosen);
        found.map_or_else(
            || panic!("{key} is declared with other choices"),
            |(_, value)| *value,
        )
    }

    /// The learning rate and the weight decay.
    pub fn descent(&self) -> Result<Descending, KernelFileError> {
        let (lr, decay) = (self.number("lr"), self.number("weight-decay"));
        let factor = self.optional_number("tensor-lr");
        let own = factor.unwrap_or(1.0) as f32 * lr as f32;
        if !own.is_finite() {
            let expected = format!("expected a number whose product with lr={lr:e} f32 holds");
            let found = format!("tensor-lr={:e}", factor.unwrap_or(1.0));
            return Err(self.refuse(found, expected));
        }
        if (own * decay as f32).is_finite() {
            return Ok(Descending {
                lr,
                weight_decay: decay,
                factor,
            });
        }
        let lr = own;
        let expected = format!("expected a number whose product with lr={lr:e} f32 holds");
        Err(self.refuse(format!("weight-decay={decay:e}"), expected))
    }

    /// An error about options.
    pub fn refuse(&self, found: String, expected: String) -> KernelFileError {
        KernelFileError::Option {
            kernel: self.kernel,
            found,
            expected,
        }
    }

    /// Refuses what was given and not read.
    pub fn require_all_read(&self) -> Result<(), KernelFileError> {
        for (key, slot) in &self.slots {
            if let (Some(text), false) = (&slot.given, slot.read.get()) {
                let expected = "has no effect beside the other options; leave it out";
                return Err(self.refuse(format!("{key}={text}"), expected.into()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            default,
            meaning,
            ..
        } = self;
        write!(f, "--set {key}={default}   {meaning}")?;
        match self.choices() {
            [] => Ok(()),
            names => write!(f, ": {}", names.join(", ")),
        }
    }
}
