//! Latency over the share of messages, both axes by powers of ten.

use std::collections::HashMap;

use super::{COLOURS, Report, escape, put};
use crate::report::{Latency, Run};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 60.0;
/// Curves of one chart: more cannot be told apart.
const CURVES_MAX: usize = COLOURS.len();

pub(super) fn draw(report: &Report, page: &mut String) {
    // Of several rounds against one peer the last is drawn.
    let mut drawn = Vec::<(&Run, &Latency)>::new();
    let mut places = HashMap::new();
    for run in &report.runs {
        let Some(latency) = &run.latency else { continue };
        let place = *places.entry((&run.scenario, &run.peer, &run.shape)).or_insert(drawn.len());
        if place < drawn.len() {
            drawn[place] = (run, latency);
        } else {
            drawn.push((run, latency));
        }
    }
    drawn.truncate(CURVES_MAX);
    if drawn.is_empty() {
        return;
    }
    let highest = drawn.iter().map(|(_, latency)| latency.max_us).fold(1.0, f64::max);
    let decades = highest.log10().ceil().max(1.0);
    put(
        page,
        format_args!(
            "<h2>Latency from the intended time</h2><figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" role=\"img\" aria-label=\"latency curves\" font-size=\"12\">"
        ),
    );
    axes(decades, page);
    for ((_, latency), colour) in drawn.iter().zip(COLOURS) {
        put(
            page,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                points(latency, decades)
            ),
        );
    }
    page.push_str("</svg><figcaption>");
    for ((run, _), colour) in drawn.iter().zip(COLOURS) {
        put(
            page,
            format_args!(
                "<span style=\"color:{colour}\">&#9632;</span> {} {}: {}<br>",
                escape(&run.peer),
                escape(&run.scenario),
                escape(&run.shape)
            ),
        );
    }
    page.push_str("</figcaption></figure>");
}

fn axes(decades: f64, page: &mut String) {
    const NAMES: [&str; 9] =
        ["1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"];
    for (decade, name) in NAMES.iter().enumerate().take(decades as usize + 1) {
        let y = height_of(decade as f64, decades);
        put(
            page,
            format_args!(
                "<path d=\"M{MARGIN} {y:.1}H{:.1}\" stroke=\"#d8dee4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                WIDTH - 10.0,
                MARGIN - 6.0,
                y + 4.0
            ),
        );
    }
    for (share, name) in
        [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
    {
        put(
            page,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                width_of(share),
                HEIGHT - 6.0
            ),
        );
    }
}

fn points(latency: &Latency, decades: f64) -> String {
    let points = latency.curve.iter().map(|(share, us)| {
        format!("{:.1},{:.1}", width_of(*share), height_of(us.max(1.0).log10(), decades))
    });
    points.collect::<Vec<_>>().join(" ")
}

/// Five powers of ten of what is left fill the width.
fn width_of(share: f64) -> f64 {
    let nines = -(1.0 - share).max(1e-5).log10();
    MARGIN + nines / 5.0 * (WIDTH - MARGIN - 10.0)
}

fn height_of(decade: f64, decades: f64) -> f64 {
    HEIGHT - 25.0 - decade / decades * (HEIGHT - 45.0)
}
