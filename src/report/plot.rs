//! The picture beside the figures, as SVG in the page: how many were answered in time, and how long it took.
//! Told apart by pattern and by shape, so that colour is not needed.

use super::page::escape;
use super::timeliness::{Figures, Summary};

/// The plot as a picture by itself.
pub fn picture(figures: &[&Figures]) -> String {
    let namespace = "<svg xmlns=\"http://www.w3.org/2000/svg\" ";
    answers(figures).replacen("<svg ", namespace, 1)
}

/// Two panels over the same rows, one for each of these: shares, and working hours until the answer.
pub(super) fn answers(figures: &[&Figures]) -> String {
    let height = TOP + figures.len() as f64 * ROW + BOTTOM;
    let slowest = figures.iter().filter_map(|one| one.to_reply.working_hours).map(|of| of.worst);
    let scale = Scale::over(slowest.fold(0.0, f64::max));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Answers by agency; the tables below have the figures\" \
         font-family=\"sans-serif\" font-size=\"13\">\n{PATTERNS}"
    );
    svg.push_str(&text(
        SHARE_AT,
        18.0,
        "start",
        "<tspan font-weight=\"bold\">How many (of all asked)</tspan>",
    ));
    svg.push_str(&text(
        HOURS_AT,
        18.0,
        "start",
        "<tspan font-weight=\"bold\">Working hours until the answer</tspan>",
    ));
    svg.push_str(&legend());
    for tick in scale.ticks() {
        let x = HOURS_AT + scale.along(tick);
        let bottom = height - BOTTOM + 4.0;
        svg.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#bbb\"/>\n",
            TOP - 4.0
        ));
        svg.push_str(&text(x, bottom + 16.0, "middle", &format!("{tick}")));
    }
    for (one, at) in figures.iter().zip(0_u32..) {
        let y = TOP + f64::from(at) * ROW;
        svg.push_str(&text(SHARE_AT - 10.0, y + 18.0, "end", &escape(&one.agency)));
        svg.push_str(&share(one, y));
        if let Some(hours) = one.to_reply.working_hours {
            svg.push_str(&range(&hours, &scale, y + ROW / 2.0));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

// One bar, all that were asked, in its parts.
fn share(figures: &Figures, y: f64) -> String {
    let parts = [
        figures.answered_in_time,
        figures.answered_late,
        figures.overdue,
        figures.due_soon + figures.running,
        figures.rejected + figures.cancelled,
    ];
    let mut svg = String::new();
    let mut x = SHARE_AT;
    for (count, (_, fill)) in parts.into_iter().zip(PARTS) {
        let wide = SHARE_WIDTH * count as f64 / figures.asked.max(1) as f64;
        if count > 0 {
            svg.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{BAR}\" fill=\"{fill}\" \
                 stroke=\"#000\"/>\n",
                y + (ROW - BAR) / 2.0
            ));
        }
        if wide >= 22.0 {
            // On a ground of its own, whatever the pattern behind it.
            let middle = x + wide / 2.0;
            svg.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"20\" height=\"14\" fill=\"#fff\"/>\n",
                middle - 10.0,
                y + ROW / 2.0 - 7.0
            ));
            svg.push_str(&text(middle, y + ROW / 2.0 + 4.5, "middle", &count.to_string()));
        }
        x += wide;
    }
    svg
}

// From the median to the worst, with the mark that nine in ten stay under.
fn range(hours: &Summary, scale: &Scale, y: f64) -> String {
    let at = |hours: f64| HOURS_AT + scale.along(hours);
    let (median, p90, worst) = (at(hours.median), at(hours.p90), at(hours.worst));
    format!(
        "<line x1=\"{median:.1}\" y1=\"{y:.1}\" x2=\"{worst:.1}\" y2=\"{y:.1}\" stroke=\"#000\"/>\n\
         <circle cx=\"{worst:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"#fff\" stroke=\"#000\"/>\n\
         <line x1=\"{p90:.1}\" y1=\"{:.1}\" x2=\"{p90:.1}\" y2=\"{:.1}\" stroke=\"#000\" \
         stroke-width=\"2\"/>\n\
         <circle cx=\"{median:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>\n",
        y - 8.0,
        y + 8.0
    )
}

