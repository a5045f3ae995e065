//! One bar for each scenario and peer: throughput, enters, and bytes by kind.

use super::{COLOURS, Column, Report, column, escape, put};
use crate::report::Run;

/// Width of the longest bar, and of the whole chart.
const BAR: f64 = 240.0;
const WIDTH: f64 = 520.0;
const ROW: f64 = 20.0;
/// Where bars begin, behind their names.
const LEFT: f64 = 190.0;

/// The charts: their title, and their columns, whose bars stand behind one another.
const CHARTS: &[(&str, &[Column])] = &[
    (
        "Messages per second of the server's processor",
        &[column("messages", 0, |run| run.messages_per_server_cpu_second)],
    ),
    ("io_uring_enter per message", &[column("enters", 4, |run| run.enters_per_message)]),
    (
        "Bytes per connection: user space, and the kernel's (pale)",
        &[
            column("user", 0, |run| run.user_bytes_per_connection),
            column("kernel", 0, |run| run.kernel_bytes_per_connection),
        ],
    ),
];

pub(super) fn draw(report: &Report, page: &mut String) {
    page.push_str("<div class=\"charts\">");
    for (title, columns) in CHARTS {
        chart(report, title, columns, page);
    }
    page.push_str("</div>");
}

/// Medians of what the same scenario found against the same peer.
fn rows<'a>(report: &'a Report, columns: &[Column]) -> Vec<(&'a Run, Vec<f64>)> {
    let mut rows = Vec::<(&Run, Vec<Vec<f64>>)>::new();
    for run in &report.runs {
        let values = columns.iter().filter_map(|column| (column.of)(run)).collect::<Vec<_>>();
        if values.len() < columns.len() {
            continue;
        }
        let same = |(other, _): &(&Run, _)| {
            (&other.scenario, &other.peer, &other.shape) == (&run.scenario, &run.peer, &run.shape)
        };
        match rows.iter().position(same) {
            Some(place) => rows[place].1.push(values),
            None => rows.push((run, vec![values])),
        }
    }
    let median = |rounds: &[Vec<f64>], column: usize| {
        let mut values = rounds.iter().map(|values| values[column]).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let medians = rows.into_iter().map(|(run, rounds)| {
        (run, (0..columns.len()).map(|column| median(&rounds, column)).collect())
    });
    medians.collect()
}

/// The colour of a peer: the same in each chart.
fn colour(report: &Report, peer: &str) -> &'static str {
    let mut seen = Vec::new();
    for run in &report.runs {
        if run.peer == peer {
            break;
        }
        if !seen.contains(&run.peer.as_str()) {
            seen.push(run.peer.as_str());
        }
    }
    COLOURS[seen.len() % COLOURS.len()]
}

fn chart(report: &Report, title: &str, columns: &[Column], page: &mut String) {
    let rows = rows(report, columns);
    let longest = rows.iter().map(|(_, values)| values.iter().sum()).fold(0.0, f64::max);
    if longest <= 0.0 {
        return;
    }
    let height = rows.len() as f64 * ROW;
    put(
        page,
        format_args!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" role=\"img\" aria-label=\"{title}\" font-size=\"12\">"
        ),
    );
    for (place, (run, values)) in rows.iter().enumerate() {
        let top = place as f64 * ROW;
        put(
            page,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>",
                LEFT - 6.0,
                top + 14.0,
                escape(&run.scenario),
                escape(&run.peer)
            ),
        );
        let mut left = LEFT;
        for (value, opacity) in values.iter().zip(["1", "0.4"]) {
            let width = value.max(0.0) / longest * BAR;
            put(
                page,
                format_args!(
                    "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
                     fill=\"{}\" opacity=\"{opacity}\"/>",
                    top + 3.0,
                    ROW - 6.0,
                    colour(report, &run.peer)
                ),
            );
            left += width;
        }
        let told = values.iter().zip(columns);
        let told = told.map(|(value, column)| format!("{value:.*}", column.digits));
        let told = told.collect::<Vec<_>>().join(" + ");
        put(
            page,
            format_args!("<text x=\"{:.1}\" y=\"{:.1}\">{told}</text>", left + 6.0, top + 14.0),
        );
    }
    page.push_str("</svg></figure>");
}
