//! Manual pages, from the one definition of the command line and the one table of annotation keys.

mod annotations;

use std::io;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use ocinet::engine::{Error, Result};
use ocinet::kernel;

use super::print;

/// Print the manual page ocinet(1), or write all of them.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write all pages there, as man1/ocinet.1 and so on; without it, ocinet(1) goes to stdout
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// As `man1/ocinet.1`.
    file: String,
    /// In the language of man(7).
    text: String,
}

/// What every page says of its origin.
const SOURCE: &str = concat!("ocinet ", env!("CARGO_PKG_VERSION"));

/// Pages of one version are alike whenever they are made. The crate would leave an empty argument out.
const NO_DATE: &str = "\"\"";

impl Arguments {
    pub(super) fn run(self) -> Result<()> {
        let pages = pages().map_err(|error| kernel::Error::refused("write manual pages", error))?;
        match self.directory {
            None => pages.first().map_or(Ok(()), |page| print(&page.text)),
            Some(directory) => Ok(pages
                .iter()
                .try_for_each(|page| kernel::write_public(&directory.join(&page.file), &page.text))
                .map_err(Error::from)?),
        }
    }
}

/// All pages, ocinet(1) first.
fn pages() -> io::Result<Vec<Page>> {
    let mut root = super::Arguments::command();
    // Only now do subcommands know their full names and what they inherit.
    root.build();
    let mut pages = Vec::new();
    add(&root, &mut pages)?;
    pages.push(Page { file: "man7/ocinet-annotations.7".into(), text: annotations::page().render() });
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let man = Man::new(command.clone()).date(NO_DATE).source(SOURCE).manual("ocinet");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    closing(command).to_writer(&mut text)?;
    pages
        .push(Page { file: format!("man1/{}", man.get_filename()), text: String::from_utf8_lossy(&text).into_owned() });
    command.get_subcommands().filter(|command| !command.is_hide_set()).try_for_each(|command| add(command, pages))
}

/// What clap does not know how to say.
fn closing(command: &Command) -> Roff {
    let mut roff = Roff::new();
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        let (head, lines) = help.split_once('\n').unwrap_or((&help, ""));
        section(&mut roff, "EXAMPLES");
        if let Some((_, place)) = head.trim_end_matches(':').split_once(", ") {
            roff.text([roman(format!("{}{}:", place[..1].to_uppercase(), &place[1..]))]);
        }
        literal(&mut roff, lines);
    }
    if !command.get_name().eq("ocinet") {
        see_also(&mut roff, &["ocinet(1)", "ocinet-annotations(7)"]);
        return roff;
    }
    section(&mut roff, "EXIT STATUS");
    for (code, meaning) in Error::EXIT_CODES {
        item(&mut roff, &code.to_string(), meaning);
    }
    section(&mut roff, "FILES");
    for (path, meaning) in FILES {
        item(&mut roff, path, meaning);
    }
    see_also(&mut roff, &["ocinet-annotations(7)", "runc(8)", "crun(1)"]);
    roff
}

const FILES: [(&str, &str); 2] = [
    ("/etc/ocinet/config.toml", "Settings of the host; every one has a default, and the file need not be there."),
    ("/run/ocinet", "Leases and records of this boot, for root alone."),
];

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn item(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []).text([clap_mangen::roff::bold(term)]).text([roman(meaning)]);
}

/// Lines that stay as they are.
fn literal(roff: &mut Roff, lines: &str) {
    roff.control("PP", []).control("RS", ["4"]).control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []).control("RE", []);
}

fn see_also(roff: &mut Roff, pages: &[&str]) {
    section(roff, "SEE ALSO");
    roff.text([roman(pages.join(", "))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let pages = pages().unwrap();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!((files.first(), files.last()), (Some(&"man1/ocinet.1"), Some(&"man7/ocinet-annotations.7")));
        assert!(files.contains(&"man1/ocinet-hook.1") && files.contains(&"man1/ocinet-network-inspect.1"), "{files:?}");
        for page in &pages {
            assert!(page.text.contains(".SH EXAMPLES") && page.text.contains(".SH \"SEE ALSO\""), "{}", page.file);
            assert!(page.text.contains(SOURCE), "{}", page.file);
        }
        assert!(pages[0].text.contains("config.toml"));
    }
}
