//! `ocinet metrics`: what Prometheus reads of a host.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, Proto::Tcp, Settings, UPLINK, with_every_firewall};

/// The value of the sample that `line` begins, as it is written.
fn value<'t>(text: &'t str, sample: &str) -> Result<&'t str> {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.with_context(|| format!("no {sample} in\n{text}"))
}

/// Prometheus's text format: each sample stands behind the help and the type of its name.
fn check(text: &str) -> Result<()> {
    let mut families = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').with_context(|| line.to_owned())?;
            ensure!(["gauge", "counter", "histogram"].contains(&kind) && families.insert(name), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let name = sample.split('{').next().unwrap_or_default();
            let parts = ["_bucket", "_sum", "_count"];
            let family = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            ensure!(families.contains(name) || families.contains(family), "{line} has no type in\n{text}");
            value.parse::<f64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(())
}

fn metrics(host: &Host) -> Result<String> {
    let text = host.ocinet("metrics")?.success()?;
    check(&text)?;
    Ok(text)
}

/// Containers, ports, packets, refusals and times, and whether the rules are whole.
#[test]
fn numbers_of_a_host() -> Result<()> {
    with_every_firewall(|host| {
        let unused = metrics(host)?;
        ensure!(unused.contains("ocinet_build_info{version=") && !unused.contains("ocinet_containers"), "{unused}");
        let web = host.container("web").publish("8080-8081:80-81,80:80/udp").run()?;
        let db = host.container("db").run()?;
        host.container("next").publish("8080:80").refused()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let text = metrics(host)?;
        for (sample, expected) in [
            ("ocinet_containers{status=\"up\"}", "2"),
            ("ocinet_containers{status=\"dead\"}", "0"),
            ("ocinet_endpoints{network=\"bridge\"}", "2"),
            ("ocinet_published_ports{protocol=\"tcp\"}", "2"),
            ("ocinet_published_ports{protocol=\"udp\"}", "1"),
            ("ocinet_recent_refusals{exit=\"3\"}", "1"),
            ("ocinet_recent_attach_seconds_count", "2"),
            ("ocinet_rules_whole", "1"),
        ] {
            ensure!(value(&text, sample)? == expected, "{sample} {expected} in\n{text}");
        }
        let received = "ocinet_container_receive_bytes_total{id=\"web\",name=\"web\",network=\"bridge\"}";
        ensure!(value(&text, received)?.parse::<u64>()? > 100, "{text}");
        host.disarm()?;
        ensure!(value(&metrics(host)?, "ocinet_rules_whole")? == "0", "flushed rules count as whole");
        host.ocinet("doctor --fix")?.success()?;
        web.delete()?;
        db.delete()?;
        host.settles()?;
        host.ocinet("metrics /mnt/ocinet.prom")?.success()?;
        let text = host.sh("cat /mnt/ocinet.prom")?;
        check(&text)?;
        ensure!(value(&text, "ocinet_published_ports{protocol=\"tcp\"}")? == "0", "{text}");
        Ok(())
    })
}

/// A file that cannot be written is named.
#[test]
fn a_file_that_cannot_be_written() -> Result<()> {
    Settings::default()
        .test(|host| host.ocinet("metrics /dev/null/ocinet.prom")?.exits(1)?.says(&["/dev/null"]).map(drop))
}
