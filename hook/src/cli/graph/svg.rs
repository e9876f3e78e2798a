//! One picture in one file (SVG 1.1), and a page with it.
//!
//! Every network is a band over the whole width, with a card for each container, as many in a row as there is room for.
//! A line at the left joins the bands to the uplinks, but those out of which nothing leads. No text is wider than its
//! card: it is cut, and the whole of it is in the card's title, which a browser shows under the pointer.

use std::fmt::Write;

use super::picture::{Drawn, Node, Picture};

/// In pixels.
const WIDTH: usize = 960;
const MARGIN: usize = 20;
/// Where the line is that joins the bands.
const TRUNK: usize = MARGIN + 10;
const BAND_LEFT: usize = MARGIN + 36;
const BAND_WIDTH: usize = WIDTH - BAND_LEFT - MARGIN;
const PADDING: usize = 14;
const GAP: usize = 12;
const COLUMNS: usize = 4;
const CARD_WIDTH: usize = (BAND_WIDTH - 2 * PADDING - (COLUMNS - 1) * GAP) / COLUMNS;
const LINE: usize = 17;
/// The head of a band: its name, and what it is made of.
const HEAD: usize = 50;
/// The width of a character of 12 pixels in the usual monospace fonts, in tenths of a pixel.
const CHARACTER: usize = 73;
/// More ports than these are counted.
const PORTS: usize = 4;

const STYLE: &str = "\
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2933}\
.name{font-weight:bold}.big{font-size:15px;font-weight:bold}.dim{fill:#52606d}.port{fill:#0b5cad}\
.page{fill:#ffffff}.band{fill:#f3f6f9;stroke:#9fb3c8}.shut{stroke-dasharray:6 4}\
.card{fill:#ffffff;stroke:#9fb3c8}.up{fill:#2f9e63}.not-up{fill:#d64545}\
.trunk{stroke:#627d98;stroke-width:2;fill:none}.uplink{fill:#e3edf7;stroke:#627d98}\
@media (prefers-color-scheme:dark){text{fill:#e4e7eb}.dim{fill:#9aa5b1}.port{fill:#7cc4fa}.page{fill:#141a20}\
.band{fill:#1d252d;stroke:#486581}.card{fill:#26313b;stroke:#486581}.uplink{fill:#243b53;stroke:#829ab1}}";

/// The picture.
pub(super) fn drawn(picture: &Picture) -> String {
    let mut body = String::new();
    let uplinks = if picture.uplinks.is_empty() { "no default route".into() } else { picture.uplinks.join(", ") };
    rect(&mut body, "uplink", [MARGIN, MARGIN, WIDTH - 2 * MARGIN, 34]);
    let width = WIDTH - 2 * MARGIN - 2 * PADDING;
    text(&mut body, "name", MARGIN + PADDING, MARGIN + 22, &cut(&format!("uplinks: {uplinks}"), width));
    let (mut top, mut joined) = (MARGIN + 34 + GAP, MARGIN + 34);
    for network in &picture.networks {
        let height = band(&mut body, network, top);
        if network.leads_out {
            let at = top + HEAD / 2;
            let _ = writeln!(body, "<path class=\"trunk\" d=\"M{TRUNK} {joined}V{at}H{BAND_LEFT}\"/>");
            joined = at;
        }
        top += height + GAP;
    }
    let height = top + MARGIN - GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\">\n<title>Networks and containers of ocinet</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// A page with the picture, which asks no other server for anything.
pub(super) fn page(picture: &Picture) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>ocinet graph</title>\n\
         <style>body{{margin:0}}body>svg{{display:block;margin:auto;max-width:100%;height:auto}}\
         @media (prefers-color-scheme:dark){{body{{background:#141a20}}}}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        drawn(picture)
    )
}

/// Draws a network below `top`, and returns its height.
fn band(body: &mut String, network: &Drawn, top: usize) -> usize {
    let mut cards = String::new();
    let mut bottom = top + HEAD;
    for row in network.nodes.chunks(COLUMNS) {
        let tallest = row.iter().map(|node| lines(node).len()).max().unwrap_or(0) * LINE + PADDING;
        for (column, node) in row.iter().enumerate() {
            let left = BAND_LEFT + PADDING + column * (CARD_WIDTH + GAP);
            card(&mut cards, node, [left, bottom, CARD_WIDTH, tallest]);
        }
        bottom += tallest + GAP;
    }
    if network.nodes.is_empty() {
        text(&mut cards, "dim", BAND_LEFT + PADDING, bottom + 12, "no container");
        bottom += 24;
    }
    let height = bottom - top;
    let class = if network.leads_out { "band" } else { "band shut" };
    let facts = network.facts.join(" · ");
    let _ = writeln!(body, "<g><title>{}: {}</title>", escaped(&network.name), escaped(&facts));
    rect(body, class, [BAND_LEFT, top, BAND_WIDTH, height]);
    let width = BAND_WIDTH - 2 * PADDING;
    text(body, "big", BAND_LEFT + PADDING, top + 21, &cut(&network.name, width * 4 / 5));
    text(body, "dim", BAND_LEFT + PADDING, top + 40, &cut(&facts, width));
    let _ = write!(body, "</g>\n{cards}");
    height
}

/// Draws a container into the rectangle of left, top, width and height.
fn card(body: &mut String, node: &Node, area: [usize; 4]) {
    let [left, top, width, height] = area;
    let whole = [&node.addresses, &node.ports, &node.notes].into_iter().flatten();
    let whole: Vec<String> = whole.map(|line| escaped(line)).collect();
    let _ =
        writeln!(body, "<g><title>{} ({})\n{}</title>", escaped(&node.name), escaped(&node.status), whole.join("\n"));
    rect(body, "card", area);
    let status = if node.status == "up" { "up" } else { "not-up" };
    rect(body, status, [left, top, 5, height]);
    for (nth, (class, line)) in lines(node).iter().enumerate() {
        text(body, class, left + 13, top + 18 + nth * LINE, &cut(line, width - 20));
    }
    body.push_str("</g>\n");
}

/// The lines of a card, each with its class.
fn lines(node: &Node) -> Vec<(&'static str, String)> {
    let mut lines = vec![("name", node.name.clone())];
    lines.extend(Some(("dim", node.status.clone())).filter(|_| node.status != "up"));
    lines.extend(node.addresses.iter().map(|line| ("", line.clone())));
    let shown = if node.ports.len() > PORTS + 1 { PORTS } else { node.ports.len() };
    lines.extend(node.ports.iter().take(shown).map(|line| ("port", line.clone())));
    if shown < node.ports.len() {
        lines.push(("port", format!("and {} more", node.ports.len() - shown)));
    }
    lines.extend(node.notes.iter().map(|line| ("dim", line.clone())));
    lines
}

fn rect(body: &mut String, class: &str, [left, top, width, height]: [usize; 4]) {
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>"
    );
}

fn text(body: &mut String, class: &str, left: usize, base: usize, text: &str) {
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{left}\" y=\"{base}\">{}</text>", escaped(text));
}

/// `text` cut to `width` pixels. Characters that are not ASCII may be twice as wide as others.
fn cut(text: &str, width: usize) -> String {
    let of = |c: char| if c.is_ascii() || c == '·' { CHARACTER } else { 2 * CHARACTER };
    let room = width * 10;
    if text.chars().map(of).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut used = 2 * CHARACTER;
    let fits = |c: &char| {
        used += of(*c);
        used <= room
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// As the text of an element or the value of an attribute (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
