//! What a kernel writes at full size, held to what it writes on a window of the same values alone, on which it is proven: both ends
//! of the tensor, seams of tiles in between, and where indices or bytes outgrow what some integer holds.

use sonew_kernels::arena::{BLOCK, GAP};
use sonew_optimizers::{Arena, Context, PrecisionKind};

use super::BenchError;
use super::kernels::{Subject, Timer};
use super::stopwatch::Work;

/// Values of a window: more than the tile of any default.
const WINDOW: usize = 1 << 12;

/// Columns that a value depends on, at most, on either side: ψ of the b before it, whose marks look 2 b ahead.
const MARGIN: usize = 3 * GAP;

/// Byte and value counts that some integer cannot hold, in values of 2 and 4 bytes.
const EDGES: [usize; 4] = [1 << 29, 1 << 30, 1 << 31, 1 << 32];

/// Where a window lies in its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first value, at the begin of a block.
    pub at: usize,
    /// Its values.
    pub values: usize,
    /// Whether the tensor ends with it.
    last: bool,
}

impl Place {
    /// The windows of a tensor of so many values.
    fn all(values: usize) -> Vec<Self> {
        let last = (values - WINDOW) / BLOCK * BLOCK;
        let mut starts = vec![0, values / 3 / BLOCK * BLOCK];
        starts.extend(EDGES.map(|edge| edge - WINDOW / 2));
        starts.retain(|at| *at < last);
        starts.push(last);
        let of = |at: usize| Self {
            at,
            values: if at == last { values - last } else { WINDOW },
            last: at == last,
        };
        starts.into_iter().map(of).collect()
    }

    /// The values of the window that nothing outside of it matters to.
    fn inside(self) -> std::ops::Range<usize> {
        let start = if self.at == 0 { 0 } else { MARGIN };
        let end = if self.last {
            self.values
        } else {
            self.values - MARGIN
        };
        start..end
    }
}

/// What a launch wrote there.
pub(super) struct Seen {
    kernel: String,
    case: String,
    /// Bytes of a value, and those of the window, of each arena.
    outputs: Vec<(usize, Vec<u8>)>,
}

impl Seen {
    fn read(
        context: &Context,
        subject: &Subject,
        outputs: &[Arena],
        (at, values): (usize, usize),
    ) -> Result<Self, BenchError> {
        let window = |output: &Arena| {
            let bytes = output.format().bytes();
            let start = (BLOCK + at) * bytes;
            // Whole words; what lies behind the tensor is 0.
            let length = values.next_multiple_of(BLOCK) * bytes;
            let behind = output.bytes() - start - length;
            let part = output.handle().clone();
            let part = part.offset_start(start as u64).offset_end(behind as u64);
            Ok((bytes, context.download("bench", &part)?))
        };
        let outputs: Result<_, BenchError> = outputs.iter().map(window).collect();
        Ok(Self {
            kernel: subject.kernel.clone(),
            case: subject.case.clone(),
            outputs: outputs?,
        })
    }

    /// The arena, counted from 1, and the index in the window of the first value among `columns` whose bits differ.
    fn differs(&self, other: &Self, columns: std::ops::Range<usize>) -> Option<(usize, usize)> {
        let both = self.outputs.iter().zip(&other.outputs);
        both.enumerate().find_map(|(output, ((bytes, a), (_, b)))| {
            let of = |all: &[u8], i: usize| all[i * bytes..(i + 1) * bytes].to_vec();
            let mut columns = columns.clone();
            let at = columns.find(|&i| of(a, i) != of(b, i))?;
            Some((output + 1, at))
        })
    }
}

/// Looks at the windows of what is launched first, then times it.
pub(super) struct Windows<'a> {
    timer: &'a mut dyn Timer,
    seen: Vec<(Place, Vec<Seen>)>,
}

