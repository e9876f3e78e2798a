//! Attacks on the input of the hook: from a runtime, in the environment, in its state directory.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Attack, Outcome};
use crate::{Container, Host, OCINET, Output};

/// Attacks by what the hook is given: names, paths, the environment, the state directory.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        what: "an id, a name, an interface or a label ends a rule and begins another",
        seen: "CWE-74",
        guard: "types; labels without quotes",
        prepare: "nft delete table inet stranger",
        story: injected_rule,
    },
    Attack {
        what: "an id is a path that leads elsewhere (../)",
        seen: "CVE-2021-20206",
        guard: "types; names of files are hashes",
        prepare: "",
        story: id_as_a_path,
    },
    Attack {
        what: "the environment names other programs and libraries (PATH, LD_PRELOAD)",
        seen: "CVE-2025-23266",
        guard: "a static program that clears it",
        prepare: "",
        story: environment,
    },
    Attack {
        what: "the state directory is there already: another user's, a link, open to others",
        seen: "CWE-377",
        guard: "refused",
        prepare: "",
        story: planted_directory,
    },
];

/// Calls the hook with a false value for `key`: an attach and a detach.
fn told(container: &Container<'_>, host: &Host, key: &str, lie: &str) -> Result<Output> {
    let mut state = container.state("createRuntime");
    match key {
        "id" => state["id"] = json!(lie),
        _ => state["annotations"][key] = json!(lie),
    }
    let output = host.hook("createRuntime", state.to_string())?;
    state["pid"] = json!(0);
    host.hook("poststop", state.to_string())?;
    Ok(output)
}

fn injected_rule(host: &Host) -> Result<Outcome> {
    const LIE: &str = "x\"; }\nflush ruleset\n#";
    let container = host.container("web").publish("8080:80").prepare()?;
    let there = || -> Result<bool> { Ok(host.output(&["nft", "list", "table", "ip", "victim"])?.code == 0) };
    host.sh("nft add table ip victim")?;
    for (key, lie) in [
        ("id", LIE),
        ("io.ocinet.name", LIE),
        ("io.ocinet.hostname", LIE),
        ("io.ocinet.network", "bridge:interface=x; flush ruleset"),
        ("io.ocinet.network", "bridge:interface=;flush ruleset"),
        ("io.ocinet.publish", "8080:80; flush ruleset"),
        ("io.ocinet.add-host", "x; flush ruleset:192.0.2.1"),
        // A name of the greatest length for an interface, with characters that are special to a shell and to nft.
        ("io.ocinet.network", "bridge:interface=*;`reboot`"),
    ] {
        told(&container, host, key, lie)?;
    }
    let guarded = !there()?;
    // The positive control: the text that a program would load which inserts a name without quoting it.
    host.sh(&format!("nft -f - <<'RULES'\nadd table ip naive {{ comment \"{LIE}\"; }}\nRULES"))?;
    Ok(Outcome { guarded, unguarded: !there()? })
}

fn id_as_a_path(host: &Host) -> Result<Outcome> {
    const ID: &str = "../../../mnt/precious";
    let container = host.container("web").prepare()?;
    let _first = host.container("first").run()?;
    let gone = || -> Result<bool> { Ok(host.output(&["test", "-e", "/mnt/precious/file"])?.code != 0) };
    let plant = || host.sh("mkdir -p /mnt/precious; echo >/mnt/precious/file");
    plant()?;
    told(&container, host, "id", ID)?.exits(2)?;
    // A runtime may ask for the removal of a container whose annotations were once accepted.
    told(&container, host, "io.ocinet.name", ID)?.exits(2)?;
    let guarded = gone()?;
    host.sh(&format!("mkdir -p /run/ocinet/containers; rm -r /run/ocinet/containers/{ID}"))?;
    Ok(Outcome { guarded, unguarded: gone()? })
}

fn environment(host: &Host) -> Result<Outcome> {
    host.sh("mkdir /mnt/evil
         for program in nft tc ip iptables modprobe sh; do
             printf '#!/bin/busybox sh\\nbusybox touch /mnt/evil/ran' >/mnt/evil/$program; chmod +x /mnt/evil/$program
         done")?;
    // `LD_DEBUG_OUTPUT` shows whether the dynamic loader obeys these variables: a loader that writes there would also
    // load a library named there.
    let poisoned =
        "env PATH=/mnt/evil:$PATH LD_PRELOAD=/mnt/evil/none.so LD_DEBUG=files LD_DEBUG_OUTPUT=/mnt/evil/loaded";
    let traces = || -> Result<bool> { Ok(!host.sh("ls /mnt/evil | grep -E 'ran|loaded' || true")?.is_empty()) };
    let container = host.container("web").publish("8080:80").prepare()?;
    for stage in ["createRuntime", "poststop"] {
        host.sh(&format!("{poisoned} {OCINET} hook {stage} <<'STATE'\n{}\nSTATE", container.state(stage)))?;
    }
    let guarded = traces()?;
    host.sh(&format!("{poisoned} nft list tables >/dev/null 2>&1 || true"))?;
    Ok(Outcome { guarded, unguarded: traces()? })
}

fn planted_directory(host: &Host) -> Result<Outcome> {
    let container = host.container("web").prepare()?;
    let mut guarded = false;
    for plant in [
        "mkdir -m 0700 /run/ocinet; chown 1000 /run/ocinet",
        "mkdir -m 0755 /run/ocinet",
        "mkdir -m 0770 /run/ocinet",
        "mkdir -m 0700 /mnt/elsewhere; ln -s /mnt/elsewhere /run/ocinet",
        "touch /run/ocinet",
        "mkfifo /run/ocinet",
    ] {
        host.sh(plant)?;
        let used = host.unchanged_by(|| container.hook("createRuntime"))?;
        guarded |= used.code == 0;
        used.exits(1)?.says(&["/run/ocinet"]).context(plant)?;
        host.sh("rm -rf /run/ocinet /mnt/elsewhere")?;
    }
    // The positive control: the same directory made by root with the right mode.
    host.sh("mkdir -m 0700 /run/ocinet")?;
    let unguarded = container.hook("createRuntime")?.code == 0;
    container.hook("poststop")?.success()?;
    Ok(Outcome { guarded, unguarded })
}
