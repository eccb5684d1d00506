//! A model of a multiprocessor's first cache: lines of 128 bytes in sets, each line filled by sectors of 32 bytes, the line
//! that was used least recently given up.

/// Bytes of a line.
const LINE: u64 = 128;
/// Sectors of a line.
const SECTORS: u64 = 4;
/// Lines of a set.
const WAYS: usize = 8;

/// A cache of sectors.
pub struct Cache {
    /// For each set its lines, the most recently used last.
    sets: Vec<Vec<Line>>,
}

struct Line {
    buffer: u32,
    number: u64,
    /// A bit for each sector that is there.
    filled: u8,
}

impl Cache {
    /// An empty cache of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let sets = (bytes / (WAYS * LINE as usize)).max(1);
        Self {
            sets: std::iter::repeat_with(Vec::new).take(sets).collect(),
        }
    }

    /// Whether a buffer's sector is there; it is from now on.
    pub fn has(&mut self, buffer: u32, sector: u64) -> bool {
        let number = sector / SECTORS;
        let bit = 1u8 << (sector % SECTORS);
        // Buffers begin anywhere; a hash keeps the same lines of several from one set.
        let hash = (number ^ (u64::from(buffer) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = ((hash >> 32) % self.sets.len() as u64) as usize;
        let set = &mut self.sets[at];
        let found = set
            .iter()
            .position(|line| (line.buffer, line.number) == (buffer, number));
        let mut line = match found {
            Some(at) => set.remove(at),
            None => {
                if set.len() == WAYS {
                    set.remove(0);
                }
                Line {
                    buffer,
                    number,
                    filled: 0,
                }
            }
        };
        let had = line.filled & bit != 0;
        line.filled |= bit;
        set.push(line);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_stays_until_more_than_the_cache_holds_was_read() {
        let mut cache = Cache::new(1 << 14);
        assert!(!cache.has(0, 7));
        assert!(cache.has(0, 7));
        // The same line, another sector; and another buffer.
        assert!(!cache.has(0, 6));
        assert!(!cache.has(1, 7));
        assert!(cache.has(0, 7));
        for sector in 0..1 << 12 {
            cache.has(2, sector);
        }
        assert!(!cache.has(0, 7));
    }
}
