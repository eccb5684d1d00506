//! Images where a network wants them, and orders of them.

use std::ops::Range;

use sonew_kernels::context::Context;
use sonew_kernels::network::{ImageOrder, PackedImages};
use sonew_kernels::precision::PrecisionKind;

use super::NetworkError;
use crate::workloads::autoencoder::images::Images;

/// A set of images, made by [`Network::image_set`](super::Network::image_set).
pub struct ImageSet<'a> {
    pub(super) images: &'a Images,
    /// On the device route, with the order of the set itself.
    pub(super) on_device: Option<(PackedImages, ImageOrder)>,
}

/// An order of images, made by [`Network::order`](super::Network::order).
pub struct Order {
    indices: Vec<u32>,
    pub(super) on_device: Option<ImageOrder>,
}

impl<'a> ImageSet<'a> {
    pub(super) fn in_host_memory(images: &'a Images) -> Self {
        Self {
            images,
            on_device: None,
        }
    }

    /// Uploads the images.
    pub(super) fn on_device(
        context: &Context,
        images: &'a Images,
        precision: PrecisionKind,
    ) -> Result<Self, NetworkError> {
        let pixels = images.pixels_per_image();
        let packed = PackedImages::new(context, &images.pixels, pixels, precision)?;
        let all: Vec<u32> = (0..images.count as u32).collect();
        let order = packed.order(context, &all)?;
        Ok(Self {
            images,
            on_device: Some((packed, order)),
        })
    }

    /// An order of these images, uploaded where they are.
    pub(super) fn order(
        &self,
        context: &Context,
        indices: Vec<u32>,
    ) -> Result<Order, NetworkError> {
        let on_device = match &self.on_device {
            None => None,
            Some((packed, _)) => Some(packed.order(context, &indices)?),
        };
        Ok(Order { indices, on_device })
    }
}

impl Order {
    /// Which images stand in these places.
    pub(super) fn images(&self, places: Range<usize>) -> Result<&[u32], NetworkError> {
        let end = places.end;
        self.indices.get(places).ok_or_else(|| NetworkError::Shape {
            argument: "the order of a batch",
            found: format!("{} images", self.indices.len()),
            expected: format!("at least {end}"),
        })
    }
}

/// Refuses what is no batch of images.
pub(super) fn check_images(
    images: &[f32],
    batch: usize,
    pixels: usize,
) -> Result<(), NetworkError> {
    if images.len() == batch * pixels {
        return Ok(());
    }
    Err(NetworkError::Shape {
        argument: "images",
        found: format!("{} values", images.len()),
        expected: format!("{batch} images of {pixels} pixels"),
    })
}
