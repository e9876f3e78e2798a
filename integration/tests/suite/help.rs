//! The command line itself: help, manual pages, completions, tables, and errors for wrong arguments.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, OCINET, Output, Settings, every, ocinet};

/// Every command with its subcommands, as `--help` lists them.
fn commands(host: &Host, parent: &str) -> Result<Vec<String>> {
    let help = host.ocinet(&format!("{parent} --help"))?.success()?;
    let list = help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    let mut all = vec![parent.to_owned()];
    for line in list.lines() {
        let name = line.split_whitespace().next().context("a name")?;
        all.extend(commands(host, format!("{parent} {name}").trim())?);
    }
    Ok(all)
}

/// The help of every command has an example.
#[test]
fn every_help_has_an_example() -> Result<()> {
    Settings::default().test(|host| {
        let all = commands(host, "")?;
        ensure!(all.len() > 10 && all.contains(&"network inspect".to_owned()), "{all:?}");
        every(all, |command| {
            every(["--help", "-h"], |flag| {
                let help = host.ocinet(&format!("{command} {flag}"))?.success()?;
                let (_, example) = help.split_once("Example").with_context(|| help.clone())?;
                ensure!(example.contains("ocinet"), "{help}");
                ensure!(help.lines().all(|line| line.chars().count() <= 200), "{help}");
                Ok(())
            })
        })
    })
}

/// Each error is one line, with a suggestion if there is one.
#[test]
fn a_command_line_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows: [(&str, &[&str]); 13] = [
            ("isnpect web", &["isnpect", "inspect"]),
            ("network lss", &["lss", "ls"]),
            ("network inspct bridge", &["inspct", "inspect"]),
            ("ps --jsn", &["--jsn", "--json"]),
            ("hook createruntime", &["createruntime", "createRuntime"]),
            ("completion bsh", &["bsh", "bash"]),
            ("--nonsense", &["--nonsense"]),
            ("gc now", &["now"]),
            ("inspect", &["CONTAINER"]),
            ("inspect one two", &["two"]),
            ("port web 99999", &["99999"]),
            ("plan", &["BUNDLE"]),
            ("--state-dir", &["--state-dir"]),
        ];
        host.unchanged_by(|| {
            every(rows, |(line, words)| host.ocinet(line)?.exits(2)?.is_refusal()?.says(words).map(drop))
        })
    })
}

/// A word of Docker's or podman's is answered with where what it means is; `reset` is suggested to nobody.
#[test]
fn words_of_others() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("logs web", "ocinet log"),
            ("stop web", "by their runtime"),
            ("run -d nginx", "podman run"),
            ("run --rm nginx", "the runtime's to do"),
            ("exec web sh", "the runtime's to do"),
            ("stats", "ocinet ps --stats"),
            ("info", "ocinet doctor"),
            ("connect a b", "ocinet network connect"),
            ("compose up", "ocinet network create"),
            ("prepare --link db /mnt/b", "--network NAME"),
            ("prepare -d /mnt/b", "ocinet run --detach"),
            ("prepare --expose 80 /mnt/b", "-p publishes one"),
            ("prepare --port=80 /mnt/b", "--publish"),
            ("prepare --restart=always /mnt/b", "Restart="),
            ("delete web", "by their runtime"),
            ("state web", "the runtime's to do"),
            ("help delete", "by their runtime"),
            ("network create --subnet 10.64.7.0 back", "10.64.7.0/24"),
            ("network create --subnet nonsense back", "such as 10.64.7.0/24"),
            ("network connect web bridge", "the network comes first: bridge web"),
            ("network disconnect web bridge", "the network comes first: bridge web"),
        ];
        host.unchanged_by(|| {
            every(rows, |(line, words)| host.ocinet(line)?.exits(2)?.is_refusal()?.says(&[words]).map(drop))
        })?;
        for line in ["rset", "rese", "resett"] {
            let told = host.ocinet(line)?.exits(2)?.is_refusal()?.stderr;
            ensure!(!told.contains("'reset'"), "{told}");
        }
        ensure!(host.ocinet("help")?.success()? == host.ocinet("--help")?.success()?, "help");
        ensure!(host.ocinet("help network ls")?.success()? == host.ocinet("network ls --help")?.success()?, "help");
        ensure!(host.ocinet("network help")?.success()? == host.ocinet("network --help")?.success()?, "help");
        ensure!(host.ocinet("version")?.success()? == host.ocinet("--version")?.success()?, "version");
        host.ocinet("prepare --publsh 80")?.exits(2)?.says(&["ocinet prepare --help"])?;
        Ok(())
    })
}

