//! The README: every command in it is run, in order, as typed.
//!
//! A block marked `sh` is run on a private host by one shell, in a copy of this tree. What would install things on the
//! machine has a stand-in there, which checks what it is asked for: see [`STAND_INS`]; ocinet itself is installed, but
//! not built. Nothing else is left out; a block in another language holds no command of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{Containerd, Release};
use ocinet_integration::{Host, Settings, every, ocinet, podman};

/// Programs that install or build, and what stands in for each: `$TREE` is this tree.
const STAND_INS: [(&str, &str); 4] = [
    // Every package has to be known.
    (
        "apt-get",
        r#"case "$1" in update) exit;; install) shift;; *) exit 1;; esac
           for name; do case "$name" in -*) ;; *) dpkg --status "$name" || apt-cache show "$name" ;; esac; done"#,
    ),
    // There is no systemd on a private host; the units are tested with their packages.
    ("systemctl", r#"test $# -gt 0"#),
    ("journalctl", r#"test $# -gt 0"#),
    // Nor a cluster; pods are tested without one.
    ("kubectl", r#"test "$1 $2" = "apply -f"; test -s "$3""#),
];

/// Scripts of this tree that install things on the machine, and are tests of their own.
const INSTALLERS: [&str; 3] = ["packaging/quickstart", "integration/test", "integration/compare"];

/// A fenced block of the README.
#[derive(Debug)]
struct Block {
    /// Where it begins.
    line: usize,
    /// The words behind the fence.
    language: String,
    text: String,
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn blocks() -> Result<Vec<Block>> {
    let readme = fs::read_to_string(tree().join("README.md"))?;
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(readme.lines()) {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block { line: number, language: language.trim().to_owned(), text: String::new() });
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
    ensure!(open.is_none() && !blocks.is_empty(), "a fence without an end: {open:?}");
    Ok(blocks)
}

/// What a reader has before the first command: this tree, and a machine to install things on.
fn lay_out(host: &Host) -> Result<()> {
    let tree = tree().canonicalize()?;
    host.sh(&format!(
        "mkdir /mnt/tree /mnt/tree/integration /mnt/stand-ins /mnt/tmp
         cp -a {0}/README.md {0}/LICENSE {0}/packaging /mnt/tree; cp -a {0}/integration/test /mnt/tree/integration",
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

/// All commands, by one shell, as one person would type them: each has to succeed.
#[test]
fn every_command_of_the_readme_works() -> Result<()> {
    let scripts: Vec<_> = blocks()?.into_iter().filter(|block| block.language == "sh").collect();
    ensure!(!scripts.is_empty(), "no block is marked sh");
    // What is typed must not wait for an answer; what it says goes to a file, since containers keep their output open.
    let mut script = format!(
        "exec </dev/null >/mnt/said 2>&1; cd /mnt/tree; export TMPDIR=/mnt/tmp OCINET_BIN={}
         PATH=/mnt/stand-ins:/usr/local/sbin:/usr/local/bin:$PATH\n",
        ocinet()?.display()
    );
    for Block { line, text, .. } in &scripts {
        script += &format!("echo '### README.md, line {line}'\n{text}");
    }
    Settings::default().prepare(podman::PREPARE).installable().test(|host| {
        lay_out(host)?;
        // As the package of containerd starts it, and with the shim that is installed only later.
        let containerd = Containerd::start(host, Release::V1_6)?;
        host.sh("rm /mnt/bin/containerd-shim-ocinet-v2")?;
        fs::write(host.path("/mnt/script"), format!("export {}\n{script}", containerd.environment()))?;
        let output = host.output(&["bash", "-euo", "pipefail", "/mnt/script"])?;
        let said = host.sh("cat /mnt/said")?;
        ensure!(output.code == 0, "{output}\n{said}");
        host.settles()?;
        // Runtimes and settings that a reader keeps.
        host.sh("find /etc/ocinet -mindepth 1 -delete").map(drop)
    })
}

/// A block in another language is output, a file or a usage; a command in it would be one that nobody runs.
#[test]
fn no_command_of_the_readme_is_left_out() -> Result<()> {
    let others: Vec<_> = blocks()?.into_iter().filter(|block| block.language != "sh").collect();
    every(others, |block| {
        let known = ["", "text", "json", "toml", "yaml", "ini", "systemd"].contains(&block.language.as_str());
        ensure!(known, "is {:?} to be run? then mark it sh", block.language);
        if block.language == "json" {
            serde_json::from_str::<serde_json::Value>(&block.text)?;
        }
        for line in block.text.lines().filter(|_| block.language.is_empty()) {
            let first = line.split_whitespace().next().unwrap_or_default();
            let commands = ["ocinet", "runc", "crun", "nft", "ip", "curl", "apt-get", "cargo", "systemctl", "$", "#"];
            ensure!(!commands.contains(&first), "{line:?} is a command: mark it sh");
            ensure!(
                !first.starts_with("integration/") && !first.starts_with("packaging/") || INSTALLERS.contains(&first),
                "{line:?}"
            );
        }
        Ok(())
    })
}

/// Files of this tree that the README names are there, and what one is told to run can be run.
#[test]
fn the_readme_names_what_there_is() -> Result<()> {
    let readme = fs::read_to_string(tree().join("README.md"))?;
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
    every(links, |link| {
        ensure!(tree().join(link).exists(), "no such file");
        Ok(())
    })?;
    every(INSTALLERS, |name| {
        let mode = fs::metadata(tree().join(name)).context("no such file")?.permissions().mode();
        ensure!(mode & 0o111 == 0o111, "nobody may run it: {mode:o}");
        Ok(())
    })
}
