//! Percentiles of a latency, from the median to the worst: one line a contestant, on a logarithmic axis.

use super::canvas::{FAINT, Frame, GRID, INK, MARGIN, SMALL, TEXT, WIDTH, colour, framed, width};
use super::scale::{Scale, label};
use plotters::style::text_anchor::HPos;

/// One contestant's percentiles, as many as there are labels; none where it wasn't measured.
pub(super) struct Tail {
    pub(super) who: String,
    pub(super) values: Vec<Option<f64>>,
}

const HEIGHT: i32 = 380;
/// Room at the left for the labels of the axis.
const LEFT: i32 = 64;
/// Room below for the percentiles.
const BELOW: i32 = 30;
/// How near two numbers at the right may be before one has to give way.
const APART: i32 = 17;

/// Draws `tails` over `labels`; `unit` is the values', `mark` a value with a dashed line and what is written at it.
pub(super) fn draw(
    frame: &Frame,
    labels: &[&str],
    unit: &str,
    mark: Option<(f64, String)>,
    tails: &[Tail],
) -> Result<String, String> {
    let values = || tails.iter().flat_map(|tail| tail.values.iter().flatten().copied());
    let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let most = values().chain(mark.as_ref().map(|(value, _)| *value)).fold(0.0, f64::max);
    if !least.is_finite() {
        return Err("there is no latency to draw".into());
    }
    let scale = Scale::log(least, most);
    let ends = ends(tails, unit);
    let room = ends.iter().map(|(_, text, _)| width(text, TEXT)).max().unwrap_or(0);

    framed(frame, HEIGHT, |canvas, top| {
        let (left, right) = (MARGIN + LEFT, WIDTH - MARGIN - room - 30);
        let bottom = top + HEIGHT - BELOW;
        let y = |value: f64| bottom - (scale.at(value) * f64::from(bottom - top)).round() as i32;
        // Half a step of air at both sides.
        let step = f64::from(right - left) / labels.len() as f64;
        let x = |at: usize| left + (step * (at as f64 + 0.5)).round() as i32;

        for &tick in &scale.ticks {
            canvas.line(&[(left, y(tick)), (right, y(tick))], GRID, 1)?;
            canvas.text(
                (left - 8, y(tick)),
                &format!("{} {unit}", label(tick)),
                SMALL,
                FAINT,
                HPos::Right,
            )?;
        }
        for (at, text) in labels.iter().enumerate() {
            canvas.line(&[(x(at), bottom), (x(at), bottom + 5)], FAINT, 1)?;
            canvas.text((x(at), bottom + 18), text, TEXT, INK, HPos::Center)?;
        }
        canvas.line(&[(left, top), (left, bottom), (right, bottom)], FAINT, 1)?;
        if let Some((value, text)) = &mark {
            canvas.dashes((left, y(*value)), (right, y(*value)), INK)?;
            canvas.text((left + 8, y(*value) - 10), text, SMALL, INK, HPos::Left)?;
        }
        for tail in tails {
            let point = |(at, value): (usize, &Option<f64>)| Some((x(at), y((*value)?)));
            let points: Vec<(i32, i32)> = tail.values.iter().enumerate().filter_map(point).collect();
            if points.len() > 1 {
                canvas.line(&points, colour(&tail.who), 3)?;
            }
            points.into_iter().try_for_each(|at| canvas.dot(at, 4, colour(&tail.who)))?;
        }
        let places = apart(&ends.iter().map(|(_, _, value)| y(*value)).collect::<Vec<_>>());
        for ((who, text, _), place) in ends.iter().zip(places) {
            canvas.fill((right + 6, place - 5), (right + 16, place + 5), colour(who))?;
            canvas.text((right + 22, place), text, TEXT, INK, HPos::Left)?;
        }
        Ok(())
    })
}

/// Name, text and value at the right end of each line that has a last value.
fn ends(tails: &[Tail], unit: &str) -> Vec<(String, String, f64)> {
    let end = |tail: &Tail| {
        let value = (*tail.values.last()?)?;
        Some((tail.who.clone(), format!("{} {} {unit}", tail.who, label(value)), value))
    };
    tails.iter().filter_map(end).collect()
}

/// Moves heights apart that are nearer than a line of text, in their order from top to bottom.
fn apart(heights: &[i32]) -> Vec<i32> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by_key(|&at| heights[at]);
    let mut places = heights.to_vec();
    for pair in (1..order.len()).rev() {
        let (above, below) = (order[pair - 1], order[pair]);
        places[above] = places[above].min(places[below] - APART);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn numbers_do_not_lie_over_each_other() {
        assert_eq!(apart(&[100, 50]), [100, 50]);
        assert_eq!(apart(&[100, 95, 98]), [100, 66, 83]);
        assert_eq!(apart(&[]), [0; 0]);
    }
}
