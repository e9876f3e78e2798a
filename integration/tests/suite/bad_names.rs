//! Names that would add other lines to a container's files. Each is refused in one line that names the annotation, and
//! the host stays as it is.

use anyhow::{Result, ensure};
use ocinet_integration::{Settings, every};

/// Characters that no name may contain, and names that are too long.
#[test]
fn a_name_that_is_wrong() -> Result<()> {
    let long = "x".repeat(300);
    let label = "y".repeat(64);
    let mut rows = Vec::new();
    for (key, before, after) in [
        ("name", "", ""),
        ("hostname", "", ""),
        ("dns-search", "", ""),
        ("dns-search", "lan.example,", ""),
        ("add-host", "", ":192.0.2.1"),
        ("add-host", "db:192.0.2.2,", ":192.0.2.1"),
    ] {
        for bad in ["a\nb", "a b", "a\tb", "a\u{1b}[2Jb", "a\u{a0}b", "ä", "-a", "a/b", "a#b", "a\\nb", "a\"b", &long]
        {
            // A list may be separated by blanks.
            if key != "dns-search" || bad != "a b" {
                rows.push((key, format!("{before}{bad}{after}")));
            }
        }
    }
    rows.extend([("name", "a,b".to_owned()), ("hostname", "a,b".to_owned()), ("name", String::new())]);
    rows.extend([("hostname", String::new()), ("hostname", label.clone()), ("hostname", format!("{label}.example"))]);
    rows.extend([("hostname", "a..b".to_owned()), ("name", "..".to_owned()), ("name", "a\0b".to_owned())]);
    refused(&rows)
}

/// Invalid addresses, options and pairs.
#[test]
fn a_value_that_is_wrong() -> Result<()> {
    let rows = [
        ("dns", "localhost"),
        ("dns", "192.0.2"),
        ("dns", "192.0.2.1;192.0.2.2"),
        ("dns", "192.0.2.1\nnameserver 192.0.2.2"),
        ("dns", "192.0.2.1:53"),
        ("dns-option", "a\tb"),
        ("dns-option", "ndots:2\nnameserver 192.0.2.1"),
        ("dns-option", "ndots:2;edns0"),
        ("add-host", "db"),
        ("add-host", "db:"),
        ("add-host", ":192.0.2.1"),
        ("add-host", "db:192.0.2"),
        ("add-host", "db:host-gatewayx"),
        ("add-host", "db:192.0.2.1 evil"),
        ("add-host", "db:192.0.2.1\n192.0.2.2\tbank"),
        ("add-host", "db=192.0.2.1"),
    ];
    refused(&rows.map(|(key, value)| (key, value.to_owned())))
}

/// Starts a container with each annotation alone, and expects a refusal in one short line that names the key.
fn refused(rows: &[(&str, String)]) -> Result<()> {
    Settings::default().test(|host| {
        let one = |(key, value): &(&str, String)| {
            let key = format!("io.ocinet.{key}");
            let draft = host.container("web").edit("del(.hostname)").annotation(&key, value);
            let refusal = draft.refused()?.exits(2)?.is_refusal()?.says(&[&key])?;
            let line = refusal.stderr.trim_end_matches('\n');
            ensure!(!line.contains(|c: char| c.is_control()) && line.len() < 500, "{} bytes: {line}", line.len());
            Ok(())
        };
        host.unchanged_by(|| every(rows, |row| one(row)))?;
        ensure!(host.sh("ls /run/ocinet")?.trim() == "log", "nothing but the record of it");
        Ok(())
    })
}
