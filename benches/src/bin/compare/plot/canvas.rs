//! A sheet of paper: text, lines and boxes in pixels, the colours, and what every picture has: title, legend, footer.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Every picture is as wide as a README's column.
pub(super) const WIDTH: i32 = 880;

/// The margin at all sides.
pub(super) const MARGIN: i32 = 24;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const FAINT: RGBColor = RGBColor(0x5c, 0x5c, 0x5c);
pub(super) const GRID: RGBColor = RGBColor(0xdc, 0xdc, 0xdc);

/// Sizes of letters in pixels.
pub(super) const TITLE: f64 = 19.0;
pub(super) const TEXT: f64 = 13.0;
pub(super) const SMALL: f64 = 11.5;

/// plotters' SVG backend writes a size divided by this.
const BACKEND_FACTOR: f64 = 1.24;

/// The mean width of a letter beside its height. A guess, on the wide side of the sans-serif fonts in use.
const LETTER: f64 = 0.56;

/// A contestant's colour: the palette of Okabe and Ito, which people with any kind of colour vision can tell apart. egret's
/// is the same in every picture; the bare epoll loop, a limit and no runtime, is grey.
pub(super) fn colour(who: &str) -> RGBColor {
    match who {
        "egret" => RGBColor(0xd5, 0x5e, 0x00),
        "tokio" => RGBColor(0x00, 0x72, 0xb2),
        "smol" => RGBColor(0x00, 0x9e, 0x73),
        "monoio" => RGBColor(0xcc, 0x79, 0xa7),
        "epoll" => RGBColor(0x80, 0x80, 0x80),
        who if who.starts_with("egret") => RGBColor(0xe6, 0x9f, 0x00),
        _ => RGBColor(0x56, 0xb4, 0xe9),
    }
}

/// About how many pixels a text is wide.
pub(super) fn width(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * LETTER).ceil() as i32
}

/// `text` in lines that fit between the margins. A word that is too long for a line gets one of its own.
fn wrap(text: &str, size: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line from the beginning");
        if line.is_empty() {
            line.push_str(word);
        } else if width(line, size) + width(word, size) + width(" ", size) <= WIDTH - 2 * MARGIN {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}

/// What stands around a drawing.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) legend: Vec<String>,
    /// Small print below everything; what is too long for a line goes on in the next.
    pub(super) footer: Vec<String>,
}

/// What title, subtitle and legend take.
const ABOVE: i32 = MARGIN + 78;

/// From one line of small print to the next.
const SMALL_LINE: i32 = 17;

/// The paper.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

/// Something that couldn't be drawn; as the pictures are made in memory, a mistake in here.
pub(super) type Drawn = Result<(), String>;

/// Draws a frame with `height` pixels inside it; `draw` gets the paper and where the inside begins. Returns the SVG.
pub(super) fn framed(
    frame: &Frame,
    height: i32,
    draw: impl FnOnce(&Canvas<'_>, i32) -> Drawn,
) -> Result<String, String> {
    let mut svg = String::new();
    let footer: Vec<String> = frame.footer.iter().flat_map(|text| wrap(text, SMALL)).collect();
    let whole = ABOVE + height + 12 + SMALL_LINE * footer.len() as i32 + MARGIN / 2;
    let size = (WIDTH.unsigned_abs(), whole.unsigned_abs());
    let canvas = Canvas { area: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
    // Nothing shines through: dark ink would be lost on a dark page.
    canvas.area.fill(&WHITE).map_err(said)?;
    canvas.bold((MARGIN, MARGIN), &frame.title, TITLE)?;
    canvas.text((MARGIN, MARGIN + 28), &frame.subtitle, TEXT, FAINT, HPos::Left)?;
    let mut x = MARGIN;
    for who in &frame.legend {
        let y = MARGIN + 57;
        canvas.fill((x, y - 6), (x + 12, y + 6), colour(who))?;
        canvas.text((x + 18, y), who, TEXT, INK, HPos::Left)?;
        x += 18 + width(who, TEXT) + 24;
    }
    draw(&canvas, ABOVE)?;
    for (at, line) in footer.iter().enumerate() {
        let y = ABOVE + height + 16 + SMALL_LINE * at as i32;
        canvas.text((MARGIN, y), line, SMALL, FAINT, HPos::Left)?;
    }
    canvas.area.present().map_err(said)?;
    drop(canvas);
    Ok(svg)
}

impl Canvas<'_> {
    /// Text whose middle is at `y`, and whose left end, middle or right end is at `x`.
    pub(super) fn text(
        &self,
        at: (i32, i32),
        text: &str,
        size: f64,
        colour: RGBColor,
        anchor: HPos,
    ) -> Drawn {
        self.write(at, text, FontStyle::Normal, size, colour, anchor)
    }

    pub(super) fn bold(&self, at: (i32, i32), text: &str, size: f64) -> Drawn {
        self.write(at, text, FontStyle::Bold, size, INK, HPos::Left)
    }

    fn write(
        &self,
        at: (i32, i32),
        text: &str,
        style: FontStyle,
        size: f64,
        colour: RGBColor,
        anchor: HPos,
    ) -> Drawn {
        let font = FontDesc::new(FontFamily::SansSerif, size * BACKEND_FACTOR, style);
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(anchor, VPos::Center));
        self.area.draw_text(text, &style, at).map_err(said)
    }

    pub(super) fn fill(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        self.area.draw(&Rectangle::new([from, to], colour.filled())).map_err(said)
    }

    pub(super) fn line(&self, points: &[(i32, i32)], colour: RGBColor, thickness: u32) -> Drawn {
        let path = PathElement::new(points.to_vec(), colour.stroke_width(thickness));
        self.area.draw(&path).map_err(said)
    }

    /// A line of dashes, level or upright.
    pub(super) fn dashes(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        let length = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        let step = ((to.0 - from.0).signum(), (to.1 - from.1).signum());
        let point = |at: i32| (from.0 + step.0 * at, from.1 + step.1 * at);
        for at in (0..length).step_by(9) {
            self.line(&[point(at), point((at + 5).min(length))], colour, 1)?;
        }
        Ok(())
    }

    pub(super) fn dot(&self, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(at, radius, colour.filled())).map_err(said)
    }
}

fn said<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> String {
    format!("can't draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_print_stays_on_the_paper() {
        let words = "compare all --quick --json results.json ".repeat(8);
        let lines = wrap(&words, SMALL);
        assert!(lines.len() > 1);
        assert!(lines.iter().all(|line| MARGIN + width(line, SMALL) <= WIDTH - MARGIN), "{lines:?}");
        assert_eq!(lines.join(" "), words.trim());
        let long = "x".repeat(500);
        assert_eq!(wrap(&format!("a {long} b"), SMALL), ["a", &long, "b"]);
    }
}
