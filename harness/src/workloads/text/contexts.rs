//! Contexts: some characters of a text that follow each other, and the one behind them, which is to be foretold.

use crate::workloads::layers::NetworkError;

/// A text as codes, and every context in it. Context i begins at character i.
pub struct Contexts {
    /// The characters that there are; the code of one is its place.
    alphabet: Vec<u8>,
    codes: Vec<u32>,
    length: usize,
}

/// Contexts and what follows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// The codes of each context, one after the other.
    pub codes: Vec<u32>,
    /// The code behind each context.
    pub next: Vec<u32>,
}

impl Contexts {
    /// The contexts of `length` characters in the first `characters` of a text, of whose characters all have a code.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] if there is none.
    pub fn new(text: &[u8], characters: usize, length: usize) -> Result<Self, NetworkError> {
        if length == 0 || length >= characters || characters > text.len() {
            return Err(NetworkError::Shape {
                argument: "the context (--text-context)",
                found: format!("{length} of {characters} characters (--text-characters)"),
                expected: format!(
                    "at least one, and fewer than are used of the {} characters of the text",
                    text.len()
                ),
            });
        }
        let mut alphabet = text.to_vec();
        alphabet.sort_unstable();
        alphabet.dedup();
        let mut code_of = [0; 256];
        for (code, &character) in (0..).zip(&alphabet) {
            code_of[usize::from(character)] = code;
        }
        let code = |&character: &u8| code_of[usize::from(character)];
        Ok(Self {
            codes: text[..characters].iter().map(code).collect(),
            alphabet,
            length,
        })
    }

    /// Contexts there are.
    pub fn count(&self) -> usize {
        self.codes.len() - self.length
    }

    /// Characters of a context.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The characters that have a code, each at its code.
    pub fn alphabet(&self) -> &[u8] {
        &self.alphabet
    }

    /// The contexts with these numbers.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for a number that no context has.
    pub fn gather(&self, numbers: &[u32]) -> Result<Gathered, NetworkError> {
        let mut gathered = Gathered {
            codes: Vec::with_capacity(numbers.len() * self.length),
            next: Vec::with_capacity(numbers.len()),
        };
        for &number in numbers {
            let first = number as usize;
            let found = self.codes.get(first..=first + self.length);
            let Some([context @ .., next]) = found else {
                return Err(NetworkError::Shape {
                    argument: "an order of contexts",
                    found: format!("context {number}"),
                    expected: format!("contexts below {}", self.count()),
                });
            };
            gathered.codes.extend_from_slice(context);
            gathered.next.push(*next);
        }
        Ok(gathered)
    }

    /// All contexts.
    ///
    /// # Errors
    /// None, as there are all of them.
    pub fn all(&self) -> Result<Gathered, NetworkError> {
        let numbers: Vec<u32> = (0..self.count() as u32).collect();
        self.gather(&numbers)
    }
}

/// Refuses a batch that an order of so many contexts does not have.
pub(super) fn require_batch(
    contexts: usize,
    first: usize,
    batch: usize,
) -> Result<(), NetworkError> {
    if first.saturating_add(batch) <= contexts {
        return Ok(());
    }
    Err(no_batch(contexts, first, batch))
}

/// An order of so many contexts has no such batch.
pub(super) fn no_batch(contexts: usize, first: usize, batch: usize) -> NetworkError {
    NetworkError::Shape {
        argument: "the order of a batch",
        found: format!("{contexts} contexts"),
        expected: format!("at least {}", first.saturating_add(batch)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_followed_by_the_character_behind_it() {
        let contexts = Contexts::new(b"hello, hello", 8, 3).unwrap();
        assert_eq!(contexts.alphabet(), b" ,ehlo");
        assert_eq!(contexts.count(), 5);
        let found = contexts.gather(&[4, 0]).unwrap();
        assert_eq!(found.codes, [5, 1, 0, 3, 2, 4]);
        assert_eq!(found.next, [3, 4]);
        assert!(contexts.gather(&[5]).is_err());
        assert_eq!(contexts.all().unwrap().next, [4, 5, 1, 0, 3]);
    }

    #[test]
    fn contexts_that_a_text_does_not_have_are_refused() {
        for (characters, length) in [(5, 0), (5, 5), (6, 2), (0, 0)] {
            let found = Contexts::new(b"hello", characters, length);
            let error = found.err().map(|error| error.to_string());
            assert!(error.is_some_and(|it| it.contains("--text-context")));
        }
    }
}
