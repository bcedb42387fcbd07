//! Level bars in groups, in one or more panels that have an axis each.
//!
//! ```text
//!   panel ┌ heading
//!         │ group label │███████ 12.3
//!         │             │█████████████ 20.1
//!         │ next group  │████ 6.0
//!         └             0    10    20   axis label
//! ```

use super::canvas::{
    Canvas, Drawn, FAINT, Frame, GRID, INK, MARGIN, SMALL, TEXT, WIDTH, colour, framed, width,
};
use super::scale::{Scale, label};
use plotters::style::text_anchor::HPos;

/// One contestant's bar.
pub(super) struct Bar {
    pub(super) who: String,
    pub(super) value: f64,
    /// The least and the most of the rounds.
    pub(super) spread: (f64, f64),
    /// What is written at its end.
    pub(super) text: String,
}

pub(super) struct Group {
    pub(super) label: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Panel {
    /// Left out if empty.
    pub(super) heading: String,
    /// What the numbers are, with the unit.
    pub(super) axis: String,
    /// A logarithmic axis, on which bars begin at this value; a linear one, on which they begin at 0, if there is none.
    pub(super) log_from: Option<f64>,
    /// A dashed line at this value, in the colour of the contestant who stands there.
    pub(super) mark: Option<(f64, &'static str)>,
    pub(super) groups: Vec<Group>,
}

const BAR: i32 = 15;
const BETWEEN_BARS: i32 = 2;
const BETWEEN_GROUPS: i32 = 16;
const HEADING: i32 = 26;
/// Ticks, their labels and the axis' own.
const AXIS: i32 = 46;
const BETWEEN_PANELS: i32 = 16;
/// Half the length of a bar that has next to none.
const STUB: i32 = 3;
/// Room at the right for the number at a bar that ends there.
const NUMBER: i32 = 92;

pub(super) fn draw(frame: &Frame, panels: &[Panel]) -> Result<String, String> {
    let height = panels.iter().map(Panel::height).sum::<i32>();
    let gaps = BETWEEN_PANELS * (panels.len() as i32 - 1).max(0);
    let labels = panels.iter().flat_map(|panel| &panel.groups).map(|group| width(&group.label, TEXT));
    let left = MARGIN + labels.max().unwrap_or(0) + 12;
    framed(frame, height + gaps, |canvas, top| {
        let mut y = top;
        for panel in panels {
            panel.draw(canvas, left, y)?;
            y += panel.height() + BETWEEN_PANELS;
        }
        Ok(())
    })
}

impl Group {
    fn height(&self) -> i32 {
        (BAR + BETWEEN_BARS) * self.bars.len() as i32
    }
}

impl Panel {
    fn heading_height(&self) -> i32 {
        if self.heading.is_empty() { 0 } else { HEADING }
    }

    fn height(&self) -> i32 {
        let groups: i32 = self.groups.iter().map(|group| group.height() + BETWEEN_GROUPS).sum();
        self.heading_height() + groups + AXIS
    }

    fn scale(&self) -> Scale {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let most = bars().map(|bar| bar.value.max(bar.spread.1)).chain(self.mark.map(|(value, _)| value));
        let most = most.fold(f64::MIN_POSITIVE, f64::max);
        match self.log_from {
            None => Scale::linear(most),
            Some(base) => {
                let least = bars().map(|bar| bar.value.min(bar.spread.0)).filter(|value| *value > 0.0);
                Scale::log(least.fold(base, f64::min), most.max(base))
            }
        }
    }

    fn draw(&self, canvas: &Canvas<'_>, left: i32, top: i32) -> Drawn {
        let scale = self.scale();
        let right = WIDTH - MARGIN - NUMBER;
        let x = |value: f64| left + (scale.at(value) * f64::from(right - left)).round() as i32;
        let bars_top = top + self.heading_height();
        let bottom = top + self.height() - AXIS;

        if !self.heading.is_empty() {
            canvas.bold((MARGIN, top + 8), &self.heading, TEXT)?;
        }
        for &tick in &scale.ticks {
            canvas.line(&[(x(tick), bars_top), (x(tick), bottom + 5)], GRID, 1)?;
            canvas.text((x(tick), bottom + 14), &label(tick), SMALL, FAINT, HPos::Center)?;
        }
        canvas.text(((left + right) / 2, bottom + 34), &self.axis, SMALL, FAINT, HPos::Center)?;
        let mut y = bars_top + BETWEEN_GROUPS / 2;
        for group in &self.groups {
            let middle = y + group.height() / 2;
            canvas.text((left - 12, middle), &group.label, TEXT, INK, HPos::Right)?;
            for bar in &group.bars {
                self.bar(canvas, bar, y, &x)?;
                y += BAR + BETWEEN_BARS;
            }
            y += BETWEEN_GROUPS;
        }
        canvas.line(&[(left, bars_top), (left, bottom)], FAINT, 1)?;
        if let Some((value, who)) = self.mark {
            canvas.dashes((x(value), bars_top), (x(value), bottom), colour(who))?;
        }
        Ok(())
    }

    fn bar(&self, canvas: &Canvas<'_>, bar: &Bar, y: i32, x: &dyn Fn(f64) -> i32) -> Drawn {
        let begin = x(self.log_from.unwrap_or(0.0));
        let end = x(bar.value);
        // A bar of 1 that begins at 1 has no length: it is a short one around its place.
        let stub = if (end - begin).abs() < 2 * STUB { STUB } else { 0 };
        let (from, to) = match self.log_from {
            Some(_) => (begin.min(end) - stub, begin.max(end) + stub),
            None => (begin, end.max(begin + 1)),
        };
        canvas.fill((from, y), (to, y + BAR), colour(&bar.who))?;
        let (least, most) = (x(bar.spread.0), x(bar.spread.1));
        if most > least + 1 {
            let middle = y + BAR / 2;
            canvas.line(&[(least, middle), (most, middle)], INK, 1)?;
            for end in [least, most] {
                canvas.line(&[(end, middle - 3), (end, middle + 3)], INK, 1)?;
            }
        }
        // Behind everything of the bar, also of one that goes to the left, and not across the dashed line.
        let after = to.max(most).max(begin) + 6;
        let crosses = |mark: i32| (after - 3..=after + width(&bar.text, SMALL)).contains(&mark);
        let mark = self.mark.map(|(value, _)| x(value)).filter(|&mark| crosses(mark));
        let after = mark.map_or(after, |mark| mark + 6);
        canvas.text((after, y + BAR / 2 + 1), &bar.text, SMALL, INK, HPos::Left)
    }
}