/// An ordinary user, and root of a user namespace as under a rootless runtime, are told to be root, and why.
#[test]
fn who_is_not_root_is_told() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        let as_user = |line: &str| {
            let script = format!("setpriv --reuid 1000 --clear-groups {OCINET} {line}");
            host.output(&["sh", "-c", &script])
        };
        every(["ps", "inspect web", "gc", "reset", "network create x"], |line| {
            as_user(line)?.is_one_line()?.says(&["as root"]).map(drop)
        })?;
        let other = host.container("other").prepare()?;
        let mut hook = host.command(&["unshare", "--user", "--map-root-user", OCINET, "hook", "createRuntime"]);
        let refused = Output::of(&mut hook, other.state("createRuntime").to_string().as_bytes())?;
        refused.is_one_line()?.says(&["rootless"])?;
        Ok(())
    })
}

/// What a terminal that prints on paper would show: bold and underlined text is printed twice in one place.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\u{8}' => drop(plain.pop()),
            _ => plain.push(c),
        }
    }
    plain
}

/// The pages are valid for `man`, and contain all commands.
#[test]
fn the_manual_can_be_read() -> Result<()> {
    Settings::default().test(|host| {
        host.ocinet("man /mnt/man")?.success()?;
        let pages = host.sh("cd /mnt/man; find . -type f | sort")?;
        let commands = commands(host, "")?.into_iter().map(|name| name.replace(' ', "-"));
        let expected = commands.map(|name| format!("./man1/{}.1", format!("ocinet-{name}").trim_end_matches('-')));
        every(expected.chain(["./man7/ocinet-annotations.7".to_owned()]), |page| {
            ensure!(pages.lines().any(|line| line == page), "no such page in {pages}");
            Ok(())
        })?;
        ensure!(host.sh("cat /mnt/man/man1/ocinet.1")? == host.ocinet("man")?.success()?, "one page, two ways");
        let annotations = host.sh("cat /mnt/man/man7/ocinet-annotations.7")?.replace('\\', "");
        let keys = ["network", "publish", "name", "hostname", "dns", "dns-search", "dns-option", "add-host"];
        every(keys, |key| {
            ensure!(annotations.contains(&format!("io.ocinet.{key}")), "is not in the manual");
            Ok(())
        })?;
        // A page of a command, on a terminal and in a pipe.
        ensure!(
            host.ocinet("man network ls")?.success()? == host.sh("cat /mnt/man/man1/ocinet-network-ls.1")?,
            "in a pipe"
        );
        let line = format!("MANPAGER=cat {OCINET} man ps");
        let read = host.output(&["script", "--quiet", "--return", "--command", &line, "/dev/null"])?.success()?;
        let read = plain(&read);
        ensure!(read.contains("NAME") && read.contains("ocinet-ps - ") && !read.contains(".SH"), "{read}");
        host.ocinet("man pss")?.exits(2)?.is_one_line()?.says(&["pss", "ocinet-networks(5)"])?;
        let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").canonicalize()?;
        host.sh(&format!("cp -r {}/. /mnt/man", written.display()))?;
        let pages = host.sh("cd /mnt/man; find . -type f | sort")?;
        every(pages.lines(), |page| {
            let script = format!("cd /mnt/man; LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings --local-file {page}");
            let read = host.output(&["sh", "-c", &script])?.exits(0)?;
            ensure!(read.stderr.is_empty() && read.stdout.contains("ocinet"), "{read}");
            Ok(())
        })
    })
}

/// The page of the shim names what its commands take, and that of the definitions of networks every key of the other page
/// about them.
#[test]
fn the_pages_that_are_not_made_are_complete() -> Result<()> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let read = |file: &str| std::fs::read_to_string(packaging.join(file)).with_context(|| file.to_owned());
    let page = read("man/man5/ocinet-networks.5")?;
    let table = read("doc/networks.md")?;
    let rows =
        table.split("| key | what it says").nth(1).and_then(|rest| rest.split("\n\n").next()).context("a table")?;
    let cells =
        rows.lines().filter_map(|row| row.split(" | ").next()).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let keys: Vec<&str> = cells.filter(|key| !key.starts_with('[')).collect();
    ensure!(keys.len() > 18, "{keys:?}");
    every(keys, |key| {
        ensure!(page.contains(&format!("\n\\fB{key}\\fR = ")), "is not on the page");
        Ok(())
    })?;
    Settings::default().test(|host| {
        // Its example is a definition.
        let example = page.split(".nf\n").nth(1).and_then(|rest| rest.split(".fi").next()).context("an example")?;
        std::fs::create_dir_all(host.path("/etc/ocinet/networks"))?;
        std::fs::write(host.path("/etc/ocinet/networks/shop.toml"), example)?;
        let checked = host.ocinet("network inspect shop");
        host.sh("rm -r /etc/ocinet/networks")?;
        ensure!(checked?.success()?.contains("10.70.0.128/25"), "the example");
        let shim = read("man/man8/containerd-shim-ocinet-v2.8")?;
        let said = host.sh(&format!(
            "for command in '' serve events; do {}-shim-ocinet-v2 $command --help; done",
            ocinet()?.with_file_name("containerd").display()
        ))?;
        let words = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with("--"));
        every(words.collect::<Vec<_>>(), |flag| {
            ensure!(shim.contains(*flag), "is not on the page of the shim");
            Ok(())
        })
    })
}

