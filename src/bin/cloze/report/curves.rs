//! Curves over the steps of a training, as SVG.
//!
//! Every colour is one of [`Ink`]'s; style.css finds them by their hex code and changes them where the page is dark.

use cloze::error::{Error, Result};
use plotters::prelude::*;

/// Points of a curve beyond which it is drawn by the least and the largest value of stretches of steps.
const MOST_POINTS: usize = 1200;
/// Width and height of the drawing; the page shows it at about half of that, because places are whole numbers.
const SIZE: (u32, u32) = (1520, 560);
/// Height of the text along the axes.
const LETTERS: i32 = 26;

/// Colours by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text along the axes.
    Text,
    /// Lines between the ticks.
    Grid,
    /// Values as they are, behind others.
    Pale,
    /// What training did.
    Train,
    /// What evaluations found.
    Dev,
}

impl Ink {
    fn color(self) -> RGBColor {
        match self {
            Ink::Text => RGBColor(0x5B, 0x67, 0x75),
            Ink::Grid => RGBColor(0xDD, 0xE3, 0xEA),
            Ink::Pale => RGBColor(0xB4, 0xC8, 0xE8),
            Ink::Train => RGBColor(0x1F, 0x5F, 0xBF),
            Ink::Dev => RGBColor(0xC8, 0x55, 0x1B),
        }
    }
}

/// A line through points (step, value).
pub struct Curve {
    pub name: String,
    pub ink: Ink,
    /// Whether each point has a dot.
    pub dotted: bool,
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// The running mean of `points`: each value counts for 1/`span`, what came before for the rest.
    pub fn smooth(name: String, points: &[(f64, f64)], span: usize) -> Self {
        let keep = 1.0 - 1.0 / span as f64;
        let (mut sum, mut weight) = (0.0, 0.0);
        let mean = |&(step, value): &(f64, f64)| {
            if value.is_finite() {
                (sum, weight) = (keep * sum + value, keep * weight + 1.0);
            }
            (step, sum / weight)
        };
        Self { name, ink: Ink::Train, dotted: false, points: points.iter().map(mean).collect() }
    }

    /// Points that can be drawn, few enough to draw.
    fn drawn(&self) -> Vec<(f64, f64)> {
        let finite: Vec<(f64, f64)> = self.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
        if finite.len() <= MOST_POINTS {
            return finite;
        }
        let stretch = finite.len().div_ceil(MOST_POINTS / 2);
        let ends = |stretch: &[(f64, f64)]| {
            let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let (low, high) = (stretch.iter().min_by(by_value), stretch.iter().max_by(by_value));
            let mut ends: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            ends
        };
        finite.chunks(stretch).flat_map(ends).collect()
    }
}

/// The SVG of `curves` from step 0 to step `last`, those behind first; `None` where there is nothing to see.
pub fn draw(curves: &[Curve], last: f64) -> Result<Option<String>> {
    let drawn: Vec<Vec<(f64, f64)>> = curves.iter().map(Curve::drawn).collect();
    let Some(values) = frame(drawn.iter().flatten().map(|(_, value)| *value)) else { return Ok(None) };
    let mut svg = String::new();
    paint(&mut svg, curves, &drawn, 0.0..1.01 * last.max(1.0), values)
        .map_err(|error| Error::internal(format!("drawing: {error}")))?;
    Ok(Some(svg))
}

type Range = std::ops::Range<f64>;

/// What the axis of values spans: all of them and a little more.
fn frame(values: impl Iterator<Item = f64>) -> Option<Range> {
    let mut ends: Option<(f64, f64)> = None;
    for value in values {
        let (low, high) = ends.unwrap_or((value, value));
        ends = Some((low.min(value), high.max(value)));
    }
    let (low, high) = ends?;
    let more = if high > low { 0.06 * (high - low) } else { (0.1 * high.abs()).max(0.5) };
    Some((if low >= 0.0 { (low - more).max(0.0) } else { low - more })..high + more)
}

