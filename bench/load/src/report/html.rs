//! The report as one page: no script, no network, curves as inline SVG.

use std::fmt::Write as _;

use super::{Latency, Report, Run};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;\
    padding:0 1em;color:#1b1f24;background:#fff}table{border-collapse:collapse;margin:1em 0;\
    display:block;overflow-x:auto}th,td{padding:.3em .8em;border-bottom:1px solid #d8dee4;\
    text-align:right;white-space:nowrap}th:first-child,td:first-child,td.text{text-align:left}\
    .void{color:#b42318}small{color:#57606a}svg{max-width:100%;height:auto}";
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 50.0;
const COLOURS: [&str; 6] = ["#0550ae", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#57606a"];

/// A column of the table of runs.
type Column = (&'static str, fn(&Run) -> Option<f64>, usize);

const COLUMNS: &[Column] = &[
    ("messages / server CPU s", |run| run.messages_per_server_cpu_second, 0),
    ("enters / message", |run| run.enters_per_message, 4),
    ("user B / connection", |run| run.user_bytes_per_connection, 1),
    ("kernel B / connection", |run| run.kernel_bytes_per_connection, 0),
    ("p50 us", |run| run.latency.as_ref().map(|latency| latency.p50_us), 0),
    ("p99 us", |run| run.latency.as_ref().map(|latency| latency.p99_us), 0),
    ("p99.9 us", |run| run.latency.as_ref().map(|latency| latency.p999_us), 0),
    ("lost", |run| Some(run.lost as f64), 0),
    ("duplicated", |run| Some(run.duplicated as f64), 0),
    ("reordered", |run| Some(run.reordered as f64), 0),
];

/// The whole page of one report, and beside it of an earlier or later one.
pub(crate) fn page(report: &Report, other: Option<&Report>) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>ringpost-bench</title><style>{STYLE}</style>\
         <h1>ringpost-bench</h1>"
    );
    environment(report, &mut page);
    ratios(report, &mut page);
    runs(report, &mut page);
    curves(report, &mut page);
    if let Some(other) = other {
        beside(report, other, &mut page);
    }
    page.push_str("</html>\n");
    page
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("text grows");
}

fn environment(report: &Report, page: &mut String) {
    let Some(run) = report.runs.first() else { return };
    let with = &run.environment;
    put(
        page,
        format_args!(
            "<p>Commit {}, Linux {}, {}, {:.0} GiB, RLIMIT_NOFILE {}, load average before {:.2}.<br>\
         <small>{}</small></p>",
            escape(&with.commit),
            escape(&with.kernel),
            escape(&with.processor),
            with.memory_bytes as f64 / f64::from(1 << 30),
            with.descriptors_max,
            with.load_average,
            escape(&with.command),
        ),
    );
}

fn ratios(report: &Report, page: &mut String) {
    let Some(comparison) = &report.comparison else { return };
    put(
        page,
        format_args!(
            "<h2>Ratios: {}</h2><p>ringpost to each, by <code>{}</code>; {} is better.</p><table>\
         <tr><th>peer<th>median<th>min<th>max<th>rounds",
            escape(&comparison.scenario),
            escape(&comparison.metric),
            if comparison.more_is_better { "more" } else { "less" },
        ),
    );
    for (peer, ratios) in &comparison.ratios {
        put(
            page,
            format_args!(
                "<tr><td>{}<td>{:.2}<td>{:.2}<td>{:.2}<td>{}",
                escape(peer),
                ratios.median,
                ratios.min,
                ratios.max,
                ratios.rounds.len()
            ),
        );
    }
    for (peer, why) in &comparison.left_out {
        put(
            page,
            format_args!(
                "<tr><td>{}<td class=\"text\" colspan=\"4\">{}",
                escape(peer),
                escape(why)
            ),
        );
    }
    page.push_str("</table>");
}

fn runs(report: &Report, page: &mut String) {
    page.push_str("<h2>Runs</h2><table><tr><th>scenario<th>peer<th>promise");
    // A scenario measures some of the numbers; what none of them measured needs no column.
    let measured = |(_, of, _): &&Column| report.runs.iter().any(|run| of(run).is_some());
    let columns = COLUMNS.iter().filter(measured).collect::<Vec<_>>();
    for (name, ..) in &columns {
        put(page, format_args!("<th>{name}"));
    }
    for run in &report.runs {
        put(
            page,
            format_args!(
                "<tr><td title=\"{}\">{}<td class=\"text\">{}<td class=\"text\">{}",
                escape(&run.shape),
                escape(&run.scenario),
                escape(&run.peer),
                escape(&run.promise)
            ),
        );
        for (_, of, digits) in &columns {
            match of(run) {
                Some(value) => put(page, format_args!("<td>{value:.digits$}")),
                None => page.push_str("<td>"),
            }
        }
    }
    page.push_str("</table>");
    for run in report.runs.iter().filter(|run| run.void.is_some()) {
        let why = run.void.as_deref().unwrap_or_default();
        put(
            page,
            format_args!(
                "<p class=\"void\">Void: {} against {}: {}</p>",
                escape(&run.scenario),
                escape(&run.peer),
                escape(why)
            ),
        );
    }
}

/// Latency over the share of messages, both axes by powers of ten.
fn curves(report: &Report, page: &mut String) {
    let drawn = report.runs.iter().filter_map(|run| Some((run, run.latency.as_ref()?)));
    let drawn = drawn.take(COLOURS.len()).collect::<Vec<_>>();
    let highest = drawn.iter().map(|(_, latency)| latency.max_us).fold(1.0, f64::max);
    if drawn.is_empty() {
        return;
    }
    put(
        page,
        format_args!(
            "<h2>Latency from the intended time</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"latency curves\" font-size=\"12\">"
        ),
    );
    let decades = highest.log10().ceil().max(1.0);
    for decade in 0..=decades as u32 {
        let y = height_of(f64::from(decade), decades);
        put(
            page,
            format_args!(
                "<path d=\"M{MARGIN} {y:.1}H{:.1}\" stroke=\"#d8dee4\"/><text x=\"4\" y=\"{:.1}\">1e{decade} us</text>",
                WIDTH - 10.0,
                y + 4.0
            ),
        );
    }
    for (position, share) in ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"].iter().enumerate() {
        let left = if position == 0 { 0.5 } else { 0.1f64.powi(position as i32) };
        let x = width_of(1.0 - left);
        put(page, format_args!("<text x=\"{x:.1}\" y=\"{:.1}\">{share}</text>", HEIGHT - 6.0));
    }
    for ((_, latency), colour) in drawn.iter().zip(COLOURS) {
        put(
            page,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                points(latency, decades)
            ),
        );
    }
    page.push_str("</svg><p>");
    for ((run, _), colour) in drawn.iter().zip(COLOURS) {
        put(
            page,
            format_args!(
                "<span style=\"color:{colour}\">&#9632; {} {}</span> ",
                escape(&run.peer),
                escape(&run.shape)
            ),
        );
    }
    page.push_str("</p>");
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