/// The shells accept their scripts, and one script is tried.
#[test]
fn the_shells_accept_their_completions() -> Result<()> {
    Settings::default().test(|host| {
        every(["bash", "zsh", "fish"], |shell| {
            host.sh(&format!("{OCINET} completion {shell} >/mnt/completion.{shell}"))?;
            let script = format!("! command -v {shell} >/dev/null || {shell} -n /mnt/completion.{shell}");
            let output = host.output(&["sh", "-c", &script])?.exits(0)?;
            ensure!(output.stderr.is_empty(), "{output}");
            Ok(())
        })?;
        let _web = host.container("shop").publish("8080:80").run()?;
        let rows = [
            ("ins", "inspect"),
            ("net", "network"),
            ("ps --no", "--no-trunc"),
            ("inspect sh", "shop"),
            ("port shop 8", "80/tcp"),
            ("log s", "shop"),
            ("doctor s", "shop"),
            ("network inspect br", "bridge"),
            ("explain sh", "shop"),
            ("explain shop br", "bridge"),
            ("explain la", "lan"),
            ("graph --format ht", "html"),
            ("network connect bridge s", "shop"),
            ("prepare --network container:", "container:shop"),
            ("prepare --network n", "none"),
            ("hook cr", "createRuntime"),
        ];
        every(rows, |(typed, whole)| {
            let last = typed.rsplit(' ').next().unwrap_or_default();
            let script = format!(
                "PATH=/mnt/bin:$PATH; source /mnt/completion.bash; COMP_WORDS=(ocinet {typed})
                 COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _clap_complete_ocinet ocinet {last} x; echo \"${{COMPREPLY[*]}}\""
            );
            let completed = host.output(&["bash", "-c", &script])?.success()?;
            ensure!(completed.trim() == *whole, "{typed}: {completed}");
            Ok(())
        })
    })
}

/// With `--timings` each step is printed with its duration, without it nothing is.
#[test]
fn timings_tell_each_step() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        let hook = |stage: &str, steps: &[&str]| -> Result<()> {
            let mut command = host.command(&[OCINET, "hook", stage, "--timings"]);
            let told = Output::of(&mut command, web.state(stage).to_string().as_bytes())?.exits(0)?;
            ensure!(told.stdout.is_empty(), "{told}");
            let mut times = Vec::new();
            for line in told.stderr.lines() {
                let [who, step, time, unit] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                    anyhow::bail!("{line:?} is no step");
                };
                ensure!(who == "ocinet:" && unit == "us", "{line:?}");
                times.push((step.to_owned(), time.parse::<u64>()?));
            }
            let locks = times.iter().filter(|(name, _)| name.starts_with("lock:")).count();
            ensure!(times.drain(times.len() - locks..).all(|(name, _)| name.starts_with("lock:")), "{told}");
            ensure!(locks > 2 && !times.is_empty() && times.remove(0).0 == "start", "{told}");
            let (last, total) = times.pop().context("no line")?;
            ensure!(last == "total" && total == times.iter().map(|(_, time)| time).sum::<u64>(), "{told}");
            let named = |step: &&&str| times.iter().any(|(name, _)| name == **step);
            ensure!(steps.iter().filter(named).count() == steps.len(), "{steps:?} in {told}");
            Ok(())
        };
        hook("createRuntime", &["state", "request", "namespace", "lease", "firewall", "links", "sandbox", "seal"])?;
        hook("poststop", &["state", "rest"])
    })
}

/// On a terminal a table fits its width, and has colour unless switched off; elsewhere it is plain text.
#[test]
fn tables_fit_the_terminal() -> Result<()> {
    Settings::default().test(|host| {
        let ports = "8080:80,8081:81,127.0.0.1:8082:82,9000-9100:9000-9100,127.0.0.1:53:53/udp";
        let _web = host.container("a-container-with-quite-a-long-name").publish(ports).run()?;
        let on_terminal = |columns: u16, more: &str| {
            let line = format!("stty cols {columns}; {more} {OCINET} ps");
            host.output(&["script", "--quiet", "--return", "--command", &line, "/dev/null"])?.success()
        };
        ensure!(!host.ocinet("ps")?.success()?.contains('\u{1b}'), "colour in a pipe");
        every([60, 100, 200], |columns| {
            let table = on_terminal(*columns, "NO_COLOR=1 TERM=xterm")?;
            ensure!(!table.contains('\u{1b}'), "{table:?}");
            let widest = table.lines().map(|line| line.trim_end().chars().count()).max();
            ensure!(widest <= Some(usize::from(*columns)), "{widest:?} columns:\n{table}");
            Ok(())
        })?;
        ensure!(on_terminal(100, "env -u NO_COLOR TERM=xterm")?.contains('\u{1b}'), "no colour on a terminal");
        ensure!(!on_terminal(100, "TERM=dumb")?.contains('\u{1b}'), "colour on a dumb terminal");
        Ok(())
    })
}
