//! Settings by their keys: read from strings, listed, and checked.

use serde_json::{Map, Value};

use super::{Declared, Family, Setting};
use crate::Error;

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
