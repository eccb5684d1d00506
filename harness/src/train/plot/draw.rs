//! Where things stand in the picture, and drawing them.

use std::sync::OnceLock;

use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use plotters::style::register_font;

use super::axis::{self, Scale, Shown};
use super::polyline::pieces_below;
use super::ticked_axis::TickedAxis;
use super::{Curve, LossPlot};

/// A subset of `DejaVu` Sans; its licence lies beside it.
const FONT: &[u8] = include_bytes!("../../../assets/DejaVuSans-subset.ttf");
const FONT_NAME: &str = "sans-serif";

const PLOT_WIDTH: i32 = 760;
const PLOT_HEIGHT: i32 = 500;
const EDGE: i32 = 16;
const CAPTION_HEIGHT: i32 = 34;
const LINE_HEIGHT: i32 = 24;
const NOTE_HEIGHT: i32 = 18;
/// Line and marker before a name in the legend.
const SWATCH: i32 = 40;

const CAPTION_SIZE: f64 = 19.0;
const TEXT_SIZE: f64 = 15.0;
const NOTE_SIZE: f64 = 12.0;

/// Okabe and Ito's colours, told apart by colour-blind readers; their yellow, too pale for lines on white, is left out.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const PALE: RGBColor = RGBColor(225, 225, 225);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Up to this many points, each has its marker; longer curves have about eight.
const MARKED_WHOLE: usize = 15;

/// Everything about a plot that is settled before drawing.
pub(super) struct Layout<'a> {
    plot: &'a LossPlot,
    scale: Scale,
    epochs: Shown,
    losses: Shown,
    legend: Vec<LegendEntry>,
    legend_width: i32,
    caption_size: f64,
    notes: Vec<String>,
}

struct LegendEntry {
    curve: usize,
    text: String,
}

impl<'a> Layout<'a> {
    pub(super) fn of(plot: &'a LossPlot) -> Result<Self, String> {
        register_font_once()?;
        let finite: Vec<Vec<(f64, f64)>> = plot.curves.iter().map(finite_points).collect();
        let positive = finite.iter().flatten().all(|point| point.1 > 0.0);
        let scale = if positive { plot.scale } else { Scale::Linear };
        let losses = axis::losses_to_show(&finite, scale);
        let legend = legend(&plot.curves, &finite);
        let widest = legend
            .iter()
            .map(|entry| text_width(&entry.text, TEXT_SIZE))
            .max()
            .unwrap_or(0);
        let legend_width = SWATCH + widest + EDGE;
        let room = f64::from(PLOT_WIDTH + legend_width - 2 * EDGE);
        let caption_width = f64::from(text_width(&plot.caption, CAPTION_SIZE).max(1));
        let notes = notes(&plot.curves, &finite, losses);
        Ok(Self {
            plot,
            scale,
            epochs: axis::epochs_to_show(&finite),
            losses,
            legend,
            legend_width,
            // A long caption gets smaller letters before it is cut off.
            caption_size: CAPTION_SIZE * (room / caption_width).clamp(0.6, 1.0),
            notes,
        })
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        let legend_height = LINE_HEIGHT * self.legend.len() as i32 + 2 * EDGE;
        let height = CAPTION_HEIGHT + PLOT_HEIGHT.max(legend_height) + self.notes_height() + EDGE;
        ((PLOT_WIDTH + self.legend_width) as u32, height as u32)
    }

    fn notes_height(&self) -> i32 {
        NOTE_HEIGHT * self.notes.len() as i32
    }

    pub(super) fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        area.draw_text(
            &self.plot.caption,
            &text_style(self.caption_size, INK),
            (EDGE, EDGE / 2 + 2),
        )?;
        let (_, height) = self.size();
        let below = height as i32 - self.notes_height() - EDGE / 2;
        for (index, note) in self.notes.iter().enumerate() {
            let place = (EDGE, below + NOTE_HEIGHT * index as i32);
            area.draw_text(note, &text_style(NOTE_SIZE, GREY), place)?;
        }
        let (_, rest) = area.split_vertically(CAPTION_HEIGHT);
        let (middle, _) = rest.split_vertically(below - CAPTION_HEIGHT);
        let (chart, legend) = middle.split_horizontally(PLOT_WIDTH);
        self.draw_chart(&chart)?;
        self.draw_legend(&legend)?;
        area.present()
    }

    fn draw_chart<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let (scale, unit) = (self.scale, &self.plot.loss_unit);
        let (bottom, top) = (
            scale.position(self.losses.low),
            scale.position(self.losses.high),
        );
        let loss_ticks: Vec<f64> = axis::ticks(self.losses, scale)
            .into_iter()
            .map(|value| scale.position(value))
            .collect();
        let epoch_ticks = axis::even_ticks(self.epochs.low, self.epochs.high, 1.0);
        let mut chart = ChartBuilder::on(area)
            .margin_top(4)
            .margin_right(EDGE)
            .margin_left(8)
            .x_label_area_size(46)
            .y_label_area_size(66)
            .build_cartesian_2d(
                TickedAxis {
                    low: self.epochs.low,
                    high: self.epochs.high,
                    ticks: epoch_ticks,
                },
                TickedAxis {
                    low: bottom,
                    high: top,
                    ticks: loss_ticks,
                },
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(PALE)
            .axis_style(INK)
            .label_style(text_style(13.0, INK))
            .axis_desc_style(text_style(TEXT_SIZE, INK))
            .x_desc("epoch")
            .y_desc(match scale {
                Scale::Log => format!("training loss, {unit} (log scale)"),
                Scale::Linear => format!("training loss, {unit}"),
            })
            .x_label_formatter(&|epoch| axis::tick_label(*epoch))
            .y_label_formatter(&|position| axis::tick_label(scale.value(*position)))
            .draw()?;
        for (index, curve) in self.plot.curves.iter().enumerate() {
            let placed: Vec<(f64, f64)> = curve
                .points
                .iter()
                .map(|&(epoch, loss)| (epoch, scale.position(loss)))
                .collect();
            for piece in pieces_below(&placed, top) {
                chart.draw_series(LineSeries::new(piece, colour(index).stroke_width(2)))?;
            }
            let every = if placed.len() <= MARKED_WHOLE {
                1
            } else {
                placed.len().div_ceil(8)
            };
            // Long curves are marked at different epochs, so that markers of close curves do not hide one another.
            let first = index * 3 % every;
            let marked = placed.iter().skip(first).step_by(every).copied();
            let visible = marked.filter(|point| point.1.is_finite() && point.1 <= top);
            for point in visible {
                draw_marker(chart.plotting_area(), index, point)?;
            }
        }
        Ok(())
    }

    fn draw_legend<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        for (row, entry) in self.legend.iter().enumerate() {
            let middle = EDGE + LINE_HEIGHT * row as i32;
            let line = vec![(0, middle), (SWATCH - 10, middle)];
            area.draw(&PathElement::new(line, colour(entry.curve).stroke_width(2)))?;
            draw_marker(area, entry.curve, ((SWATCH - 10) / 2, middle))?;
            area.draw_text(
                &entry.text,
                &text_style(TEXT_SIZE, INK),
                (SWATCH, middle - 8),
            )?;
        }
        Ok(())
    }
}

