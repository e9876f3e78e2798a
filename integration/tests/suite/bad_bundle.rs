//! Bundles and settings that are wrong. Each is refused in one line that names the file or the field, and the host
//! stays as it is.

use anyhow::Result;
use ocinet_integration::{Host, Settings, every};

/// Damages the bundle of a container before its attach, calls the hook, and expects a refusal with `words`.
fn refused(host: &Host, damage: &str, words: &[&str]) -> Result<()> {
    let web = host.container("web").prepare()?;
    host.sh(&damage.replace("CONFIG", &format!("{}/config.json", web.bundle())))?;
    let refusal = host.unchanged_by(|| web.hook("createRuntime"))?;
    host.settles()?;
    refusal.is_refusal()?.says(words).map(drop)
}

/// `config.json` is missing, or is not a file with JSON in it. The hook does not wait for a writer of a FIFO.
#[test]
fn a_configuration_that_cannot_be_read() -> Result<()> {
    Settings::default().test(|host| {
        let damages = [
            "rm CONFIG",
            "rm CONFIG; mkfifo CONFIG",
            "rm CONFIG; mkdir CONFIG",
            "rm CONFIG; ln -s /dev/zero CONFIG",
            ": >CONFIG",
            "echo hello >CONFIG",
            "truncate --size=100 CONFIG",
            "jq '.root = 7' CONFIG >/mnt/new; mv /mnt/new CONFIG",
        ];
        every(damages, |damage| refused(host, damage, &["config.json"]))
    })
}

/// A duplicate key, of which programs read different ones: the hook and `prepare` refuse it alike.
#[test]
fn a_key_that_is_there_twice() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            (r#"s/^{/{"annotations":{"org.example":"x"},/"#, "annotations"),
            (r#"s/"annotations":{/&"io.ocinet.network":"none",/"#, "io.ocinet.network"),
            (r#"s/^{/{"hostname":"other",/"#, "hostname"),
        ];
        every(rows, |(edit, key)| {
            let twice = format!("sed -i '{edit}' CONFIG");
            refused(host, &twice, &["config.json", key])?;
            let web = host.container("web").prepare()?;
            host.sh(&twice.replace("CONFIG", &format!("{}/config.json", web.bundle())))?;
            let prepare = host.unchanged_by(|| host.ocinet(&format!("prepare {}", web.bundle())))?;
            prepare.is_refusal()?.says(&["config.json", key]).map(drop)
        })
    })
}

/// A specification without a root file system.
#[test]
fn a_specification_without_root() -> Result<()> {
    Settings::default().test(|host| {
        every(["del(.root)", ".root.path = \"\""], |edit| {
            refused(host, &format!("jq '{edit}' CONFIG >/mnt/new; mv /mnt/new CONFIG"), &["root"])
        })
    })
}

/// A namespace that is the host's own, or a path that is no namespace.
#[test]
fn a_namespace_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("touch /run/netns/host; mount --bind /proc/1/ns/net /run/netns/host")?;
        let paths =
            ["/proc/1/ns/net", "/run/netns/host", "/run/netns/none", "/etc/passwd", "/proc/1/ns/uts", "netns/x"];
        every(paths, |path| {
            let edit = format!(r#"(.linux.namespaces[] | select(.type == "network")).path = "{path}""#);
            refused(host, &format!("jq '{edit}' CONFIG >/mnt/new; mv /mnt/new CONFIG"), &[path])
        })?;
        host.sh("umount /run/netns/host; rm /run/netns/host").map(drop)
    })
}

/// Unknown or invalid settings of the host.
#[test]
fn settings_that_are_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let file = "/etc/ocinet/config.toml";
        let lines =
            [("colour = \"red\"", "colour"), ("default_network = 7", "default_network"), ("= =", "config.toml")];
        every(lines, |(line, word)| {
            let web = host.container("web").prepare()?;
            host.sh(&format!("echo '{line}' >{file}"))?;
            let refusal = host.unchanged_by(|| web.hook("createRuntime"));
            host.sh(&format!("rm {file}"))?;
            refusal?.is_refusal()?.says(&[file, word]).map(drop)
        })
    })
}
