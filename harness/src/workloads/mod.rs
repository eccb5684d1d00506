//! What is trained.

pub mod autoencoder;
