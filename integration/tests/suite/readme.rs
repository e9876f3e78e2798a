//! The README and the pages of packaging/doc: every command in them is run, in order, as typed.
//!
//! A block marked `sh` is run on a private host by one shell, in a copy of this tree: the README up to its last block,
//! then each page in the folder `web` that the README made, and in the end the README's last block, which removes
//! everything. Programs that would install things on the machine are replaced by stand-ins, which check their
//! arguments: see [`STAND_INS`]. ocinet itself is installed, but not built. No other command is left out: a block in
//! another language holds no command of ours. A block marked `text output` is the output of the block before it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{Containerd, Release};
use ocinet_integration::{Host, Settings, every, ocinet, podman};

/// Programs that install or build, and what stands in for each: `$TREE` is this tree.
const STAND_INS: [(&str, &str); 4] = [
    // Every package has to exist.
    (
        "apt-get",
        r#"case "$1" in update) exit;; install) shift;; *) exit 1;; esac
           for name; do case "$name" in -*) ;; *) dpkg --status "$name" || apt-cache show "$name" ;; esac; done"#,
    ),
    // A private host has no systemd; the units are tested with their packages.
    ("systemctl", r#"test $# -gt 0"#),
    ("journalctl", r#"test $# -gt 0"#),
    // It has no cluster either; pods are tested without one.
    ("kubectl", r#"test "$1 $2" = "apply -f"; test -s "$3""#),
];

/// Scripts of this tree that install things on the machine, and are tests themselves.
const INSTALLERS: [&str; 4] = ["packaging/quickstart", "integration/test", "integration/bench", "integration/survive"];

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    /// The page, from the top of this tree.
    page: String,
    /// The number of its first line.
    line: usize,
    /// The words after the fence.
    language: String,
    text: String,
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README first, then the others in a set order.
fn pages() -> Result<Vec<String>> {
    let mut pages = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "SECURITY.md".to_owned()];
    let mut folder = fs::read_dir(tree().join("packaging/doc"))?
        .map(|entry| Ok(format!("packaging/doc/{}", entry?.file_name().display())))
        .collect::<Result<Vec<_>>>()?;
    folder.retain(|file| file.ends_with(".md"));
    folder.sort();
    ensure!(folder.len() > 20, "{folder:?}");
    pages.append(&mut folder);
    Ok(pages)
}

fn blocks(page: &str) -> Result<Vec<Block>> {
    let text = fs::read_to_string(tree().join(page))?;
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { page: page.to_owned(), line: number, language, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a fence without an end: {open:?}");
    Ok(blocks)
}

/// The blocks of all pages.
fn all_blocks() -> Result<Vec<Block>> {
    Ok(pages()?.iter().map(|page| blocks(page)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// What a reader has before the first command: this tree, and a machine to install things on.
fn lay_out(host: &Host) -> Result<()> {
    let tree = tree().canonicalize()?;
    host.sh(&format!(
        "mkdir /mnt/tree /mnt/tree/integration /mnt/stand-ins /mnt/tmp
         cp -a {0}/*.md {0}/LICENSE {0}/packaging /mnt/tree; cp -a {0}/integration/test /mnt/tree/integration",
        tree.display()
    ))?;
    let installers = INSTALLERS.map(|name| (format!("/mnt/tree/{name}"), "true"));
    let stand_ins = STAND_INS.map(|(name, script)| (format!("/mnt/stand-ins/{name}"), script));
    for (path, script) in installers.into_iter().chain(stand_ins) {
        let file = host.path(&path);
        fs::write(&file, format!("#!/bin/bash\nset -euo pipefail\n{script}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The line that is printed before the output of a block.
fn mark(block: &Block) -> String {
    format!("### {}, line {}", block.page, block.line)
}

/// The commands of these blocks, each after its mark.
fn commands(blocks: &[Block]) -> String {
    let blocks = blocks.iter().filter(|block| block.language == "sh");
    blocks.map(|block| format!("echo '{}'\n{}", mark(block), block.text)).collect()
}

/// All commands, as one person would type them. Each must succeed, and each page must remove its containers.
fn script() -> Result<String> {
    let mut readme = blocks("README.md")?;
    let last = readme.iter().rposition(|block| block.language == "sh").context("no block is marked sh")?;
    let rest = readme.split_off(last);
    let mut script = commands(&readme);
    for page in pages()?.iter().skip(1) {
        let typed = commands(&blocks(page)?);
        if !typed.is_empty() {
            script += &format!("(\n{typed})\ntest \"$(ocinet ps --json | jq length)\" = 0\n");
        }
    }
    Ok(script + &commands(&rest))
}

/// The words of a text, in which every age of less than a minute is one second.
fn ageless(text: &str) -> String {
    let is_age = |word: &str| word.strip_suffix('s').is_some_and(|number| number.parse::<u8>().is_ok());
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| if is_age(word) { "1s" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What the pages show as output was printed.
fn shows_the_truth(said: &str) -> Result<()> {
    let all = all_blocks()?;
    let pairs: Vec<_> = all.windows(2).filter(|pair| pair[1].language == "text output").collect();
    ensure!(pairs.len() > 5, "no output is shown");
    every(pairs, |pair| {
        let (_, rest) = said.split_once(&mark(&pair[0])).context("the block was not run")?;
        let said = rest.split("###").next().unwrap_or_default();
        ensure!(ageless(said).ends_with(&ageless(&pair[1].text)), "it says\n{said}");
        Ok(())
    })
}

#[test]
fn every_command_of_the_readme_and_the_pages_works() -> Result<()> {
    // No command may wait for input. The output goes to a file, since containers keep it open.
    let script = format!(
        "exec </dev/null >/mnt/said 2>&1; cd /mnt/tree; export TMPDIR=/mnt/tmp OCINET_BIN={}
         PATH=/mnt/stand-ins:/usr/local/sbin:/usr/local/bin:$PATH\n{}",
        ocinet()?.display(),
        script()?
    );
    Settings::default().prepare(podman::PREPARE).installable().test(|host| {
        lay_out(host)?;
        // Starts containerd as its package does. The shim is installed only later.
        let containerd = Containerd::start(host, Release::V1_6)?;
        host.sh("rm /mnt/bin/containerd-shim-ocinet-v2")?;
        fs::write(host.path("/mnt/script"), format!("export {}\n{script}", containerd.environment()))?;
        let output = host.output(&["bash", "-euo", "pipefail", "/mnt/script"])?;
        let said = host.sh("cat /mnt/said")?;
        ensure!(output.code == 0, "{output}\n{said}");
        shows_the_truth(&said)?;
        host.settles()?;
        // Files of runtimes and settings that a reader keeps.
        host.sh("find /etc/ocinet -mindepth 1 -delete").map(drop)
    })
}

/// A block in another language is output, a file or a usage line. A command in it would not be tested.
#[test]
fn no_command_of_the_readme_is_left_out() -> Result<()> {
    let others: Vec<_> = all_blocks()?.into_iter().filter(|block| block.language != "sh").collect();
    every(others, |block| {
        let known = ["", "text", "text output", "json", "toml", "yaml", "ini", "systemd"];
        ensure!(known.contains(&block.language.as_str()), "is {:?} to be run? then mark it sh", block.language);
        if block.language == "json" {
            serde_json::from_str::<serde_json::Value>(&block.text)?;
        }
        for line in block.text.lines().filter(|_| block.language.is_empty()) {
            let first = line.split_whitespace().next().unwrap_or_default();
            let commands = ["ocinet", "runc", "crun", "nft", "ip", "curl", "apt-get", "systemctl", "$", "#"];
            ensure!(!commands.contains(&first), "{line:?} is a command: mark it sh");
            ensure!(
                !first.starts_with("integration/") && !first.starts_with("packaging/") || INSTALLERS.contains(&first),
                "{line:?}"
            );
        }
        Ok(())
    })
}

/// The README must be short; details are in the other pages.
#[test]
fn the_readme_is_short() -> Result<()> {
    let lines = fs::read_to_string(tree().join("README.md"))?.lines().count();
    ensure!(lines <= 150, "{lines} lines");
    Ok(())
}

/// The name of a heading in a link.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Links lead to files of this tree and to headings in them, every page is linked, and each script that a page names
/// can be executed.
#[test]
fn the_readme_names_what_there_is() -> Result<()> {
    let pages = pages()?;
    let mut led_to = Vec::new();
    for page in pages.iter().map(String::as_str).chain(["CHANGELOG.md", "ARCHITECTURE.md"]) {
        let text = fs::read_to_string(tree().join(page))?;
        let folder = tree().join(page).parent().context("a folder")?.to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { tree().join(page) } else { folder.join(file) };
            let path = path.canonicalize().with_context(|| format!("{page} leads to {link}"))?;
            if !heading.is_empty() {
                let target = fs::read_to_string(&path)?;
                let mut headings = target.lines().filter(|line| line.starts_with('#')).map(anchor);
                ensure!(headings.any(|anchor| anchor == heading), "{page} leads to {link}: no such heading");
            }
            led_to.push(path);
        }
    }
    for page in &pages {
        ensure!(led_to.contains(&tree().join(page).canonicalize()?), "nothing leads to {page}");
    }
    every(INSTALLERS, |name| {
        let mode = fs::metadata(tree().join(name)).context("no such file")?.permissions().mode();
        ensure!(mode & 0o111 == 0o111, "it is not executable: {mode:o}");
        Ok(())
    })
}
