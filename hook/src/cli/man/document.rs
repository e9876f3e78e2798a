//! A reference page, printed in two forms: for man(1) and as Markdown.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{NO_DATE, SOURCE};

/// A page. In its texts, backticks mark what is typed literally.
pub(super) struct Document {
    /// The name, such as `ocinet-publish`.
    pub name: &'static str,
    /// The section of the manual.
    pub section: &'static str,
    /// What follows the name, without a full stop.
    pub summary: &'static str,
    /// What follows the name, in this order.
    pub parts: Vec<Part>,
    /// Other pages, such as `ocinet(1)`.
    pub see_also: &'static [&'static str],
}

/// A part of a page.
pub(super) enum Part {
    /// A heading.
    Section(&'static str),
    /// Running text.
    Paragraph(String),
    /// Two columns, under these headings.
    Table([&'static str; 2], Vec<(String, String)>),
    /// An entry for a key of a table in the code.
    Key {
        name: &'static str,
        /// The form of its value.
        grammar: &'static str,
        paragraphs: &'static [&'static str],
        example: String,
    },
    /// Lines that stay as they are, in this language.
    Literal(&'static str, String),
}

impl Part {
    pub(super) fn paragraph(text: &str) -> Self {
        Self::Paragraph(text.to_owned())
    }

    pub(super) fn table(head: [&'static str; 2], rows: &[(&str, &str)]) -> Self {
        Self::Table(head, rows.iter().map(|(term, meaning)| ((*term).to_owned(), (*meaning).to_owned())).collect())
    }
}

impl Document {
    /// The path at which man(1) looks for it, such as `man7/ocinet-publish.7`.
    pub(super) fn file(&self) -> String {
        format!("man{0}/{1}.{0}", self.section, self.name)
    }

    /// The page in the markup of man(7).
    pub(super) fn manual(&self) -> String {
        let mut roff = Roff::new();
        roff.control("TH", [self.name, self.section, NO_DATE, SOURCE, "ocinet"]);
        section(&mut roff, "NAME");
        roff.text([roman(format!("{} - {}", self.name, self.summary))]);
        section(&mut roff, "DESCRIPTION");
        add(&mut roff, &self.parts);
        see_also(&mut roff, self.see_also);
        roff.render()
    }
}

/// `text` as lines that begin with `prefix`.
pub(super) fn folded(text: &str, prefix: &str) -> String {
    const WIDTH: usize = 120;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("{prefix}{word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Adds parts to a manual page.
pub(super) fn add(roff: &mut Roff, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Section(title) => section(roff, &title.to_uppercase()),
            Part::Paragraph(text) => {
                roff.control("PP", []).text(inline(text));
            }
            Part::Table(_, rows) => {
                for (term, meaning) in rows {
                    roff.control("TP", []).text(inline(term)).text(inline(meaning));
                }
            }
            Part::Key { name, grammar, paragraphs, example } => {
                roff.control("TP", []).text([bold(*name), roman(" = "), italic(*grammar)]);
                for (index, paragraph) in paragraphs.iter().enumerate() {
                    if index > 0 {
                        roff.control("IP", []);
                    }
                    roff.text(inline(paragraph));
                }
                roff.control("IP", []).text([roman("Example: "), bold(example)]);
            }
            Part::Literal(_, lines) => literal(roff, lines),
        }
    }
}

/// Text between backticks becomes bold.
fn inline(text: &str) -> Vec<Inline> {
    text.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

/// Begins a section of a manual page.
pub(super) fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

/// Lines that stay as they are.
pub(super) fn literal(roff: &mut Roff, lines: &str) {
    roff.control("PP", []).control("RS", ["4"]).control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []).control("RE", []);
}

/// The last section of a manual page, which names others.
pub(super) fn see_also(roff: &mut Roff, pages: &[&str]) {
    section(roff, "SEE ALSO");
    roff.text([roman(pages.join(", "))]);
}
