//! Manual pages, and in packaging/ the reference pages and the example of config.toml. All are made from the definition
//! of the command line and from the tables of annotations and settings.

mod annotations;
mod config;
mod document;
mod markdown;
mod notes;
mod publish;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use document::{Document, literal, section, see_also};

use ocinet::engine::Result;
use ocinet::kernel;
use ocinet::model::Invalid;

use super::print;

/// Show a manual page, or write all of them.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The page: a command as in `ocinet man network ls`, or annotations, config, publish; without it, ocinet(1). With a
    /// slash, as in ./man, a directory for all pages
    #[arg(value_name = "PAGE|DIR")]
    words: Vec<String>,
    /// Write the reference pages of packaging/doc to this directory instead, and the example config.toml beside it
    #[arg(long, hide = true, value_name = "DIR", conflicts_with = "words")]
    markdown: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// The path, such as `man1/ocinet.1`.
    file: String,
    text: String,
}

impl Page {
    /// Whether it is called so: by its whole name, or without the `ocinet-` at its beginning.
    fn is_called(&self, name: &str) -> bool {
        let own = Path::new(&self.file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        own == name || own.strip_prefix("ocinet").is_some_and(|rest| rest.trim_start_matches('-') == name)
    }
}

/// The source that every page names.
const SOURCE: &str = concat!("ocinet ", env!("CARGO_PKG_VERSION"));

/// Pages of one version are the same whenever they are made. The crate would leave out an empty argument.
const NO_DATE: &str = "\"\"";

impl Arguments {
    pub(super) fn run(self) -> Result<()> {
        if let Some(directory) = self.markdown {
            return write(&directory, &reference());
        }
        let pages = pages().map_err(|error| kernel::Error::refused("write manual pages", error))?;
        match &self.words[..] {
            [directory] if directory.contains('/') => write(Path::new(directory), &pages),
            words => show(words, &pages),
        }
    }
}

/// Shows a page with man(1) where a person reads it, or else prints its text, which `man -l -` reads.
fn show(words: &[String], pages: &[Page]) -> Result<()> {
    let name = words.join("-");
    let page = pages.iter().find(|page| page.is_called(&name)).ok_or_else(|| {
        let why =
            "is no page here; of files and of the shim there are ocinet-networks(5) and containerd-shim-ocinet-v2(8)";
        Invalid::new("page", words.join(" "), why)
    })?;
    match kernel::program("man") {
        Some(man) if kernel::terminal_columns().is_some() => {
            Err(kernel::become_reader(&man, &["-l"], &page.text).into())
        }
        _ => print(&page.text),
    }
}

fn write(directory: &Path, pages: &[Page]) -> Result<()> {
    Ok(pages.iter().try_for_each(|page| kernel::write_public(&directory.join(&page.file), &page.text))?)
}

/// The command line. Subcommands know their full names and global options only after `build`.
fn command_line() -> Command {
    let mut root = super::Arguments::command();
    root.build();
    root
}

/// The documents other than commands, with the file and title of their reference pages.
fn documents() -> [(Document, &'static str, &'static str); 3] {
    [
        (config::document(), "configuration.md", "Configuration"),
        (annotations::document(), "annotations.md", "Annotations"),
        (publish::document(), "publish.md", "Publishing ports"),
    ]
}

/// All manual pages, ocinet(1) first.
fn pages() -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    add(&command_line(), &mut pages)?;
    pages.extend(documents().map(|(document, ..)| Page { file: document.file(), text: document.manual() }));
    Ok(pages)
}

/// The reference pages of packaging/doc, and the file of packaging/examples that is made with them.
fn reference() -> Vec<Page> {
    let commands = Page { file: "commands.md".into(), text: markdown::commands(&command_line(), &notes::parts()) };
    let documents =
        documents().map(|(document, file, title)| Page { file: file.into(), text: markdown::page(&document, title) });
    let config = Page { file: "../examples/config.toml".into(), text: config::example_file() };
    documents.into_iter().chain([commands, config]).collect()
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

/// The sections of a manual page that clap cannot make.
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
    document::add(&mut roff, &notes::parts());
    see_also(&mut roff, &["ocinet-annotations(7)", "ocinet-publish(7)", "ocinet-config(5)", "runc(8)", "crun(1)"]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let pages = pages().unwrap();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files.first(), Some(&"man1/ocinet.1"));
        for file in ["man5/ocinet-config.5", "man7/ocinet-annotations.7", "man7/ocinet-publish.7"] {
            assert!(files.contains(&file), "{files:?}");
        }
        assert!(files.contains(&"man1/ocinet-hook.1") && files.contains(&"man1/ocinet-network-inspect.1"), "{files:?}");
        for page in &pages {
            assert!(page.text.contains(".SH EXAMPLES") && page.text.contains(".SH \"SEE ALSO\""), "{}", page.file);
            assert!(page.text.contains(SOURCE), "{}", page.file);
        }
        assert!(pages[0].text.contains("config.toml"));
    }

    #[test]
    fn pages_are_called_by_their_commands() {
        let pages = pages().unwrap();
        let found = |name: &str| pages.iter().find(|page| page.is_called(name)).map(|page| page.file.as_str());
        let rows = [
            ("", "man1/ocinet.1"),
            ("ocinet", "man1/ocinet.1"),
            ("ps", "man1/ocinet-ps.1"),
            ("ocinet-ps", "man1/ocinet-ps.1"),
            ("network-ls", "man1/ocinet-network-ls.1"),
            ("config", "man1/ocinet-config.1"),
            ("publish", "man7/ocinet-publish.7"),
        ];
        rows.iter().for_each(|(name, file)| assert_eq!(found(name), Some(*file), "{name}"));
        assert_eq!(found("p"), None);
    }

    #[test]
    fn the_reference_pages_are_what_is_made() {
        for Page { file, text } in reference() {
            let path = format!("{}/../packaging/doc/{file}", env!("CARGO_MANIFEST_DIR"));
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{path} is old: ocinet man --markdown packaging/doc");
        }
    }
}