/// Runs that both reports have, by scenario, peer and shape.
fn beside(report: &Report, other: &Report, page: &mut String) {
    page.push_str(
        "<h2>Two reports</h2><table><tr><th>run<th>number<th>first<th>second<th>second / first",
    );
    for run in &report.runs {
        let same = |second: &&Run| {
            (&run.scenario, &run.peer, &run.shape)
                == (&second.scenario, &second.peer, &second.shape)
        };
        let Some(second) = other.runs.iter().find(same) else { continue };
        for (name, of, digits) in COLUMNS {
            let (Some(first), Some(second)) = (of(run), of(second)) else { continue };
            let ratio = if first == 0.0 { String::new() } else { format!("{:.2}", second / first) };
            put(
                page,
                format_args!(
                    "<tr><td>{} against {}<td class=\"text\">{name}<td>{first:.digits$}<td>{second:.digits$}<td>{ratio}",
                    escape(&run.scenario),
                    escape(&run.peer)
                ),
            );
        }
    }
    page.push_str("</table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::report::{Latency, Report, Run};

    #[test]
    fn a_page_shows_runs_curves_and_why_a_run_is_void_and_escapes_what_it_is_told() {
        let curve = vec![(0.5, 100.0), (0.99, 900.0), (1.0, 5_000.0)];
        let latency = Latency { p50_us: 100.0, max_us: 5_000.0, curve, ..Latency::default() };
        let run = Run {
            peer: "<peer>".to_owned(),
            latency: Some(latency),
            void: Some("busy".to_owned()),
            ..Run::default()
        };
        let report = Report { comparison: None, runs: vec![run] };
        let page = page(&report, Some(&report));
        for expected in ["&lt;peer&gt;", "<polyline", "Void: ", "Two reports", "<td>1.00"] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(!page.contains("<peer>") && !page.contains("http"), "{page}");
    }
}
