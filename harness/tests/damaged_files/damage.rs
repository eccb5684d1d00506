//! What may happen to the bytes of a file, drawn from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers that a careless reader computes with.
const NUMBERS: [&str; 10] = [
    "0",
    "1",
    "-1",
    "2.5",
    "255",
    "2147483648",
    "4294967295",
    "4611686018427387904",
    "18446744073709551615",
    "18446744073709551616",
];

pub struct Damage(ChaCha8Rng);

impl Damage {
    pub fn of_case(case: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(case))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    /// Damages bytes once to three times.
    pub fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            self.once(bytes);
        }
    }

    fn once(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(24)).min(bytes.len());
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                let more: Vec<u8> = (0..self.below(24)).map(|_| self.below(256) as u8).collect();
                bytes.splice(at..at, more);
            }
            4 => drop(bytes.drain(at..end)),
            // What is there comes a second time, perhaps elsewhere.
            5 => {
                let again = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, again);
            }
            6 => self.number_in_binary(bytes),
            _ => self.number_in_text(bytes),
        }
    }

    /// Puts a word of a few bits where a length may be.
    fn number_in_binary(&mut self, bytes: &mut [u8]) {
        let number = (1_u64 << self.below(64)).wrapping_sub(self.below(2) as u64);
        let word = match self.below(3) {
            0 => number.to_le_bytes().to_vec(),
            1 => (number as u32).to_be_bytes().to_vec(),
            _ => (number as u32).to_le_bytes().to_vec(),
        };
        let at = 4 * self.below(6);
        if let Some(place) = bytes.get_mut(at..at + word.len()) {
            place.copy_from_slice(&word);
        }
    }

    /// Puts another number in place of a decimal one.
    fn number_in_text(&mut self, bytes: &mut Vec<u8>) {
        let start = self.below(bytes.len() + 1);
        let Some(at) = bytes[start..].iter().position(u8::is_ascii_digit) else {
            return;
        };
        let at = start + at;
        let digits = bytes[at..].iter().take_while(|it| it.is_ascii_digit());
        let end = at + digits.count();
        let number = NUMBERS[self.below(NUMBERS.len())];
        bytes.splice(at..end, number.bytes());
    }
}
