//! Sums of products with more digits than f32 has, from f32 operations alone.
//!
//! A factor is split by its bits into a part of 12 digits and the rest, so that every product of parts is exact; the
//! products of the leading parts are added with the rounding error of each sum (Knuth's two-sum), everything smaller is
//! added beside it. The result is as if summed with some 36 digits.
//!
//! Two-sum depends on each operation being rounded on its own, but shader compilers simplify (a + b) − a to b. So the
//! intermediate results pass through [`opaque`], whose `zero` no compiler knows to be 0. Contracting a product and a sum into
//! one operation does no harm, for the products are exact.

use cubecl::prelude::*;

/// The bits of the leading part: sign, exponent, and 11 of 23 stored digits.
const LEADING: u32 = 0xffff_f000;

/// x, if `zero` is 0; nothing else is known of the result when the kernel is compiled.
#[cube]
pub(crate) fn opaque(x: f32, zero: u32) -> f32 {
    f32::reinterpret(u32::reinterpret(x) ^ zero)
}

/// The leading digits of x; x less these is exact.
#[cube]
pub(crate) fn leading(x: f32) -> f32 {
    f32::reinterpret(u32::reinterpret(x) & comptime!(LEADING))
}

/// The rounding error of `total` = a + b, a sum that has passed through [`opaque`].
#[cube]
pub(crate) fn lost_in_sum(a: f32, b: f32, total: f32, zero: u32) -> f32 {
    let from_b = opaque(total - a, zero);
    let from_a = opaque(total - from_b, zero);
    (a - from_a) + (b - from_b)
}
