//! Images that stay on the device: a byte a pixel, four to a word, in any order that a batch asks for.

use cubecl::prelude::*;
use cubecl::server::Handle;
use sonew_runtime::Gpu;

use super::{cover, require_rows};
use crate::context::Context;
use crate::error::Error;
use crate::launch::array;
use crate::precision::PrecisionKind;

const OPERATION: &str = "gathering a batch";

#[cube(launch_unchecked)]
fn gather_kernel(
    images: &Array<u32>,
    order: &Array<u32>,
    greys: &Array<f32>,
    to: &mut Array<f32>,
    first: u32,
    pixels: u32,
    stride: u32,
    items: u32,
) {
    let mut item = ABSOLUTE_POS as u32;
    while item < items {
        let (row, column) = (item / pixels, item % pixels);
        let at = order[(first + row) as usize] * pixels + column;
        let byte = (images[(at / 4u32) as usize] >> (at % 4u32 * 8u32)) & 0xffu32;
        to[(row * stride + column) as usize] = greys[byte as usize];
        item += CUBE_COUNT as u32 * CUBE_DIM;
    }
}

/// A set of images on the device.
#[derive(Clone, Debug)]
pub struct PackedImages {
    words: Handle,
    /// pixel / 255 for each of the 256 pixels, as the host rounds it: divisions of devices differ.
    greys: Handle,
    count: usize,
    pixels: usize,
}

/// Images of a set, in an order, on the device.
#[derive(Clone, Debug)]
pub struct ImageOrder {
    indices: Handle,
    count: usize,
    /// As many images does a set have at least of which this is an order.
    images: usize,
}

impl PackedImages {
    /// Uploads images of `pixels` bytes each; a batch gets pixel/255 of them, rounded to the format of the precision's parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the bytes are not whole images, of at most 2³² bytes; [`Error::TooLarge`] for more than a buffer of the
    /// device holds.
    pub fn new(
        context: &Context,
        bytes: &[u8],
        pixels: usize,
        precision: PrecisionKind,
    ) -> Result<Self, Error> {
        if pixels == 0
            || bytes.is_empty()
            || !bytes.len().is_multiple_of(pixels)
            || bytes.len() >> 32 != 0
        {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "images",
                found: format!("{} bytes", bytes.len()),
                expected: format!("at least one image of {pixels} pixels, and at most 2³² bytes"),
            });
        }
        let words = bytes.len().div_ceil(4);
        context.require_buffer(OPERATION, "images", 4 * words as u64)?;
        let mut greys: Vec<f32> = (0..256).map(|pixel| pixel as f32 / 255.0).collect();
        precision.round_all(&mut greys);
        let words = match bytes.len() % 4 {
            0 => context.upload(bytes),
            _ => {
                let mut padded = bytes.to_vec();
                padded.resize(4 * words, 0);
                context.upload(&padded)
            }
        };
        Ok(Self {
            words,
            greys: context.upload(&greys),
            count: bytes.len() / pixels,
            pixels,
        })
    }

    /// Images there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Requires images of so many pixels.
    pub(super) fn require_pixels(&self, pixels: usize) -> Result<(), Error> {
        if self.pixels == pixels {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            argument: "images",
            found: format!("{} pixels", self.pixels),
            expected: format!("{pixels}"),
        })
    }

    /// Uploads an order of them.
    ///
    /// # Errors
    /// [`Error::Shape`] for no index, or one that no image has.
    pub fn order(&self, context: &Context, indices: &[u32]) -> Result<ImageOrder, Error> {
        let wrong = indices.iter().find(|&&index| index as usize >= self.count);
        if wrong.is_some() || indices.is_empty() {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "order",
                found: wrong.map_or("none".into(), |index| format!("image {index}")),
                expected: format!("at least one image, all below {}", self.count),
            });
        }
        context.require_buffer(OPERATION, "order", 4 * indices.len() as u64)?;
        Ok(ImageOrder {
            indices: context.upload(indices),
            count: indices.len(),
            images: indices.iter().max().map_or(0, |&last| last as usize + 1),
        })
    }

    /// Writes the images `first` to `first + rows` of an order to `to`, `stride` values from one to the next.
    ///
    /// # Errors
    /// [`Error::Shape`] if the order has fewer, or is that of a larger set, or for more values than kernels can index;
    /// [`Error::Length`] if `to` is too short; launch errors as [`Context::launch`].
    pub(super) fn gather(
        &self,
        context: &Context,
        order: &ImageOrder,
        first: usize,
        rows: usize,
        to: &Handle,
        stride: usize,
    ) -> Result<(), Error> {
        let past_end = first.checked_add(rows).is_none_or(|end| end > order.count);
        if past_end || order.images > self.count {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "batch",
                found: format!(
                    "{rows} of {} images, up to the {}-th",
                    order.count, order.images
                ),
                expected: format!("images from {first} on, of a set of {}", self.count),
            });
        }
        require_rows(OPERATION, to, [rows, self.pixels], stride)?;
        let items = rows * self.pixels;
        let grid = cover(context, items, 4);
        context.launch(OPERATION, (), grid, move |client, cubes, units| {
            let values = |buffer: &Handle| (buffer.size_in_used() / 4) as usize;
            // SAFETY: every index of the order is that of an image; the order has the rows, and `to` room for them: checked above.
            unsafe {
                gather_kernel::launch_unchecked::<Gpu>(
                    client,
                    cubes,
                    units,
                    array(&self.words, values(&self.words)),
                    array(&order.indices, order.count),
                    array(&self.greys, 256),
                    array(to, values(to)),
                    first as u32,
                    self.pixels as u32,
                    stride as u32,
                    items as u32,
                );
            }
        })
    }
}
