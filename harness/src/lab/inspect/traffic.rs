//! What a launch moves through the memory of a GPU, counted from every access that its units make.
//!
//! The units of a plane access memory together. A read asks the multiprocessor's L1 for sectors of 32 bytes, and those that it
//! lacks travel. A write goes through: a sector that is written whole travels once, one that is written in part also has to be
//! read.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sonew_runtime::recorder::host::{Access, SHARED};

use super::cache::Cache;

/// Bytes that travel together.
pub const SECTOR: u64 = 32;

/// The accesses of one place in a kernel's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The line of the text, from 1.
    pub line: u32,
    /// The buffer, by its place among the parameters.
    pub buffer: u32,
    /// Whether it writes.
    pub store: bool,
    /// Accesses of planes.
    pub requests: u64,
    /// Bytes that units asked for, each once a request.
    pub bytes: u64,
    /// Sectors that held them.
    pub sectors: u64,
    /// The least sectors that could have held them.
    pub least_sectors: u64,
    /// Bytes that travelled.
    pub moved: u64,
}

/// What a launch moved, in planes of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Units of a plane.
    pub plane: u32,
    /// Where memory is accessed, in the order of the text.
    pub sites: Vec<Site>,
    /// Bytes that travelled.
    pub moved: u64,
    /// Accesses to shared memory by planes, each as many passes as words of different rows meet in a bank.
    pub shared_passes: u64,
    /// The passes without such conflicts.
    pub shared_least: u64,
}

/// An access that units of a plane make together.
struct Request {
    line: u32,
    place: u32,
    store: bool,
    bytes: u64,
    starts: Vec<u64>,
}

/// The requests of a plane, in their order.
fn requests(accesses: &[Access], plane: u32) -> Vec<Vec<Request>> {
    // An access belongs to the plane's request of the same line that comes as often in its unit.
    let mut rounds: HashMap<(u32, u32), u32> = HashMap::new();
    let mut known: HashMap<(u32, u32, u32), usize> = HashMap::new();
    let mut planes: Vec<Vec<Request>> = Vec::new();
    for access in accesses.iter().filter(|access| access.line > 0) {
        let at = access.unit / plane;
        let round = rounds.entry((access.unit, access.line)).or_default();
        *round += 1;
        if planes.len() <= at as usize {
            planes.resize_with(at as usize + 1, Vec::new);
        }
        let requests = &mut planes[at as usize];
        let number = *known.entry((at, access.line, *round)).or_insert_with(|| {
            requests.push(Request {
                line: access.line,
                place: access.place,
                store: access.store == 1,
                bytes: access.bytes,
                starts: Vec::new(),
            });
            requests.len() - 1
        });
        requests[number].starts.push(access.at);
    }
    planes
}

impl Request {
    /// The sectors that it touches, each with the bytes that it uses of it.
    fn sectors(&self) -> Vec<(u64, u64)> {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        starts.dedup();
        let mut sectors: Vec<(u64, u64)> = Vec::new();
        for start in starts {
            let end = start + self.bytes;
            for sector in start / SECTOR..=(end - 1) / SECTOR {
                let from = start.max(sector * SECTOR);
                let used = end.min((sector + 1) * SECTOR) - from;
                match sectors.last_mut() {
                    Some((last, bytes)) if *last == sector => *bytes += used,
                    _ => sectors.push((sector, used)),
                }
            }
        }
        sectors
    }

    /// Passes through the 32 banks of shared memory, a word of 4 bytes wide, and the least: a pass serves 128 bytes at most.
    fn passes(&self) -> (u64, u64) {
        let together = (128 / self.bytes.max(4)).max(1) as usize;
        let mut found = (0, 0);
        for part in self.starts.chunks(together) {
            let mut rows: [Vec<u64>; 32] = Default::default();
            for start in part {
                for word in start / 4..(start + self.bytes).div_ceil(4) {
                    let bank = &mut rows[(word % 32) as usize];
                    if !bank.contains(&word) {
                        bank.push(word);
                    }
                }
            }
            found.0 += rows.iter().map(Vec::len).max().unwrap_or(0) as u64;
            found.1 += 1;
        }
        found
    }
}

impl Traffic {
    /// Of a launch whose `cubes` did these accesses, `resident` of them at a time on a multiprocessor whose L1 has
    /// `cache_bytes`. Which those are is up to the device: here cubes that are far apart.
    pub fn count(cubes: &[Vec<Access>], plane: u32, resident: usize, cache_bytes: usize) -> Self {
        let mut traffic = Self {
            plane,
            sites: Vec::new(),
            moved: 0,
            shared_passes: 0,
            shared_least: 0,
        };
        let mut sites: HashMap<(u32, bool), Site> = HashMap::new();
        let waves = cubes.len().div_ceil(resident.max(1)).max(1);
        for wave in 0..waves {
            let mut cache = Cache::new(cache_bytes);
            let together = cubes.iter().skip(wave).step_by(waves);
            let planes: Vec<Vec<Request>> = together
                .flat_map(|accesses| requests(accesses, plane))
                .collect();
            // The planes take turns.
            let longest = planes.iter().map(Vec::len).max().unwrap_or(0);
            for turn in 0..longest {
                for request in planes.iter().filter_map(|plane| plane.get(turn)) {
                    traffic.add(request, &mut sites, &mut cache);
                }
            }
        }
        traffic.sites = sites.into_values().collect();
        traffic.sites.sort_by_key(|site| (site.line, site.store));
        traffic.moved = traffic.sites.iter().map(|site| site.moved).sum();
        traffic
    }

