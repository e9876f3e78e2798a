//! The container's `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname` and its host name: their contents.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, GATEWAY, Settings, every, on_every_runtime};

/// The beginning of every container's `/etc/hosts`.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// A file below `/etc`, as the container sees it.
fn read(container: &Container<'_>, file: &str) -> Result<String> {
    container.exec(&["cat", &format!("/etc/{file}")])
}

/// The host name that the kernel gives to the container.
fn hostname(container: &Container<'_>) -> Result<String> {
    Ok(container.exec(&["cat", "/proc/sys/kernel/hostname"])?.trim().to_owned())
}

/// Without annotations for names: the host's name servers, the container's own address, its id.
#[test]
fn a_container_has_its_files() -> Result<()> {
    on_every_runtime(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let address = web.sandbox()?.address().context("an address")?;
        let rows = [
            ("resolv.conf", "nameserver 192.0.2.53\nsearch lan.example\noptions ndots:2\n".to_owned()),
            ("hosts", format!("{LOCALHOST}{address}\tweb\n")),
            ("hostname", "web\n".to_owned()),
        ];
        every(rows, |(file, text)| {
            let found = read(&web, file)?;
            ensure!(found == *text, "{found:?}");
            Ok(())
        })?;
        host.check()
    })
}

/// Each annotation, and its file: all of resolv.conf, and the container's own lines of the others.
#[test]
fn annotations_say_what_is_in_the_files() -> Result<()> {
    let rows = [
        ("dns", "192.0.2.9", "resolv.conf", "nameserver 192.0.2.9\nsearch lan.example\noptions ndots:2\n"),
        (
            "dns",
            "192.0.2.9, 2001:db8::9",
            "resolv.conf",
            "nameserver 192.0.2.9\nnameserver 2001:db8::9\nsearch lan.example\noptions ndots:2\n",
        ),
        ("dns", "127.0.0.1", "resolv.conf", "nameserver 127.0.0.1\nsearch lan.example\noptions ndots:2\n"),
        (
            "dns-search",
            "a.example,b.example",
            "resolv.conf",
            "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2\n",
        ),
        ("dns-search", ".", "resolv.conf", "nameserver 192.0.2.53\noptions ndots:2\n"),
        (
            "dns-option",
            "ndots:5,edns0",
            "resolv.conf",
            "nameserver 192.0.2.53\nsearch lan.example\noptions ndots:5 edns0\n",
        ),
        ("add-host", "db:192.0.2.7", "hosts", "ADDRESS\tweb\n192.0.2.7\tdb\n"),
        (
            "add-host",
            "db:192.0.2.7,six:[2001:db8::7],host:host-gateway",
            "hosts",
            "ADDRESS\tweb\n192.0.2.7\tdb\n2001:db8::7\tsix\nGATEWAY\thost\n",
        ),
        ("name", "shop", "hosts", "ADDRESS\tweb shop\n"),
        ("name", "shop", "hostname", "web\n"),
        ("hostname", "web", "hostname", "web\n"),
    ];
    on_every_runtime(|host| {
        every(rows, |(key, value, file, text)| {
            let web = host.container("web").annotation(&format!("io.ocinet.{key}"), value).run()?;
            let address = web.sandbox()?.address().context("an address")?.to_string();
            let expected = text.replace("ADDRESS", &address).replace("GATEWAY", GATEWAY);
            let found = read(&web, file)?;
            ensure!(found.strip_prefix(LOCALHOST).unwrap_or(&found) == expected, "{found:?}");
            web.delete()
        })?;
        host.settles()
    })
}

