//! The MNIST autoencoder: images, first weights, and the network.

pub mod images;
pub mod network;
pub mod weights;
