//! Which tensors: by name or by shape. Written `b*`, `[*,30]`, or `=b0` for one name as it stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pattern {
    /// Those whose name fits, `*` standing for any characters and `?` for one.
    Name(String),
    /// The one of this name.
    Exactly(String),
    /// Those whose shape fits, `None` standing for any length.
    Shape(Vec<Option<usize>>),
}

impl Pattern {
    /// Whether a tensor of that name and shape is meant.
    pub fn fits(&self, name: &str, shape: &[usize]) -> bool {
        match self {
            Self::Name(glob) => {
                let (glob, name): (Vec<_>, Vec<_>) =
                    (glob.chars().collect(), name.chars().collect());
                fits(&glob, &name)
            }
            Self::Exactly(own) => own == name,
            Self::Shape(lengths) => {
                let mut both = lengths.iter().zip(shape);
                lengths.len() == shape.len()
                    && both.all(|(own, length)| own.is_none_or(|own| own == *length))
            }
        }
    }
}

/// Whether a name fits: a star is tried with ever more characters only from the last one on, so the time is a product of lengths.
fn fits(glob: &[char], name: &[char]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&own) if own == '?' || own == name[from] => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    at = *behind + 1;
                    from = *taken;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|own| *own == '*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(glob) => f.write_str(glob),
            Self::Exactly(name) => write!(f, "={name}"),
            Self::Shape(lengths) => {
                let each = lengths.iter();
                let each = each.map(|it| it.map_or("*".into(), |length| length.to_string()));
                write!(f, "[{}]", each.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('=') {
            return Ok(Self::Exactly(name.into()));
        }
        let Some(inside) = text.strip_prefix('[') else {
            return match text {
                "" => Err("expected a name such as b* or a shape such as [*,30]".into()),
                glob => Ok(Self::Name(glob.into())),
            };
        };
        let refused = || format!("expected a shape such as [*,30] or [], found {text}");
        let inside = inside.strip_suffix(']').ok_or_else(refused)?.trim();
        if inside.is_empty() {
            return Ok(Self::Shape(Vec::new()));
        }
        let length = |part: &str| match part.trim() {
            "*" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| refused()),
        };
        let lengths = inside.split(',').map(length).collect::<Result<_, _>>()?;
        Ok(Self::Shape(lengths))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_by_stars_and_question_marks_and_shapes_by_their_lengths() {
        for (pattern, fitting, others) in [
            ("b*", &["b", "b0", "bias.b"][..], &["w0", "ab"][..]),
            ("*", &["", "w0"], &[]),
            ("w?", &["w0"], &["w", "w10"]),
            (
                "*.weight*",
                &["a.weight", "a.weights.b"],
                &["weight", "a.bias"],
            ),
            ("a*b*c", &["abc", "axbxbxc"], &["ab", "acb"]),
            ("=b*", &["b*"], &["b0"]),
        ] {
            let read: Pattern = pattern.parse().unwrap();
            assert_eq!(read.to_string(), pattern);
            assert!(
                fitting.iter().all(|name| read.fits(name, &[3])),
                "{pattern}"
            );
            assert!(
                !others.iter().any(|name| read.fits(name, &[3])),
                "{pattern}"
            );
        }
        let shape: Pattern = "[*, 30]".parse().unwrap();
        assert_eq!(shape.to_string(), "[*,30]");
        assert!(shape.fits("w", &[7, 30]) && shape.fits("w", &[0, 30]));
        assert!(!shape.fits("w", &[30]) && !shape.fits("w", &[30, 7]));
        assert!("[]".parse::<Pattern>().unwrap().fits("scale", &[]));
        for wrong in ["", "[", "[3", "[x]", "[3,]", "[-1]"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
