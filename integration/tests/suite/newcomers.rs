//! The table in coming-from.md: the two columns of each row do the same.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocinet_integration::podman::{self, Podman};
use ocinet_integration::{OCINET, Runtime, every};
use serde_json::Value;

/// The flags of `ocinet prepare` and the annotation of each row.
fn rows() -> Result<Vec<(String, String)>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/doc/coming-from.md"))?;
    let cells = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows: Vec<_> = cells
        .map(|line| line.split('|').map(code).collect::<Vec<_>>())
        .map(|cells| Some((cells.get(3)?.clone(), cells.get(4)?.clone())))
        .collect::<Option<_>>()
        .context("four columns")?;
    ensure!(rows.len() > 10, "{rows:?}");
    Ok(rows)
}

/// Both forms of each row run a container, under runc and under podman, with the same result.
#[test]
fn every_row_for_newcomers_holds() -> Result<()> {
    podman::settings(Runtime::Runc).test(|host| {
        let podman = Podman::new(host)?;
        let _web = host.container("web").run()?;
        every(rows()?, |(flags, annotation)| {
            let (key, value) = annotation.split_once('=').context("an annotation")?;
            let bare =
                host.container("guest").edit("del(.hooks, .annotations)").command(&["cat", "/etc/hosts"]).prepare()?;
            let bundle = bare.bundle();
            host.sh(&format!("{OCINET} prepare {flags} {bundle}"))?;
            let spec: Value = host.json(&format!("cat {bundle}/config.json"))?;
            ensure!(spec["annotations"][key] == value.replace(' ', ","), "{}", spec["annotations"]);
            ensure!(host.sh(&format!("runc run --bundle {bundle} guest </dev/null"))?.contains("localhost"), "no file");
            let rootfs = "--rootfs /mnt/rootfs:O cat /etc/hosts";
            let said =
                podman.run(&format!("run --rm --network=none --annotation '{annotation}' {rootfs}"))?.success()?;
            ensure!(said.contains("localhost"), "{said}");
            Ok(())
        })
    })
}