fn paint(
    svg: &mut String,
    curves: &[Curve],
    drawn: &[Vec<(f64, f64)>],
    x: Range,
    y: Range,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let span = y.end - y.start;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_right(28)
        .x_label_area_size(48)
        .y_label_area_size(124)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .axis_style(Ink::Grid.color().stroke_width(2))
        .bold_line_style(Ink::Grid.color().stroke_width(2))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", LETTERS, &Ink::Text.color()))
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|step| whole(*step))
        .y_label_formatter(&|value| tick(*value, span))
        .draw()?;
    for (curve, points) in curves.iter().zip(drawn) {
        let color = curve.ink.color();
        let width = if curve.ink == Ink::Pale { 2 } else { 4 };
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(width)))?;
        if curve.dotted {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 7, color.filled())))?;
        }
    }
    area.present()?;
    Ok(())
}

/// A step; nothing between two.
fn whole(step: f64) -> String {
    if (step - step.round()).abs() < 1e-6 { format!("{step:.0}") } else { String::new() }
}

/// A value with the digits that tell ticks apart on an axis that spans `span`.
fn tick(value: f64, span: f64) -> String {
    if span < 2e-3 {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") };
    }
    let digits = -(span / 6.0).log10().floor();
    format!("{value:.*}", digits.clamp(0.0, 6.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: Vec<(f64, f64)>) -> Curve {
        Curve { name: "loss".to_owned(), ink: Ink::Pale, dotted: false, points }
    }

    /// The inks as the SVG spells them.
    fn inks() -> Vec<String> {
        let hex = |ink: Ink| {
            let RGBColor(red, green, blue) = ink.color();
            format!("#{red:02X}{green:02X}{blue:02X}")
        };
        [Ink::Text, Ink::Grid, Ink::Pale, Ink::Train, Ink::Dev].map(hex).to_vec()
    }

    #[test]
    fn the_style_knows_every_ink() {
        for ink in inks() {
            assert!(include_str!("style.css").contains(&format!("=\"{ink}\"]")), "{ink}");
        }
    }

    #[test]
    fn nothing_to_see_is_not_drawn() {
        assert!(draw(&[], 1.0).unwrap().is_none());
        assert!(draw(&[curve(vec![(1.0, f64::NAN), (2.0, f64::INFINITY)])], 2.0).unwrap().is_none());
        for points in [vec![(1.0, 0.5)], vec![(1.0, 0.0), (2.0, 0.0)], vec![(1.0, -3.0), (2.0, 1e30)]] {
            assert!(draw(&[curve(points)], 2.0).unwrap().is_some());
        }
    }

    #[test]
    fn colours_are_those_of_the_inks() {
        let mut line = curve(vec![(1.0, 0.5), (2.0, 0.25), (3.0, f64::NAN), (4.0, 0.75)]);
        line.dotted = true;
        let svg = draw(&[line], 4.0).unwrap().unwrap();
        let inks = inks();
        for (at, _) in svg.match_indices("\"#") {
            let hex = &svg[at + 1..at + 8];
            assert!(inks.iter().any(|ink| ink == hex) || svg[at..].contains("opacity=\"0\""), "{hex}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn long_curves_keep_their_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (f64::from(step), 1.0)).collect();
        points[54_321].1 = 9.0;
        points[12_345].1 = -9.0;
        let drawn = curve(points).drawn();
        assert!(drawn.len() <= MOST_POINTS && drawn.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(drawn.contains(&(54_321.0, 9.0)) && drawn.contains(&(12_345.0, -9.0)));
    }

    #[test]
    fn the_running_mean_follows_and_is_not_pulled_to_zero_at_the_start() {
        let constant: Vec<(f64, f64)> = (0..50).map(|step| (f64::from(step), 2.0)).collect();
        assert!(
            Curve::smooth(String::new(), &constant, 10).points.iter().all(|(_, value)| (value - 2.0).abs() < 1e-12)
        );
        let jump = [(1.0, 0.0), (2.0, f64::NAN), (3.0, 3.0)];
        let smooth = Curve::smooth(String::new(), &jump, 2).points;
        assert_eq!(smooth, [(1.0, 0.0), (2.0, 0.0), (3.0, 2.0)]); // (½·0 + 3) / (½ + 1)
    }

    #[test]
    fn ticks_are_short() {
        let found = [tick(0.2, 1.0), tick(0.25, 0.3), tick(3.5e-5, 1e-4), tick(0.0, 1e-4), tick(12.0, 40.0)];
        assert_eq!(found, ["0.2", "0.25", "3.5e-5", "0", "12"]);
        assert_eq!((whole(12.0), whole(1.5)), ("12".to_owned(), String::new()));
    }
}
