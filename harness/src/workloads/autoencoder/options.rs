//! What can be asked of the autoencoder.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde_json::{Map, Value};

use super::Autoencoder;
use super::images::{Images, embedded};
use super::weights::AUTOENCODER_SIZES;
use crate::train::TrainError;
use crate::workloads::{Options, Workload};

/// Its images and its layers.
#[derive(Debug, Clone, Args)]
pub struct AutoencoderOptions {
    /// Images in the IDX format, raw, .gz or .zst, instead of the embedded MNIST training set.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Use only the first N images.
    #[arg(long, value_name = "N")]
    pub train_images: Option<usize>,
    /// Units of each layer, comma-separated; the middle one is the code.
    // In the help after --batch.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_values_t = AUTOENCODER_SIZES, display_order = 9)]
    pub sizes: Vec<usize>,
}

impl Options for AutoencoderOptions {
    fn settings(&self) -> Map<String, Value> {
        [("sizes".to_owned(), self.sizes.clone().into())]
            .into_iter()
            .collect()
    }

    fn open(&self) -> Result<Box<dyn Workload>, TrainError> {
        let images = match &self.data {
            Some(path) => Images::open(path)?,
            None => embedded::train_images()?,
        };
        let images = match self.train_images {
            Some(count) => images.first(count)?,
            None => images,
        };
        Ok(Box::new(Autoencoder::new(images, self.sizes.clone())?))
    }
}
