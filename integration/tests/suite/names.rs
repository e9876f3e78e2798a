//! Containers on networks of one's own find each other by their names.

mod answers;
mod attacks;
mod clients;
mod engines;
mod lives;

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Firewall, Host, Proto::Tcp, Runtime, Settings, eventually, every};

/// Three networks, of which the last is internal.
const DEFINE: &str = "mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\\n[[subnet]]\\nrange = \"10.64.1.0/24\"\\n' >/etc/ocinet/networks/front.toml
    printf 'bridge = \"ocn-2\"\\n[[subnet]]\\nrange = \"10.64.2.0/24\"\\n' >/etc/ocinet/networks/back.toml
    printf 'bridge = \"ocn-3\"\\ninternal = true\\n[[subnet]]\\nrange = \"10.64.3.0/24\"\\n' >/etc/ocinet/networks/shut.toml\n";

/// With one runtime and one firewall: what the name server does itself depends on neither.
fn story(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(DEFINE).test(&story)
}

/// What the name server answers to questions of a container for `names`: a line for each.
fn asks(container: &Container<'_>, protocol: &str, kind: &str, names: &[&str]) -> Result<String> {
    let resolv = container.exec(&["/bin/cat", "/etc/resolv.conf"])?;
    let server = resolv.split_whitespace().nth(1).unwrap_or_default();
    let told = container.exec(&[&["/mnt/bin/asker", "ask", server, protocol, kind], names].concat())?;
    Ok(told.trim_end().to_owned())
}

fn on_every_firewall(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().runtime(Runtime::Runc).firewall(*firewall).prepare(DEFINE).test(&story)
    })
}

/// What a container is told of `name`: its addresses, or what the tool says.
fn lookup(container: &Container<'_>, name: &str) -> Result<String> {
    // With the dot at its end, no search domain is tried.
    let said = match container.exec(&["/bin/busybox", "nslookup", &format!("{name}.")]) {
        Ok(said) => said,
        Err(error) => return Ok(format!("{error:#}")),
    };
    let (_, answer) = said.split_once("\n\n").unwrap_or(("", &said));
    let addresses: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("Address: ")).collect();
    Ok(if addresses.is_empty() { said } else { addresses.join(" ") })
}

#[test]
fn a_sibling_is_found_by_its_name() -> Result<()> {
    on_every_firewall(|host| {
        let web = host.container("web").network("front").run()?;
        let db = host.container("db").network("front:alias=store").run()?;
        let address = web.sandbox()?.endpoints[0].addresses[0].replace("/24", "");
        let resolv = db.exec(&["/bin/cat", "/etc/resolv.conf"])?;
        ensure!(
            resolv == "nameserver 169.254.53.53\nsearch ocinet.internal lan.example\noptions ndots:2\n",
            "{resolv}"
        );
        every(["web", "web.front", "web.ocinet.internal", "web.front.ocinet.internal"], |name| {
            let found = lookup(&db, name)?;
            ensure!(found == address, "{name}: {found}");
            Ok(())
        })?;
        let found = lookup(&web, "store")?;
        ensure!(found.starts_with("10.64.1."), "{found}");
        db.reaches(Tcp, format!("{address}:80"))?.is("web")?;
        // By the C library of a program.
        let page = db.exec(&["/bin/busybox", "wget", "-q", "-O-", "http://web/"])?;
        ensure!(page.contains("web"), "{page}");
        ensure!(lookup(&db, "nobody")?.contains("NXDOMAIN"));
        ensure!(host.name_servers()?.len() == 1, "one name server");
        let other = host.container("other").network("back").run()?;
        ensure!(lookup(&other, "web")?.contains("NXDOMAIN"), "of another network");
        ensure!(host.name_servers()?.len() == 1, "one name server");
        web.delete()?;
        ensure!(lookup(&db, "web")?.contains("NXDOMAIN"), "it has gone");
        other.delete()?;
        db.delete()
    })
}

/// It comes back where it was killed, and everything goes with a reset.
#[test]
fn it_is_started_where_it_is_missing() -> Result<()> {
    on_every_firewall(|host| {
        let web = host.container("web").network("front").run()?;
        let db = host.container("db").network("front").run()?;
        let is_found = |db: &Container<'_>| anyhow::Ok(lookup(db, "web")?.starts_with("10.64.1."));
        ensure!(is_found(&db)?, "before");
        let kill = || -> Result<()> {
            host.sh("kill -KILL $(pidof ocinet-agent)")?;
            eventually("it is dead", || Ok(host.sh("pidof ocinet-agent || true")?.trim().is_empty()))
        };
        kill()?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("name server does not run"), "{told}");
        host.ocinet("doctor --fix")?.success()?;
        ensure!(is_found(&db)?, "after doctor --fix");
        kill()?;
        host.ocinet("gc")?.success()?;
        ensure!(is_found(&db)?, "after gc");
        kill()?;
        host.container("third").network("back").run()?.delete()?;
        ensure!(is_found(&db)?, "after an attach");
        host.sh("for link in $(ls /sys/class/net | grep ^ocvn-); do ip link del $link; done")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("name server on network front is missing"), "{told}");
        host.ocinet("doctor --fix")?.success()?;
        ensure!(is_found(&db)?, "with a new port");
        let told = host.ocinet("agent status")?.success()?;
        ensure!(told.contains("2 containers on") && told.contains("front"), "{told}");
        let told = host.ocinet("resolve --network front web.ocinet.internal")?.success()?;
        ensure!(told.trim() == web.sandbox()?.endpoints[0].addresses[0].replace("/24", ""), "{told}");
        host.ocinet("resolve nobody")?.exits(5)?.says(&["nobody"])?;
        web.delete()?;
        db.delete()?;
        host.settles()?;
        host.ocinet("agent status")?.exits(5)?;
        host.ocinet("reset")?.success()?;
        let left = host.sh(
            "ip -br link show type veth | grep ^ocv || true; ls /run/ocinet; grep ocinet/names /proc/mounts || true",
        )?;
        ensure!(left.trim() == "lock", "{left}");
        Ok(())
    })
}

/// Connect and disconnect have the resolver of a container follow, and others find it by its alias meanwhile.
#[test]
fn it_follows_connects_and_disconnects() -> Result<()> {
    on_every_firewall(|host| {
        let plain = host.container("plain").run()?;
        let db = host.container("db").network("back;front").run()?;
        let resolv = |container: &Container<'_>| container.exec(&["/bin/cat", "/etc/resolv.conf"]);
        ensure!(resolv(&plain)?.starts_with("nameserver 192.0.2.53\n"), "{}", resolv(&plain)?);
        host.ocinet("network connect --alias cache --alias store front plain")?.success()?;
        ensure!(resolv(&plain)?.starts_with("nameserver 169.254.53.53\nsearch ocinet.internal"), "{}", resolv(&plain)?);
        ensure!(lookup(&plain, "db")?.starts_with("10.64.1."), "{}", lookup(&plain, "db")?);
        ensure!(lookup(&db, "cache")?.starts_with("10.64.1."), "{}", lookup(&db, "cache")?);
        // The route that is left leads there by the other network.
        host.ocinet("network disconnect front db")?.success()?;
        ensure!(lookup(&db, "db")?.starts_with("10.64.2."), "{}", lookup(&db, "db")?);
        ensure!(lookup(&db, "cache")?.contains("NXDOMAIN"));
        host.ocinet("network disconnect front plain")?.success()?;
        ensure!(resolv(&plain)?.starts_with("nameserver 192.0.2.53\n"), "{}", resolv(&plain)?);
        plain.delete()?;
        db.delete()
    })
}