impl<'a> Windows<'a> {
    /// Of a tensor of so many values.
    pub fn of(values: usize, timer: &'a mut dyn Timer) -> Self {
        let places = Place::all(values).into_iter();
        Self {
            timer,
            seen: places.map(|place| (place, Vec::new())).collect(),
        }
    }

    /// For each window what was seen there.
    pub fn seen(self) -> Vec<(Place, Vec<Seen>)> {
        self.seen
    }
}

impl Timer for Windows<'_> {
    fn time(&mut self, subject: Subject, mut work: Work<'_>) -> Result<(), BenchError> {
        if !work.outputs.is_empty() {
            work.run(1)?;
            for (place, seen) in &mut self.seen {
                let window = (place.at, place.values);
                seen.push(Seen::read(work.context, &subject, &work.outputs, window)?);
            }
        }
        self.timer.time(subject, work)
    }
}

/// Launches on a window alone, and compares.
pub(super) struct Alone {
    place: Place,
    seen: Vec<Seen>,
    precision: PrecisionKind,
}

impl Alone {
    pub fn new(place: Place, seen: Vec<Seen>, precision: PrecisionKind) -> Self {
        Self {
            place,
            seen,
            precision,
        }
    }
}

impl Timer for Alone {
    fn time(&mut self, subject: Subject, mut work: Work<'_>) -> Result<(), BenchError> {
        if work.outputs.is_empty() {
            return Ok(());
        }
        work.run(1)?;
        let window = (0, self.place.values);
        let alone = Seen::read(work.context, &subject, &work.outputs, window)?;
        let same = |it: &&Seen| (&it.kernel, &it.case) == (&alone.kernel, &alone.case);
        let Some(there) = self.seen.iter().find(same) else {
            // The time of the request was up before it, so that it was not measured.
            return Ok(());
        };
        match there.differs(&alone, self.place.inside()) {
            None => Ok(()),
            Some((output, at)) => Err(BenchError::Window {
                kernel: alone.kernel,
                case: alone.case,
                precision: self.precision.name(),
                output,
                at: self.place.at + at,
                window: self.place.values,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_at_both_ends_and_where_integers_end() {
        let starts = |values| Place::all(values).into_iter().map(|it| it.at);
        let last = (1 << 24) - WINDOW;
        assert_eq!(starts(1 << 24).collect::<Vec<_>>(), [0, 5_592_320, last]);
        for edge in [1usize << 29, 1 << 30, 1 << 31] {
            assert!(starts(3 << 30).any(|it| (it..it + WINDOW).contains(&edge)));
        }
        assert!(starts(3 << 30).all(|it| it.is_multiple_of(BLOCK)));
        // A tensor that ends within a block ends with its window.
        let last = *Place::all(100_003).last().unwrap();
        assert_eq!(last.at + last.values, 100_003);
        assert!(last.at.is_multiple_of(BLOCK) && last.values >= WINDOW);
    }

    #[test]
    fn one_bit_in_a_window_is_found_and_one_outside_of_what_it_decides_is_not() {
        let seen = |changed: Option<usize>| {
            let mut values = vec![0u8; 4 * WINDOW];
            if let Some(at) = changed {
                values[4 * at + 2] ^= 1;
            }
            Seen {
                kernel: "sonew-step".into(),
                case: "band 1".into(),
                outputs: vec![(4, vec![0; 4 * WINDOW]), (4, values)],
            }
        };
        let place = |at, last| Place {
            at,
            values: WINDOW,
            last,
        };
        let middle = place(BLOCK, false).inside();
        let differs = |at, columns| seen(Some(at)).differs(&seen(None), columns);
        assert_eq!(differs(MARGIN, middle.clone()), Some((2, MARGIN)));
        assert_eq!(differs(MARGIN - 1, middle.clone()), None);
        assert_eq!(differs(0, place(0, false).inside()), Some((2, 0)));
        let end = place(BLOCK, true).inside();
        assert_eq!(differs(WINDOW - 1, end), Some((2, WINDOW - 1)));
        assert_eq!(seen(None).differs(&seen(None), middle), None);
    }
}
