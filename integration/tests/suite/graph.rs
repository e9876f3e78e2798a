//! `ocinet graph`: what is drawn is what is there. The formats are tested in `hook/src/cli/graph/tests.rs`.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Settings};

const NETWORKS: &str = "
    mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\\n[[subnet]]\\nrange = \"10.64.1.0/24\"\\n' >/etc/ocinet/networks/own.toml
    printf 'bridge = \"ocn-2\"\\ninternal = true\\n[[subnet]]\\nrange = \"10.64.2.0/24\"\\n' >/etc/ocinet/networks/inside.toml
";

fn graph(host: &Host, format: &str) -> Result<String> {
    host.unchanged_by(|| host.ocinet(&format!("graph --format {format}"))?.success())
}

#[test]
fn the_networks_of_a_host() -> Result<()> {
    Settings::default().prepare(NETWORKS).test(|host| {
        let unused = host.ocinet("graph")?.success()?;
        ensure!(unused.contains("─ own: bridge ocn-1, 10.64.1.0/24\n"), "{unused}");
        let web = host.container("web").network("own;inside").publish("8080:80,127.0.0.1:53:53/udp").run()?;
        let mut db = host.container("db").network("inside").publish("5432:5432").run()?;
        let alone = host.container("alone").network("none").run()?;
        let expected = "\
host: uplinks uplink
├─ bridge: bridge ocinet0, 10.90.0.0/16
├─ inside: bridge ocn-2, 10.64.2.0/24, internal
│  ├─ web (up): eth1 10.64.2.2, also on own
│  └─ db (up): eth0 10.64.2.3, 0.0.0.0:5432->5432/tcp, the ports are dormant
├─ none: loopback alone
│  └─ alone (up)
└─ own: bridge ocn-1, 10.64.1.0/24
   └─ web (up): eth0 10.64.1.2, 0.0.0.0:8080->80/tcp, 127.0.0.1:53->53/udp, also on inside
";
        let text = graph(host, "text")?;
        ensure!(text == expected, "{text}");
        for (format, begins) in
            [("dot", "graph ocinet {"), ("mermaid", "flowchart LR"), ("svg", "<svg "), ("html", "<!DOCTYPE")]
        {
            let drawn = graph(host, format)?;
            ensure!(drawn.starts_with(begins), "{drawn}");
            for object in ["web", "db", "alone", "inside", "ocn-1", "10.64.1.2", "10.64.2.3", "0.0.0.0:8080", "uplink"]
            {
                ensure!(drawn.contains(object), "{object} in {format}:\n{drawn}");
            }
        }
        host.sh("echo nonsense >/etc/ocinet/networks/broken.toml")?;
        let said = host.ocinet("graph")?.exits(0)?;
        ensure!(said.stderr.matches("broken.toml").count() == 1, "{said}");
        host.sh("rm /etc/ocinet/networks/broken.toml")?;
        db.kill()?;
        ensure!(host.ocinet("graph")?.success()?.contains("─ db (dead): eth0 10.64.2.3"), "one that has ended");
        host.ocinet("network disconnect own web")?.success()?;
        host.ocinet("network disconnect inside web")?.success()?;
        let text = graph(host, "text")?;
        ensure!(text.ends_with("\n└─ on no network\n   └─ web (up)\n"), "{text}");
        host.ocinet("graph --format png")?.exits(2)?.is_one_line()?.says(&["svg"])?;
        [web, db, alone].into_iter().try_for_each(|container| container.delete())
    })
}