/// The host name where `config.json` has none, and where it has one: the kernel, both files and `inspect` agree on it.
#[test]
fn the_host_name_has_an_order_of_sources() -> Result<()> {
    let (none, empty, named) = ("del(.hostname)", ".hostname = \"\"", ".hostname = \"spec.example\"");
    let long = "0123456789abcdef";
    type Annotations<'t> = &'t [(&'t str, &'t str)];
    let rows: [(&str, &str, Annotations<'_>, &str); 8] = [
        ("web", none, &[], "web"),
        ("web", empty, &[], "web"),
        (long, none, &[], "0123456789ab"),
        ("web", none, &[("name", "shop")], "shop"),
        ("web", none, &[("name", "my_shop")], "my-shop"),
        ("web", none, &[("name", "shop"), ("hostname", "www.example.org")], "www.example.org"),
        ("web", named, &[("name", "shop")], "spec.example"),
        ("web", named, &[("hostname", "spec.example")], "spec.example"),
    ];
    on_every_runtime(|host| {
        let own = host.sh("cat /proc/sys/kernel/hostname")?;
        every(rows, |(id, edit, annotations, expected)| {
            let draft = host.container(id).edit(edit);
            let said = annotations.iter().map(|(key, value)| (format!("io.ocinet.{key}"), value));
            let web = said.fold(draft, |draft, (key, value)| draft.annotation(&key, value)).run()?;
            ensure!(hostname(&web)? == *expected, "the kernel says {:?}", hostname(&web)?);
            ensure!(read(&web, "hostname")?.trim() == *expected, "the file says {:?}", read(&web, "hostname")?);
            let hosts = read(&web, "hosts")?;
            ensure!(hosts.split_whitespace().any(|word| word == *expected), "{hosts}");
            web.delete()
        })?;
        ensure!(host.sh("cat /proc/sys/kernel/hostname")? == own, "the host's own name");
        host.settles()
    })
}

/// The runtime sets the name of `config.json` after the hooks and would replace another one. So another one is refused.
#[test]
fn a_host_name_that_would_not_last_is_refused() -> Result<()> {
    on_every_runtime(|host| {
        let rows = [
            ("host name of config.json", ".hostname = \"spec\"", "spec"),
            ("host's UTS namespace", "del(.hostname, (.linux.namespaces[] | select(.type == \"uts\")))", "UTS"),
        ];
        every(rows, |(_, edit, word)| {
            let draft = host.container("web").edit(edit).annotation("io.ocinet.hostname", "www");
            draft.refused()?.says(&["io.ocinet.hostname", "www", word])?;
            host.settles()
        })
    })
}

/// A container without a network of its own also has files: the host's servers, and names that lead to itself.
#[test]
fn other_modes_have_files() -> Result<()> {
    on_every_runtime(|host| {
        host.sh("sed -i '1i nameserver 127.0.0.53' /etc/resolv.conf")?;
        let none = host.container("none").network("none").annotation("io.ocinet.add-host", "me:host-gateway").run()?;
        let rest = "nameserver 192.0.2.53\nsearch lan.example\noptions ndots:2\n";
        let with_host = host.container("host").network("host").in_host_namespace().serving(&["8088"]).run()?;
        let rows = [
            (&none, "resolv.conf", rest.to_owned()),
            (&none, "hosts", format!("{LOCALHOST}127.0.0.1\tnone\n127.0.0.1\tme\n")),
            (&none, "hostname", "none\n".to_owned()),
            // It can reach the host's loopback interface, and so the servers there.
            (&with_host, "resolv.conf", format!("nameserver 127.0.0.53\n{rest}")),
            (&with_host, "hosts", format!("{LOCALHOST}127.0.0.1\thost\n")),
            (&with_host, "hostname", "host\n".to_owned()),
        ];
        every(rows, |(container, file, text)| {
            let found = read(container, file)?;
            ensure!(found == *text, "{found:?}");
            Ok(())
        })?;
        host.check()
    })
}

/// The names are stored when the container starts: the sandbox has them, and `inspect` finds it by them.
#[test]
fn a_container_is_known_by_its_name() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("0123456789abcdef").annotation("io.ocinet.name", "shop").publish("8080:80").run()?;
        ensure!(web.sandbox()?.name == "shop", "{:#?}", web.sandbox()?);
        every(["ps", "inspect shop", "inspect 0123456789abcdef", "port shop"], |command| {
            let shown = host.ocinet(command)?.success()?;
            ensure!(shown.contains("shop") || shown.contains("8080"), "{shown}");
            Ok(())
        })
    })
}
