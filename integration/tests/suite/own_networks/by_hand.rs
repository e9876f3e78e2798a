//! Definitions that a person wrote.

use anyhow::{Result, ensure};
use ocinet_integration::{OCINET, Settings, every};
use serde_json::{Value, json};

use super::{FILES, create, network, story};

/// Files that a person wrote: each mistake is told with its place, and what else there is stays usable.
#[test]
fn files_by_hand() -> Result<()> {
    story(Settings::default(), |host| {
        host.sh(&format!(
            "mkdir -p {FILES}; cd {FILES}; echo 'mtu = 9' >small.toml; echo 'colour = \"red\"' >red.toml; echo '[' >torn.toml
             echo >bridge.toml; echo >'a b.toml'; mkdir folder.toml; echo junk >README; echo >.hidden.toml
             printf '[[subnet]]\\nrange = \"10.70.0.0/24\"\\n[labels]\\nby = \"hand\"\\n' >good.toml; echo >open.toml"
        ))?;
        let listed = network(host, &["ls", "--format", "{{.Name}}"])?.exits(0)?;
        let names: Vec<_> = listed.stdout.lines().collect();
        ensure!(names == ["bridge", "good", "host", "none", "open"], "{listed}");
        let places = [
            "small.toml, line 1: mtu \"9\"",
            "red.toml, line 1: colour \"red\"",
            "torn.toml, line 1",
            "bridge.toml",
            "a b.toml",
            "folder.toml",
        ];
        every(places, |place| {
            let lines = listed.stderr.lines().filter(|line| line.contains(place));
            ensure!(lines.count() == 1, "{listed}");
            Ok(())
        })?;
        ensure!(listed.stderr.lines().count() == places.len(), "{listed}");
        let found: Value = host.json(&format!("{OCINET} network inspect good open 2>/dev/null"))?;
        ensure!(found[0]["Labels"] == json!({"by": "hand"}) && found[0].get("Created").is_none(), "{found:#}");
        ensure!(found[1]["IPAM"]["Config"] == json!([]), "it is chosen when a container joins: {found:#}");
        network(host, &["create", "--subnet=10.70.0.0/28", "n"])?.exits(3)?.says(&["good"])?;
        network(host, &["prune", "-f"])?.success()?;
        ensure!(host.sh(&format!("ls {FILES}"))?.contains("good.toml"), "no command wrote it");
        // Also what is wrong can be removed by its name.
        every(["good", "red", "torn", "open"], |name| network(host, &["rm", name])?.success().map(drop))?;
        network(host, &["rm", "bridge"])?.exits(2)?.is_one_line().map(drop)
    })
}

/// What an editor puts before the text is no part of it, also when what was left open is written back.
#[test]
fn a_file_that_begins_with_a_mark() -> Result<()> {
    Settings::default().test(|host| {
        host.sh(&format!("mkdir -p {FILES}; printf '\\357\\273\\277mtu = 1400\\n' >{FILES}/marked.toml"))?;
        host.container("web").network("marked").run()?.delete()?;
        let found = network(host, &["inspect", "marked", "-f", "{{(index .IPAM.Config 0).Subnet}}"])?.success()?;
        ensure!(found.starts_with("10.64."), "{found}");
        host.container("web").network("marked").run()?.delete()?;
        host.settles()?;
        network(host, &["rm", "marked"])?.success()?;
        host.sh(&format!("rmdir {FILES}")).map(drop)
    })
}

/// Every user can read the folder, and so lock it. That holds no command up.
#[test]
fn the_lock_of_another_user_holds_nothing_up() -> Result<()> {
    story(Settings::default(), |host| {
        create(host, &["first"])?;
        host.sh(&format!(
            "setpriv --reuid 1000 --clear-groups flock --no-fork {FILES} sleep 1000 >/dev/null 2>&1 & echo $! >/tmp/locker"
        ))?;
        host.sh(&format!("until ! flock --nonblock {FILES} true; do sleep 0.01; done"))?;
        let began = std::time::Instant::now();
        create(host, &["second"])?;
        network(host, &["rm", "first", "second"])?.success()?;
        ensure!(began.elapsed().as_secs() < 2, "it took {:?}", began.elapsed());
        host.sh("kill $(cat /tmp/locker); rm /tmp/locker").map(drop)
    })
}
