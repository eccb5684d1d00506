//! A group as text: `b*:weight-decay=0,lr=0.5`, `[*,30]:optimizer=adam,beta2=0.99`, `w0:frozen`, `w*:chains=rows`.

use std::fmt::Display;
use std::str::FromStr;

use super::{Chains, Group, Pattern};
use crate::{Error, OptimizerConfig};

impl FromStr for Group {
    type Err = Error;

    /// `PATTERN:KEY=VALUE,…` with the keys lr, weight-decay, frozen, chains and optimizer; behind optimizer also its settings.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Group {
            group: text.into(),
            reason,
        };
        let (pattern, settings) = text.rsplit_once(':').ok_or_else(|| {
            refused("expected PATTERN:KEY=VALUE,…, such as b*:weight-decay=0".into())
        })?;
        let pattern = pattern.trim().parse::<Pattern>().map_err(refused)?;
        let mut group = Self::of(pattern);
        for setting in settings.split(',').map(str::trim) {
            let (key, value) = match setting.split_once('=') {
                Some(both) => both,
                None if setting == "frozen" => (setting, "true"),
                None => {
                    return Err(refused(format!(
                        "expected KEY=VALUE or frozen, found `{setting}`"
                    )));
                }
            };
            match (key, &mut group.optimizer) {
                ("lr", _) => group.lr = Some(number(key, value).map_err(refused)?),
                ("weight-decay", _) => {
                    group.weight_decay = Some(number(key, value).map_err(refused)?);
                }
                ("frozen", _) => group.frozen = Some(read(key, value).map_err(refused)?),
                ("chains", _) => group.chains = Some(chains(value).map_err(refused)?),
                ("optimizer", _) => group.optimizer = Some(OptimizerConfig::named(value)?),
                (key, Some(optimizer)) => optimizer.set(key, value)?,
                (key, None) => {
                    return Err(refused(format!(
                        "expected lr, weight-decay, frozen, chains or optimizer, found `{key}`; settings of an optimizer follow its name, as optimizer=adam,beta2=0.99"
                    )));
                }
            }
        }
        Ok(group)
    }
}

fn read<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{key}={value}: {error}"))
}

fn number(key: &str, value: &str) -> Result<f64, String> {
    let number: f64 = read(key, value)?;
    if number >= 0.0 && (number as f32).is_finite() {
        return Ok(number);
    }
    Err(format!(
        "{key}={value}: expected a number ≥ 0 that is finite in f32"
    ))
}

fn chains(value: &str) -> Result<Chains, String> {
    match value {
        "rows" => Ok(Chains::Rows),
        "tensor" => Ok(Chains::Tensor),
        _ => Err(format!("chains={value}: expected rows or tensor")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FirstOrder;

    #[test]
    fn a_group_is_read_as_it_is_built() {
        for (text, group) in [
            (
                "b*:weight-decay=0,lr=0.5",
                Group::named("b*").weight_decay(0.0).lr(0.5),
            ),
            (
                "[*,30]:optimizer=adam,beta2=0.99,lr=10",
                Group::shaped(&[None, Some(30)])
                    .optimizer(FirstOrder::adam().beta2(0.99))
                    .lr(10.0),
            ),
            ("w0:frozen", Group::named("w0").frozen()),
            ("w*:chains=rows", Group::named("w*").chains(Chains::Rows)),
        ] {
            assert_eq!(text.parse(), Ok(group.clone()), "{text}");
            let json = serde_json::to_string(&group).unwrap();
            assert_eq!(serde_json::from_str::<Group>(&json).unwrap(), group);
        }
        for wrong in [
            "b*",
            ":lr=1",
            "b*:",
            "b*:lr",
            "b*:lr=-1",
            "b*:lr=inf",
            "b*:beta2=0.5",
            "b*:chains=columns",
            "b*:frozen=maybe",
            "b*:optimizer=none",
            "b*:optimizer=sgd,beta2=0.5",
            "[3:lr=1",
        ] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
    }
}