/// Losses past this (no 32-bit float gets there) count as infinite: the axis arithmetic would overflow.
const INFINITE: f64 = 1e200;

fn finite_points(curve: &Curve) -> Vec<(f64, f64)> {
    curve
        .points
        .iter()
        .copied()
        .filter(|point| point.0.is_finite() && point.1.abs() < INFINITE)
        .collect()
}

/// Name and last loss of every curve, from the highest to the lowest as the lines end in the picture.
fn legend(curves: &[Curve], finite: &[Vec<(f64, f64)>]) -> Vec<LegendEntry> {
    let mut order: Vec<usize> = (0..curves.len()).collect();
    let end = |index: usize| finite[index].last().map_or(f64::INFINITY, |point| point.1);
    order.sort_by(|&a, &b| end(b).total_cmp(&end(a)));
    let entry = |curve: usize| {
        let name = &curves[curve].name;
        let text = match curves[curve].points.last() {
            Some(point) if point.1.abs() < INFINITE => format!("{name}, {:.2}", point.1),
            Some(_) => format!("{name}, diverged"),
            None => format!("{name}, no epoch yet"),
        };
        LegendEntry { curve, text }
    };
    order.into_iter().map(entry).collect()
}

fn notes(curves: &[Curve], finite: &[Vec<(f64, f64)>], losses: Shown) -> Vec<String> {
    let mut notes = Vec::new();
    let hidden = finite
        .iter()
        .flatten()
        .filter(|point| point.1 > losses.high)
        .count();
    if hidden > 0 {
        notes.push(format!(
            "Not shown: {} above {:.1}.",
            counted(hidden, "loss", "losses"),
            losses.high
        ));
    }
    for (curve, finite) in curves.iter().zip(finite) {
        let dropped = curve.points.len() - finite.len();
        if dropped > 0 {
            let what = counted(
                dropped,
                "loss that is not a finite number",
                "losses that are not finite numbers",
            );
            notes.push(format!("Left out of {}: {what}.", curve.name));
        }
    }
    if finite.iter().all(Vec::is_empty) {
        notes.push("There is no loss to show.".into());
    }
    notes
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn colour(curve: usize) -> RGBColor {
    COLOURS[curve % COLOURS.len()]
}

/// One of four. As 4 and 7 share no factor, 28 curves have no two of the same colour and shape.
fn shape(curve: usize) -> usize {
    curve % 4
}

fn draw_marker<B: DrawingBackend, C: CoordTranslate>(
    area: &DrawingArea<B, C>,
    curve: usize,
    place: C::From,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>>
where
    C::From: Clone,
{
    let style = colour(curve).filled();
    let at = EmptyElement::at(place);
    match shape(curve) {
        0 => area.draw(&(at + Circle::new((0, 0), 4, style))),
        1 => area.draw(&(at + Rectangle::new([(-4, -4), (4, 4)], style))),
        2 => area.draw(&(at + TriangleMarker::new((0, 0), 6, style))),
        _ => area.draw(&(at + Polygon::new([(0, -6), (6, 0), (0, 6), (-6, 0)], style))),
    }
}

fn text_style(size: f64, colour: RGBColor) -> TextStyle<'static> {
    (FONT_NAME, size).into_font().color(&colour)
}

/// In pixels, in the PNG's letters; a viewer of the SVG may have others, so a little is added.
fn text_width(text: &str, size: f64) -> i32 {
    let width = (FONT_NAME, size)
        .into_font()
        .box_size(text)
        .map_or(0, |size| size.0 as i32);
    width + width / 20
}

fn register_font_once() -> Result<(), String> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    match REGISTERED.get_or_init(|| register_font(FONT_NAME, FontStyle::Normal, FONT).is_ok()) {
        true => Ok(()),
        false => Err("the built-in font cannot be read".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_eight_curves_are_told_apart_by_colour_and_shape() {
        let look = |curve| (colour(curve), shape(curve));
        for one in 0..28 {
            assert!((0..one).all(|other| look(one) != look(other)), "{one}");
        }
    }
}