fn legend() -> String {
    let mut svg = String::new();
    let mut x = SHARE_AT;
    for (name, fill) in PARTS {
        svg.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"28\" width=\"14\" height=\"12\" fill=\"{fill}\" stroke=\"#000\"/>\n"
        ));
        svg.push_str(&text(x + 19.0, 39.0, "start", name));
        x += 36.0 + 7.2 * name.len() as f64;
    }
    let y = 34.0;
    let mark = |x: f64, name: &str| text(x + 10.0, y + 5.0, "start", name);
    svg.push_str(&format!("<circle cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\"/>\n", HOURS_AT + 5.0));
    svg.push_str(&mark(HOURS_AT + 5.0, "median"));
    svg.push_str(&format!(
        "<line x1=\"{0:.1}\" y1=\"26\" x2=\"{0:.1}\" y2=\"42\" stroke=\"#000\" stroke-width=\"2\"/>\n",
        HOURS_AT + 85.0
    ));
    svg.push_str(&mark(HOURS_AT + 85.0, "90 %"));
    svg.push_str(&format!(
        "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"#fff\" stroke=\"#000\"/>\n",
        HOURS_AT + 150.0
    ));
    svg.push_str(&mark(HOURS_AT + 150.0, "worst"));
    svg
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>\n")
}

/// The axis of the hours: a round number of them at each tick, and about five ticks.
struct Scale {
    step: f64,
    most: f64,
}

impl Scale {
    fn over(longest: f64) -> Self {
        let about = (longest / 5.0).max(0.2);
        let power = 10_f64.powf(about.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|of| of * power).into_iter().find(|step| *step >= about);
        let step = step.unwrap_or(about);
        Self { step, most: step * (longest / step).ceil().max(1.0) }
    }

    fn along(&self, hours: f64) -> f64 {
        HOURS_WIDTH * hours / self.most
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let steps = (self.most / self.step).round() as u32;
        // Rounded, so that a tick is written as a person would.
        (0..=steps).map(|at| (f64::from(at) * self.step * 100.0).round() / 100.0)
    }
}

const WIDTH: f64 = 1_100.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 28.0;
const ROW: f64 = 28.0;
const BAR: f64 = 20.0;
const SHARE_AT: f64 = 230.0;
const SHARE_WIDTH: f64 = 470.0;
const HOURS_AT: f64 = 760.0;
const HOURS_WIDTH: f64 = 310.0;

/// What a bar is made of, and how each part is filled.
const PARTS: [(&str, &str); 5] = [
    ("in time", "#fff"),
    ("late", "url(#late)"),
    ("overdue", "#000"),
    ("not due yet", "url(#waiting)"),
    ("not theirs, cancelled", "#ccc"),
];

const PATTERNS: &str = "<defs>\n\
<pattern id=\"late\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#fff\"/>\
<rect width=\"3\" height=\"6\"/></pattern>\n\
<pattern id=\"waiting\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
<rect width=\"6\" height=\"6\" fill=\"#fff\"/><circle cx=\"3\" cy=\"3\" r=\"1\"/></pattern>\n</defs>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_round_numbers_and_everything_is_on_it() {
        for (longest, step, most) in [
            (0.0, 0.2, 0.2),
            (0.9, 0.2, 1.0),
            (4.2, 1.0, 5.0),
            (8.0, 2.0, 8.0),
            (23.5, 5.0, 25.0),
            (1_000.0, 200.0, 1_000.0),
        ] {
            let scale = Scale::over(longest);
            assert!(
                (scale.step - step).abs() < 1e-9 && (scale.most - most).abs() < 1e-9,
                "{longest}"
            );
            assert!(scale.along(longest) <= HOURS_WIDTH + 1e-9);
            assert!((2..=7).contains(&scale.ticks().count()), "{longest}");
        }
    }
}
