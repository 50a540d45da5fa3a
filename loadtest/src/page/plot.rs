//! Lines over axes, as SVG. Colours and fonts are the style sheet's.
//!
//! Invariant: every coordinate that is written is a number within the drawing, whatever was measured.

use std::fmt::Write;

use super::text::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 48.0;

/// About so many marks stand on a linear axis.
const MARKS: f64 = 5.0;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to a round number.
    Linear { max: f64, step: f64 },
    /// Between two powers of ten, or their halves and fifths.
    Log { min: f64, max: f64 },
}

impl Scale {
    /// From 0 to at least `max`.
    pub(super) fn linear(max: f64) -> Scale {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let rough = max / MARKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|round| round * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        Scale::Linear { max: (max / step).ceil() * step, step }
    }

    /// Around both, logarithmic.
    pub(super) fn log(min: f64, max: f64) -> Scale {
        let min = if min.is_finite() && min > 0.0 { min } else { 1.0 };
        let max = if max.is_finite() && max > min { max } else { min };
        let min = round_marks(min).rev().find(|mark| *mark <= min * 1.000_001).unwrap_or(min);
        let max = round_marks(max).find(|mark| *mark >= max * 0.999_999).unwrap_or(max);
        Scale::Log { min, max: if max > min { max } else { min * 10.0 } }
    }

    /// Logarithmic where one end is many times the other.
    pub(super) fn fitting(min: f64, max: f64) -> Scale {
        if min > 0.0 && max / min > 30.0 { Scale::log(min, max) } else { Scale::linear(max) }
    }

    /// Where a value lies, 0 to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { max, .. } => value / max,
            Scale::Log { min, max } => (value.max(min) / min).ln() / (max / min).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The values that are marked.
    pub(super) fn marks(self) -> Vec<f64> {
        match self {
            Scale::Linear { max, step } => (0..=(max / step).round() as u32).map(|index| f64::from(index) * step).collect(),
            Scale::Log { min, max } => {
                let decades = (max / min).log10();
                let first = min.log10().floor() as i32;
                let last = max.log10().ceil() as i32;
                let rounds: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let marks = (first..=last).flat_map(|power| rounds.iter().map(move |round| round * 10_f64.powi(power)));
                marks.filter(|mark| *mark >= min * 0.999_999 && *mark <= max * 1.000_001).collect()
            }
        }
    }
}

/// 1, 2 and 5 times the powers of ten around a number.
fn round_marks(around: f64) -> impl DoubleEndedIterator<Item = f64> {
    let power = around.log10().floor() as i32;
    (power - 1..=power + 1).flat_map(|power| [1.0, 2.0, 5.0].map(|round| round * 10_f64.powi(power)))
}

/// An axis.
pub(super) struct Axis<'a> {
    pub(super) scale: Scale,
    /// What it shows, with the unit.
    pub(super) title: &'a str,
    /// A mark as text.
    pub(super) text: fn(f64) -> String,
}

/// A line.
pub(super) struct Line {
    /// What it is, told when it is pointed at.
    pub(super) name: String,
    /// Of the style sheet.
    pub(super) colour: String,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws lines over two axes.
pub(super) fn draw(x: &Axis<'_>, y: &Axis<'_>, lines: &[Line]) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(y.title));
    draw_axes(&mut svg, x, y);
    for line in lines {
        draw_line(&mut svg, x.scale, y.scale, line);
    }
    if lines.iter().all(|line| line.points.is_empty()) {
        let (middle, height) = (f64::midpoint(LEFT, WIDTH - RIGHT), f64::midpoint(TOP, HEIGHT - BOTTOM));
        let _ = writeln!(svg, "<text class=\"nothing\" x=\"{middle:.1}\" y=\"{height:.1}\">nothing was measured</text>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_axes(svg: &mut String, x: &Axis<'_>, y: &Axis<'_>) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for mark in y.scale.marks() {
        let at = down(y.scale.place(mark));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT:.1} {at:.1}H{right:.1}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"mark end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 7.0,
            at + 4.0,
            escape(&(y.text)(mark))
        );
    }
    for mark in x.scale.marks() {
        let at = across(x.scale.place(mark));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP:.1}V{bottom:.1}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"mark middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 17.0,
            escape(&(x.text)(mark))
        );
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT:.1} {TOP:.1}V{bottom:.1}H{right:.1}\"/>");
    let (middle, height) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
    let _ = writeln!(svg, "<text class=\"title middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>", HEIGHT - 9.0, escape(x.title));
    let _ = writeln!(
        svg,
        "<text class=\"title middle\" transform=\"translate(13 {height:.1}) rotate(-90)\">{}</text>",
        escape(y.title)
    );
}

