//! Training curves as SVG and PNG, drawn here so that a run needs no other program to be looked at.

mod axis;
mod draw;
mod polyline;
mod ticked_axis;

use std::fs;
use std::path::{Path, PathBuf};

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;

pub use axis::Scale;

use crate::replace_file::replace_file;

/// One named curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// (epoch, loss) in order. Losses that are not finite are left out of the line and counted below the plot.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve of the losses after epochs 0, 1, 2, ….
    pub fn of_losses(name: impl Into<String>, losses: &[f64]) -> Self {
        let points = losses
            .iter()
            .enumerate()
            .map(|(epoch, &loss)| (epoch as f64, loss))
            .collect();
        Self {
            name: name.into(),
            points,
        }
    }
}

/// Training loss against epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct LossPlot {
    /// Written above the plot.
    pub caption: String,
    /// What the loss is measured in, written along its axis.
    pub loss_unit: String,
    /// The curves. Colours follow this order, the legend follows the final losses.
    pub curves: Vec<Curve>,
    /// How the loss axis is divided. In runs of twelve or more epochs the axis leaves out the much higher losses of
    /// the first epochs and of diverging runs; a note below the plot then says so.
    pub scale: Scale,
}

/// Why a plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("drawing {}: {reason}", path.display())]
pub struct PlotError {
    /// The picture.
    pub path: PathBuf,
    /// What the drawing library or the operating system said.
    pub reason: String,
}

impl LossPlot {
    /// Draws `loss.svg` and `loss.png` into a folder, replacing those that are there; the second even if the first cannot be
    /// drawn.
    ///
    /// # Errors
    /// [`PlotError`] of the first picture that cannot be drawn or written.
    pub fn write_to_folder(&self, folder: impl AsRef<Path>) -> Result<(), PlotError> {
        let svg = self.write_svg(folder.as_ref().join("loss.svg"));
        svg.and(self.write_png(folder.as_ref().join("loss.png")))
    }

    /// Draws an SVG picture.
    ///
    /// # Errors
    /// [`PlotError`] if it cannot be drawn or written.
    pub fn write_svg(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        let failed = |reason: String| PlotError {
            path: path.as_ref().into(),
            reason,
        };
        let layout = draw::Layout::of(self).map_err(failed)?;
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, layout.size()).into_drawing_area();
        layout
            .draw(&area)
            .map_err(|error| failed(error.to_string()))?;
        drop(area);
        replace_file(path.as_ref(), text.as_bytes()).map_err(|error| failed(error.to_string()))
    }

    /// Draws a PNG picture.
    ///
    /// # Errors
    /// [`PlotError`] if it cannot be drawn or written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        let failed = |reason: String| PlotError {
            path: path.as_ref().into(),
            reason,
        };
        let layout = draw::Layout::of(self).map_err(failed)?;
        // Drawn beside its place: the library writes to a file only, and would leave half a picture on a full disk.
        let drawn = path
            .as_ref()
            .with_extension(format!("{}.png", std::process::id()));
        let area = BitMapBackend::new(&drawn, layout.size()).into_drawing_area();
        let picture = layout.draw(&area).map_err(|error| error.to_string());
        // It tries to write once more where that failed.
        drop(area);
        let written = picture
            .and_then(|()| fs::read(&drawn).map_err(|error| error.to_string()))
            .and_then(|bytes| {
                replace_file(path.as_ref(), &bytes).map_err(|error| error.to_string())
            });
        let _ = fs::remove_file(&drawn);
        written.map_err(failed)
    }
}
