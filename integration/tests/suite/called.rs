//! How commands identify a container: by its id, its name, or the beginning of its id.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, OCINET, Sandbox, Settings, every};

const LONG: &str = "3f1c9a77e2b04d55";

/// The ids of the sandboxes that `inspect` shows for `called`.
fn inspected(host: &Host, called: &str) -> Result<Vec<String>> {
    let sandboxes: Vec<Sandbox> = host.json(&format!("{OCINET} inspect {called} --json"))?;
    Ok(sandboxes.into_iter().map(|sandbox| sandbox.container).collect())
}

/// Each command accepts each of the three.
#[test]
fn every_command_knows_an_id_a_name_and_a_beginning() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container(LONG).annotation("io.ocinet.name", "web").publish("8080:80").run()?;
        let joins = host.container("joins").edit("del(.annotations, .hooks)").prepare()?;
        every([LONG, "web", "3f1"], |called| {
            ensure!(inspected(host, called)? == [LONG], "{:?}", inspected(host, called)?);
            ensure!(host.ocinet(&format!("port {called} 80"))?.success()? == "0.0.0.0:8080\n");
            host.ocinet(&format!("prepare --network container:{called} {}", joins.bundle()))?.success()?;
            let whole =
                host.sh(&format!("jq -r '.annotations[\"io.ocinet.network\"]' {}/config.json", joins.bundle()))?;
            ensure!(whole == format!("container:{LONG}\n"), "{whole}");
            Ok(())
        })
    })
}

/// One container's id is another one's name, or the other way round: an ambiguous word reaches neither, and each can
/// still be named by what it alone has.
#[test]
fn an_id_and_a_name_do_not_capture_each_other() -> Result<()> {
    Settings::default().test(|host| {
        let _named = host.container(LONG).annotation("io.ocinet.name", "web").publish("8080:80").run()?;
        let thief = host.container("web").annotation("io.ocinet.name", "thief").run()?;
        let joins = host.container("joins").edit("del(.annotations, .hooks)").prepare()?;
        let rows = [
            "inspect web".to_owned(),
            "port web".to_owned(),
            format!("prepare --network container:web {}", joins.bundle()),
        ];
        host.unchanged_by(|| {
            every(rows, |command| {
                let refusal = host.ocinet(command)?.exits(3)?.is_refusal()?;
                refusal.says(&[LONG, "named web", "named thief", "bundle"]).map(drop)
            })
        })?;
        ensure!(inspected(host, "thief")? == ["web"] && inspected(host, "3f")? == [LONG]);
        thief.delete()?;
        host.settled_sandboxes()?;
        ensure!(inspected(host, "web")? == [LONG]);
        host.ocinet("port web 80")?.success().map(drop)
    })
}

/// The error for a beginning that several containers share names them all. Dead containers do not count beside running
/// ones.
#[test]
fn a_beginning_of_several_is_refused() -> Result<()> {
    Settings::default().test(|host| {
        let _one = host.container("3f1one").run()?;
        let other = host.container("3f1other").run()?;
        host.ocinet("inspect 3f1")?.exits(3)?.is_refusal()?.says(&["3f1one", "3f1other"])?;
        other.abandon()?;
        ensure!(inspected(host, "3f1")? == ["3f1one"]);
        host.ocinet("gc")?.success().map(drop)
    })
}

/// Two roots of a runtime each have a container of the same id: both are shown, and neither can be joined by that id.
#[test]
fn one_id_of_two_roots_is_shown_as_two() -> Result<()> {
    Settings::default().test(|host| {
        let (_one, _two) = (host.container("web").run()?, host.container("web").run()?);
        ensure!(inspected(host, "web")? == ["web", "web"]);
        let joins = host.container("joins").edit("del(.annotations, .hooks)").prepare()?;
        let refusal = host.ocinet(&format!("prepare --network container:web {}", joins.bundle()))?;
        refusal.exits(3)?.is_refusal()?.says(&["several"]).map(drop)
    })
}
