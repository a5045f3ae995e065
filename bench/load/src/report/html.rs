//! The report as one page: no script, no network, curves and bars as inline SVG, and the JSON
//! behind it.

mod bars;
mod curves;

use std::fmt::{Arguments, Write as _};

use super::{Report, Run};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:78em;\
    padding:0 1em;color:#1b1f24;background:#fff}table{border-collapse:collapse;margin:1em 0;\
    display:block;overflow-x:auto}th,td{padding:.3em .8em;border-bottom:1px solid #d8dee4;\
    text-align:right;white-space:nowrap}th{vertical-align:bottom}th.name,td.name{text-align:left}\
    td.long{white-space:normal;min-width:18em}.void{color:#b42318}small,figcaption{color:#57606a}svg{max-width:100%;height:auto}\
    figure{margin:1em 0}.charts{display:flex;flex-wrap:wrap;gap:2em}pre{overflow-x:auto;\
    font-size:12px}summary{cursor:pointer}";
/// Of curves and bars.
const COLOURS: [&str; 8] =
    ["#0550ae", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#0a7ea4", "#57606a"];

/// A number of a run.
pub(super) struct Column {
    /// For heads of columns and charts.
    pub(super) name: &'static str,
    /// Its value, where it was measured.
    pub(super) of: fn(&Run) -> Option<f64>,
    /// Digits behind the point.
    pub(super) digits: usize,
}

const fn column(name: &'static str, digits: usize, of: fn(&Run) -> Option<f64>) -> Column {
    Column { name, of, digits }
}

/// All that a table of runs may show.
pub(super) const COLUMNS: &[Column] = &[
    column("messages / server CPU s", 0, |run| run.messages_per_server_cpu_second),
    column("enters / message", 4, |run| run.enters_per_message),
    column("user B / connection", 1, |run| run.user_bytes_per_connection),
    column("kernel B / connection", 0, |run| run.kernel_bytes_per_connection),
    column("B / slow reader", 0, |run| run.bytes_per_slow_reader),
    column("p50 us", 0, |run| run.latency.as_ref().map(|latency| latency.p50_us)),
    column("p99 us", 0, |run| run.latency.as_ref().map(|latency| latency.p99_us)),
    column("p99.9 us", 0, |run| run.latency.as_ref().map(|latency| latency.p999_us)),
    column("sent p99 us", 0, |run| run.sent_latency.as_ref().map(|latency| latency.p99_us)),
    column("lost", 0, |run| Some(run.lost as f64)),
    column("duplicated", 0, |run| Some(run.duplicated as f64)),
    column("reordered", 0, |run| Some(run.reordered as f64)),
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
    bars::draw(report, &mut page);
    curves::draw(report, &mut page);
    if let Some(other) = other {
        beside(report, other, &mut page);
    }
    source(report, &mut page);
    page.push_str("</html>\n");
    page
}

fn put(page: &mut String, text: Arguments<'_>) {
    page.write_fmt(text).expect("text grows");
}

fn environment(report: &Report, page: &mut String) {
    let Some(run) = report.runs.first() else { return };
    let with = &run.environment;
    put(
        page,
        format_args!(
            "<p>Commit {}, Linux {}, {}, {:.0} GiB, RLIMIT_NOFILE {}, load average before \
             {:.2}.<br><small>{}</small></p>",
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
             <tr><th class=\"name\">peer<th>median<th>min<th>max<th>rounds",
            escape(&comparison.scenario),
            escape(&comparison.metric),
            if comparison.more_is_better { "more" } else { "less" },
        ),
    );
    for (peer, ratios) in &comparison.ratios {
        put(
            page,
            format_args!(
                "<tr><td class=\"name\">{}<td>{:.2}<td>{:.2}<td>{:.2}<td>{}",
                escape(peer),
                ratios.median,
                ratios.min,
                ratios.max,
                ratios.rounds.len()
            ),
        );
    }
    for (peer, why) in &comparison.left_out {
        let (peer, why) = (escape(peer), escape(why));
        let row =
            format_args!("<tr><td class=\"name\">{peer}<td class=\"name\" colspan=\"4\">{why}");
        put(page, row);
    }
    page.push_str("</table>");
    let (void, all) = (void_runs(report), report.runs.len());
    if void > 0 {
        put(
            page,
            format_args!("<p class=\"void\">{void} of {all} runs are void: why stands below.</p>"),
        );
    }
}

fn void_runs(report: &Report) -> usize {
    report.runs.iter().filter(|run| run.void.is_some()).count()
}

fn runs(report: &Report, page: &mut String) {
    page.push_str("<h2>Runs</h2><table><tr><th class=\"name\">scenario<th class=\"name\">peer");
    // Beside the name, where no width of a page hides it.
    let tells_void = void_runs(report) > 0;
    if tells_void {
        page.push_str("<th class=\"name\">void");
    }
    // A scenario measures some of the numbers; what none of them measured needs no column.
    let measured = |column: &&Column| report.runs.iter().any(|run| (column.of)(run).is_some());
    let columns = COLUMNS.iter().filter(measured).collect::<Vec<_>>();
    for column in &columns {
        put(page, format_args!("<th>{}", column.name));
    }
    page.push_str("<th class=\"name\">promise");
    for run in &report.runs {
        put(
            page,
            format_args!(
                "<tr><td class=\"name\" title=\"{}\">{}<td class=\"name\">{}",
                escape(&run.shape),
                escape(&run.scenario),
                escape(&run.peer),
            ),
        );
        if tells_void {
            let why = escape(run.void.as_deref().unwrap_or_default());
            put(page, format_args!("<td class=\"name long void\">{why}"));
        }
        for column in &columns {
            match (column.of)(run) {
                Some(value) => put(page, format_args!("<td>{value:.*}", column.digits)),
                None => page.push_str("<td>"),
            }
        }
        put(page, format_args!("<td class=\"name long\">{}", escape(&run.promise)));
    }
    page.push_str("</table>");
}

/// Runs that both reports have, by scenario, peer and shape.
fn beside(report: &Report, other: &Report, page: &mut String) {
    page.push_str(
        "<h2>Two reports</h2><table><tr><th class=\"name\">run<th class=\"name\">number<th>first\
         <th>second<th>second / first",
    );
    for pair in super::beside::pairs(report, other) {
        for row in pair.rows() {
            put(
                page,
                format_args!(
                    "<tr><td class=\"name\">{} against {}<td class=\"name\">{}<td>{}<td>{}<td>{}",
                    escape(&pair.first.scenario),
                    escape(&pair.first.peer),
                    row.name,
                    row.first,
                    row.second,
                    row.ratio
                ),
            );
        }
    }
    page.push_str("</table>");
}

fn source(report: &Report, page: &mut String) {
    let json = serde_json::to_string_pretty(report).expect("a report is plain data");
    put(
        page,
        format_args!("<details><summary>JSON</summary><pre>{}</pre></details>", escape(&json)),
    );
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
            messages_per_server_cpu_second: Some(1e6),
            void: Some("busy".to_owned()),
            ..Run::default()
        };
        let report = Report { comparison: None, runs: vec![run] };
        let page = page(&report, Some(&report));
        for expected in
            ["&lt;peer&gt;", "<polyline", "<rect", ">busy", "Two reports", "<td>1.00", "JSON"]
        {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(!page.contains("<peer>") && !page.contains("http"), "{page}");
    }
}
