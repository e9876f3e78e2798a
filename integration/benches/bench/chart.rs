//! A chart of figures in SVG: horizontal bars on a logarithmic scale, readable on light and dark ground.

use std::fmt::Write;

use super::table::number;

/// Bars that are compared with each other.
#[derive(Clone, Debug)]
pub struct Group {
    pub title: String,
    /// What a bar stands for, and its length.
    pub bars: Vec<(String, f64)>,
}

const WIDTH: f64 = 760.0;
/// Where the bars begin and end.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 690.0;
/// The height of a bar, of a title, and of what is above and below all of them.
const BAR: f64 = 20.0;
const TITLE: f64 = 34.0;
const EDGE: f64 = 30.0;

const STYLE: &str = "text { font: 12px sans-serif; fill: #24292f } .title { font-weight: bold } .note { fill: #57606a }
line { stroke: #d0d7de } rect { fill: #8c959f } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #8d96a0 } line { stroke: #3d444d } rect { fill: #6e7681 } .ours { fill: #4493f8 }
}";

/// The chart. Bars whose name begins with `ours` have a colour of their own. `note` stands below.
pub fn svg(groups: &[Group], unit: &str, ours: &str, note: &str) -> String {
    let values = || groups.iter().flat_map(|group| &group.bars).map(|bar| bar.1).filter(|value| *value > 0.0);
    let lowest = values().fold(f64::MAX, f64::min).min(1.0).log10().floor();
    let highest = values().fold(f64::MIN, f64::max).max(10.0).log10().ceil();
    let at = |value: f64| LEFT + (value.log10() - lowest) / (highest - lowest) * (RIGHT - LEFT);
    let height = EDGE * 2.0 + groups.iter().map(|group| TITLE + BAR * group.bars.len() as f64).sum::<f64>();

    let mut body = String::new();
    let mut power = lowest;
    while power <= highest {
        let (x, value) = (at(10_f64.powf(power)), 10_f64.powf(power));
        let bottom = height - EDGE;
        let _ = writeln!(body, r#"<line x1="{x:.1}" y1="{EDGE}" x2="{x:.1}" y2="{bottom:.0}"/>"#);
        let label = if value < 1.0 { value.to_string() } else { number(value) };
        let _ = writeln!(body, r#"<text class="note" x="{x:.1}" y="20" text-anchor="middle">{label} {unit}</text>"#);
        power += 1.0;
    }
    let mut y = EDGE;
    for group in groups {
        y += TITLE;
        let _ = writeln!(body, r#"<text class="title" x="8" y="{:.0}">{}</text>"#, y - 9.0, escaped(&group.title));
        for (name, value) in &group.bars {
            let class = if name.starts_with(ours) { r#" class="ours""# } else { "" };
            let (end, middle) = (at(value.max(10_f64.powf(lowest))), y + 14.0);
            let _ = writeln!(
                body,
                r#"<text x="{:.0}" y="{middle:.0}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                escaped(name)
            );
            let (length, thick) = (end - LEFT, BAR - 4.0);
            let _ = writeln!(
                body,
                r#"<rect{class} x="{LEFT}" y="{:.0}" width="{length:.1}" height="{thick}" rx="2"/>"#,
                y + 2.0
            );
            let _ = writeln!(body, r#"<text x="{:.1}" y="{middle:.0}">{}</text>"#, end + 6.0, number(*value));
            y += BAR;
        }
    }
    let _ = writeln!(body, r#"<text class="note" x="8" y="{:.0}">{}</text>"#, height - 10.0, escaped(note));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{}</title>\n<style>\n{STYLE}\n</style>\n{body}</svg>\n",
        escaped(note)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
