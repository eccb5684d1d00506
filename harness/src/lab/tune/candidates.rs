//! The blueprints that are tried.

use sonew_kernels::arena::BLOCK;
use sonew_kernels::catalogue::Kernel;
use sonew_kernels::context::{Profile, Units};
use sonew_kernels::launch::Sweep;
use sonew_kernels::precision::{Precision, Storage};
use sonew_kernels::sonew::Blueprint;

/// Blueprints of a kernel to try on a device, the default first and those like it before others, as time may not reach all.
///
/// The default; the products of some widths, columns of a run and units of a cube, in words of one value and of two where the
/// kernel has both; teams of some sizes where it has those; and for a band the default with the elimination as a loop if it was
/// unrolled. Bands above 5 are tried with the default's width alone, as wider vectors take long to compile.
pub fn candidates<P: Precision>(
    kernel: Kernel,
    profile: Profile,
    band: usize,
    default: Blueprint,
) -> Vec<Blueprint> {
    let word = P::Params::PER_WORD.max(P::State::PER_WORD);
    let eliminates = kernel.eliminates;
    let widths = match (kernel.name, eliminates, band) {
        // It reads a word at a time.
        ("precondition", ..) => vec![word],
        (_, true, 6..) => vec![default.sweep.width],
        // Eight columns of a wide band take long to compile.
        (_, true, 2..=5) => vec![4],
        (_, true, 0..=1) | (_, false, _) => vec![4, 8],
    };
    let has_twins =
        kernel.twins && <<P::Twin as Precision>::State as Storage>::PER_WORD > P::State::PER_WORD;
    let words: &[bool] = match profile.units {
        Units::Few if has_twins => &[false, true],
        _ => &[false],
    };
    let columns: &[usize] = match profile.units {
        Units::Few => &[16, 32, 64, 128, BLOCK],
        Units::Many => &[4, 8, 16, 32, 64, 128],
    };
    let (units, cubes): (&[u32], u32) = match profile.units {
        Units::Few => (&[32, 64, 128], default.sweep.cubes),
        Units::Many => (&[64, 128, 256], default.sweep.cubes),
    };
    let mut walks = Vec::new();
    for &width in &widths {
        for &twins in words.iter().filter(|&&twins| !twins || width > 1) {
            for &columns in columns.iter().filter(|&&columns| columns >= width) {
                for &units in units {
                    let sweep = Sweep {
                        width,
                        run: columns / width,
                        units,
                        cubes,
                        twins,
                        team: false,
                    };
                    let unroll = default.unroll;
                    walks.push(Blueprint { sweep, unroll });
                }
            }
        }
    }
    walks.sort_by_key(|it| unlike(it.sweep, default.sweep));
    let mut all = vec![default];
    if kernel.teams && profile.units == Units::Many {
        let sizes = [64, 128, 256].into_iter();
        all.extend(
            sizes.flat_map(|own| {
                [4, 8].map(|width| Blueprint::team(width, own, band, default.unroll))
            }),
        );
    }
    if eliminates && band > 0 && default.unroll {
        all.push(Blueprint {
            unroll: false,
            ..default
        });
    }
    all.extend(walks);
    let mut distinct: Vec<Blueprint> = Vec::new();
    for blueprint in all {
        if !distinct.contains(&blueprint) {
            distinct.push(blueprint);
        }
    }
    distinct
}

/// How many doublings lie between two sweeps, in all they are made of.
fn unlike(a: Sweep, b: Sweep) -> u32 {
    let between = |a: usize, b: usize| a.ilog2().abs_diff(b.ilog2());
    between(a.width, b.width)
        + between(a.run * a.width, b.run * b.width)
        + between(a.units as usize, b.units as usize)
        + u32::from(a.twins != b.twins)
}

#[cfg(test)]
mod tests {
    use sonew_kernels::precision::{Bf16, F32};

    use super::*;

    #[test]
    fn candidates_are_distinct_begin_with_the_default_and_keep_whole_words() {
        for profile in [Profile::LLVMPIPE, Profile::GPU] {
            for band in [0, 1, 4, 10] {
                let default = Blueprint::infer::<Bf16>(profile, band);
                let all = candidates::<Bf16>(
                    Kernel::named("sonew-step").unwrap(),
                    profile,
                    band,
                    default,
                );
                assert_eq!(all[0], default);
                assert!(all.len() > 5);
                let teams = all.iter().any(|it| it.sweep.team);
                assert_eq!(teams, profile.units == Units::Many);
                let walks: Vec<u32> = all[1..]
                    .iter()
                    .filter(|it| !it.sweep.team && it.unroll == default.unroll)
                    .map(|it| unlike(it.sweep, default.sweep))
                    .collect();
                assert!(walks.is_sorted(), "{walks:?}");
                for (i, a) in all.iter().enumerate() {
                    assert!(a.sweep.width.is_multiple_of(2), "{a:?}");
                    assert!(a.sweep.is_whole(), "{a:?}");
                    assert!(!all[..i].contains(a), "{a:?} twice");
                }
            }
        }
        let default = Blueprint::infer::<F32>(Profile::LLVMPIPE, 0);
        let all = candidates::<F32>(
            Kernel::named("adam").unwrap(),
            Profile::LLVMPIPE,
            0,
            default,
        );
        assert!(all.iter().any(|it| it.sweep.width == 8 && it.sweep.twins));
        assert!(all.iter().any(|it| !it.sweep.twins));
        let default = Blueprint::infer::<F32>(Profile::GPU, 1);
        let all = candidates::<F32>(
            Kernel::named("sonew-step").unwrap(),
            Profile::GPU,
            1,
            default,
        );
        assert!(all.iter().all(|it| !it.sweep.twins));
    }
}