fn draw_line(svg: &mut String, x: Scale, y: Scale, line: &Line) {
    let class = format!("line {}{}", line.colour, if line.dashed { " dashed" } else { "" });
    let points: Vec<_> = line.points.iter().map(|(along, up)| (across(x.place(*along)), down(y.place(*up)))).collect();
    let Some(((first_x, first_y), rest)) = points.split_first() else { return };
    let mut path = format!("M{first_x:.1} {first_y:.1}");
    for (along, height) in rest {
        let _ = write!(path, "L{along:.1} {height:.1}");
    }
    if rest.is_empty() {
        // A point alone has no length; a round cap makes it a dot.
        path.push_str("h0");
    }
    let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"><title>{}</title></path>", escape(&line.name));
}

fn across(place: f64) -> f64 {
    LEFT + place * (WIDTH - RIGHT - LEFT)
}

fn down(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_on_round_numbers() {
        assert_eq!(Scale::linear(4657.0), Scale::Linear { max: 5000.0, step: 1000.0 });
        assert_eq!(Scale::linear(0.97).marks().len(), 6);
        assert_eq!(Scale::linear(0.0), Scale::linear(1.0));
        assert_eq!(Scale::linear(f64::NAN), Scale::linear(1.0));
        assert_eq!(Scale::linear(f64::INFINITY), Scale::linear(1.0));
    }

    #[test]
    fn logarithmic_axes_hold_what_they_show() {
        for (min, max) in [(1.0, 1.0), (1.0, 1e7), (0.3, 4.0), (182.0, 4657.0), (20.0, 500.0), (0.0, 3.0), (5.0, f64::INFINITY)] {
            let scale = Scale::log(min, max);
            let Scale::Log { min: low, max: high } = scale else { panic!("{scale:?}") };
            assert!(low > 0.0 && low < high && (min <= 0.0 || low <= min * 1.0001), "{min} {max}: {scale:?}");
            assert!(!max.is_finite() || high >= max * 0.999, "{min} {max}: {scale:?}");
            let marks = scale.marks();
            assert!((2..=12).contains(&marks.len()), "{min} {max}: {marks:?}");
            assert!(marks.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(Scale::log(1.0, 100.0).place(10.0), 0.5);
        assert_eq!(Scale::log(1.0, 100.0).place(0.0), 0.0);
    }

    #[test]
    fn coordinates_stay_in_the_drawing_whatever_was_measured() {
        let points = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300].map(|wild| (wild, wild)).to_vec();
        let axis = |scale| Axis { scale, title: "t", text: super::super::text::short };
        for scale in [Scale::linear(1.0), Scale::log(1.0, 10.0)] {
            let line = Line { name: String::from("wild"), colour: String::from("c0"), dashed: false, points: points.clone() };
            let svg = draw(&axis(scale), &axis(scale), &[line]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let path = svg.split("class=\"line").nth(1).and_then(|rest| rest.split('"').nth(2)).expect("a line has a path");
            for pair in path.split(['M', 'L']).filter(|pair| !pair.is_empty()) {
                let (along, height) = pair.split_once(' ').expect("two coordinates");
                let (along, height): (f64, f64) = (along.parse().unwrap(), height.parse().unwrap());
                assert!((LEFT..=WIDTH).contains(&along) && (0.0..=HEIGHT).contains(&height), "{pair}");
            }
        }
        assert!(draw(&axis(Scale::linear(1.0)), &axis(Scale::linear(1.0)), &[]).contains("nothing was measured"));
    }
}