    fn add(
        &mut self,
        request: &Request,
        sites: &mut HashMap<(u32, bool), Site>,
        cache: &mut Cache,
    ) {
        if request.place == SHARED {
            let (passes, least) = request.passes();
            self.shared_passes += passes;
            self.shared_least += least;
            return;
        }
        let key = (request.line, request.store);
        let site = sites.entry(key).or_insert_with(|| Site {
            line: request.line,
            buffer: request.place,
            store: request.store,
            requests: 0,
            bytes: 0,
            sectors: 0,
            least_sectors: 0,
            moved: 0,
        });
        let sectors = request.sectors();
        let used: u64 = sectors.iter().map(|(_, used)| used).sum();
        site.requests += 1;
        site.bytes += used;
        site.sectors += sectors.len() as u64;
        site.least_sectors += used.div_ceil(SECTOR);
        for (sector, used) in sectors {
            site.moved += match (request.store, used == SECTOR) {
                (true, true) => SECTOR,
                (true, false) => 2 * SECTOR,
                (false, _) if cache.has(request.place, sector) => 0,
                (false, _) => SECTOR,
            };
        }
    }
}

/// How many bytes a unit asks for before it first has to wait: reads that follow each other without a write or a barrier between
/// them can all be on their way at once, for arithmetic can be moved behind them and no read over a write that might be to the
/// same place. The mean over all such sequences of all units.
pub fn bytes_ahead(cubes: &[Vec<Access>]) -> f64 {
    let (mut bytes, mut sequences) = (0u64, 0u64);
    for accesses in cubes {
        let mut reading: HashMap<u32, bool> = HashMap::new();
        for access in accesses
            .iter()
            .filter(|it| it.place != SHARED || it.line == 0)
        {
            let reading = reading.entry(access.unit).or_default();
            let reads = access.line > 0 && access.store == 0;
            if reads {
                bytes += access.bytes;
                sequences += u64::from(!*reading);
            }
            *reading = reads;
        }
    }
    if sequences == 0 {
        return 0.0;
    }
    bytes as f64 / sequences as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cube of 64 units, each of which reads 16 bytes at `at` of it, and then writes them.
    fn cube(at: impl Fn(u64) -> u64) -> Vec<Access> {
        let access = |unit, store| Access {
            unit,
            line: 1 + store,
            place: 0,
            store,
            at: at(u64::from(unit)),
            bytes: 16,
        };
        (0..64)
            .flat_map(|unit| [access(unit, 0), access(unit, 1)])
            .collect()
    }

    #[test]
    fn neighbours_that_access_neighbouring_words_move_each_byte_once() {
        for plane in [32, 64] {
            let traffic = Traffic::count(&[cube(|unit| 16 * unit)], plane, 8, 1 << 17);
            assert_eq!(traffic.moved, 2 * 64 * 16);
            assert_eq!(traffic.sites.len(), 2);
            for site in &traffic.sites {
                assert_eq!(site.sectors, site.least_sectors);
                assert_eq!(site.requests, u64::from(64 / plane));
            }
        }
    }

    #[test]
    fn neighbours_that_access_words_far_apart_move_sectors_that_are_half_used() {
        let traffic = Traffic::count(&[cube(|unit| 512 * unit)], 32, 8, 1 << 17);
        // A sector for each read, and two for each write of half of one.
        assert_eq!(traffic.moved, 64 * (32 + 64));
        assert_eq!(traffic.sites[0].sectors, 2 * traffic.sites[0].least_sectors);
    }

    #[test]
    fn what_the_cache_still_has_does_not_travel_again() {
        let cubes = [cube(|unit| 16 * unit), cube(|unit| 16 * unit)];
        let together = Traffic::count(&cubes, 32, 2, 1 << 17);
        assert_eq!(together.sites[0].moved, 64 * 16);
        let apart = Traffic::count(&cubes, 32, 1, 1 << 17);
        assert_eq!(apart.sites[0].moved, 2 * 64 * 16);
    }

    #[test]
    fn words_of_one_bank_are_passed_one_after_the_other() {
        let request = |stride: u64, bytes: u64| Request {
            line: 1,
            place: SHARED,
            store: false,
            bytes,
            starts: (0..32).map(|unit| unit * stride).collect(),
        };
        assert_eq!(request(4, 4).passes(), (1, 1));
        assert_eq!(request(0, 4).passes(), (1, 1));
        assert_eq!(request(128, 4).passes(), (32, 1));
        assert_eq!(request(16, 16).passes(), (4, 4));
        assert_eq!(request(32, 16).passes(), (8, 4));
    }

    #[test]
    fn bytes_ahead_are_those_of_reads_that_no_write_parts() {
        assert_eq!(bytes_ahead(&[cube(|unit| 16 * unit)]), 16.0);
        let mut twice = cube(|unit| 16 * unit);
        twice.retain(|access| access.store == 0);
        twice.extend(twice.clone());
        assert_eq!(bytes_ahead(&[twice]), 32.0);
        assert_eq!(bytes_ahead(&[]), 0.0);
    }
}
