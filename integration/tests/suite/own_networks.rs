//! Networks of one's own: their definitions, and the commands that write, show and remove them. No kernel object follows
//! from any of it before a container joins.

mod by_hand;

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, OCINET, Output, Settings, every};
use serde_json::{Value, json};

const FILES: &str = "/etc/ocinet/networks";

/// Runs `ocinet network` with arguments of any form.
fn network(host: &Host, arguments: &[&str]) -> Result<Output> {
    host.output(&[&[OCINET, "network"], arguments].concat())
}

fn create(host: &Host, arguments: &[&str]) -> Result<String> {
    network(host, &[&["create"], arguments].concat())?.success()
}

fn file(host: &Host, name: &str) -> Result<String> {
    host.sh(&format!("cat {FILES}/{name}.toml"))
}

/// Everything of the kernel stays, and the files are gone in the end.
fn story(settings: Settings, story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    settings.test(|host| {
        let looks = "ip -d link; ip addr; ip route show table all; nft list ruleset; sysctl -a 2>/dev/null | grep -c .";
        let before = host.sh(looks)?;
        story(host)?;
        let after = host.sh(looks)?;
        ensure!(before == after, "a command touched the kernel:\n{before}\n{after}");
        host.sh(&format!("rm -rf {FILES} /run/ocinet/networks")).map(drop)
    })
}

/// All that was chosen is in the file, so that it is the same after a boot.
#[test]
fn what_is_chosen_is_written() -> Result<()> {
    story(Settings::default(), |host| {
        let id = create(host, &["frontend"])?;
        ensure!(id.trim().len() == 64, "{id}");
        create(host, &["backend"])?;
        let text = file(host, "frontend")?;
        every(["range = \"10.64.0.0/24\"", "gateway = \"10.64.0.1\"", "bridge = \"ocn-", "created = 20"], |part| {
            ensure!(text.contains(part), "{text}");
            Ok(())
        })?;
        ensure!(file(host, "backend")?.contains("10.64.1.0/24"), "the next");
        let mode = host.sh(&format!("stat -c %a {FILES}/frontend.toml"))?;
        ensure!(mode.trim() == "644", "{mode}");
        // What a boot takes away.
        host.sh("rm -rf /run/ocinet")?;
        let found: Value = host.json(&format!("{OCINET} network inspect frontend"))?;
        ensure!(found[0]["IPAM"]["Config"] == json!([{"Subnet": "10.64.0.0/24", "Gateway": "10.64.0.1"}]), "{found:#}");
        ensure!(found[0]["Id"] == id.trim() && found[0]["Created"].is_string(), "{found:#}");
        network(host, &["rm", "frontend"])?.success()?;
        create(host, &["frontend"])?;
        ensure!(file(host, "frontend")?.contains("10.64.0.0/24"), "the first that is free");
        Ok(())
    })
}

/// Every option ends in the file, and in Docker's fields.
#[test]
fn every_option_is_kept() -> Result<()> {
    story(Settings::default(), |host| {
        create(
            host,
            &[
                "--driver=bridge",
                "--subnet=10.70.0.0/16",
                "--gateway=10.70.255.254",
                "--ip-range=10.70.5.0/24",
                "--aux-address=nas=10.70.0.9",
                "--subnet=10.71.0.0/24",
                "--internal",
                "--label=tier=front",
                "--label=plain",
                "-o=com.docker.network.driver.mtu=1400",
                "--opt=icc=false",
                "-o",
                "com.docker.network.bridge.enable_ip_masquerade=false",
                "-o=interface_prefix=net",
                "--interface-name=br-shop",
                "--dns=192.0.2.53",
                "--route=10.10.0.0/16,10.70.0.9,50",
                "shop",
            ],
        )?;
        let found: Value = host.json(&format!("{OCINET} network inspect shop"))?;
        let option = |name: &str| format!("/0/Options/com.docker.network.{name}");
        let rows = [
            ("/0/Internal".to_owned(), json!(true)),
            ("/0/Labels".to_owned(), json!({"tier": "front", "plain": ""})),
            (
                "/0/IPAM/Config".to_owned(),
                json!([
                    {"Subnet": "10.70.0.0/16", "IPRange": "10.70.5.0/24", "Gateway": "10.70.255.254",
                     "AuxiliaryAddresses": {"nas": "10.70.0.9"}},
                    {"Subnet": "10.71.0.0/24", "Gateway": "10.71.0.1"}
                ]),
            ),
            (option("bridge.name"), json!("br-shop")),
            (option("bridge.enable_icc"), json!("false")),
            (option("bridge.enable_ip_masquerade"), json!("false")),
            (option("container_iface_prefix"), json!("net")),
            (option("driver.mtu"), json!("1400")),
        ];
        every(rows, |(path, value)| {
            ensure!(found.pointer(path) == Some(value), "{:?} in {found:#}", found.pointer(path));
            Ok(())
        })?;
        let text = file(host, "shop")?;
        ensure!(text.contains("dns = [\"192.0.2.53\"]") && text.contains("metric = 50"), "{text}");
        // Read by hand and written again, it is the same network.
        host.sh(&format!("sed -i 's/^created.*//; s/^#.*//' {FILES}/shop.toml"))?;
        let again: Value = host.json(&format!("{OCINET} network inspect shop"))?;
        ensure!(again[0]["IPAM"] == found[0]["IPAM"] && again[0]["Options"] == found[0]["Options"], "{again:#}");
        Ok(())
    })
}

/// What cannot be had is refused in one line that names it, and nothing is written.
#[test]
fn what_cannot_be_had_is_refused() -> Result<()> {
    story(Settings::default().prepare("ip route add 10.80.0.0/16 via 198.51.100.2"), |host| {
        create(host, &["--subnet=10.70.0.0/16", "taken"])?;
        let long = "x".repeat(300);
        let rows: [(&[&str], i32, &str); 50] = [
            (&["host"], 2, "host"),
            (&["none"], 2, "none"),
            (&["bridge"], 2, "bridge"),
            (&["default"], 2, "default"),
            (&["container:x"], 2, "container:x"),
            (&["a/b"], 2, "a/b"),
            (&["../x"], 2, "../x"),
            (&["it's"], 2, "it's"),
            (&["a\"b"], 2, "network"),
            (&["a\nb"], 2, "network"),
            (&["a b"], 2, "a b"),
            (&[""], 2, "network"),
            (&[&long], 2, "63"),
            (&["taken"], 3, "taken"),
            (&["--driver=macvlan", "n"], 2, "macvlan"),
            (&["--ipam-driver=dhcp", "n"], 2, "dhcp"),
            (&["--subnet=fe80::/64", "n"], 2, "2000::/3"),
            (&["--ipv4=false", "n"], 2, "without addresses"),
            (&["--ipv6=false", "--subnet=fd00::/64", "n"], 2, "of that family"),
            (&["--subnet=10.70.3.0/24", "n"], 3, "taken"),
            (&["--subnet=10.0.0.0/8", "n"], 3, "bridge"),
            (&["--subnet=10.90.5.0/24", "n"], 3, "bridge"),
            (&["--subnet=198.51.100.0/25", "n"], 3, "198.51.100"),
            (&["--subnet=198.51.100.0/24", "n"], 3, "198.51.100.0/24"),
            (&["--subnet=10.80.0.0/16", "n"], 3, "10.80.0.0/16"),
            (&["--subnet=10.72.0.1/24", "n"], 2, "10.72.0.0/24"),
            (&["--subnet=10.72.0.0/30", "n"], 2, "/29"),
            (&["--subnet=127.0.0.0/8", "n"], 2, "127.0.0.0/8"),
            (&["--subnet=web", "n"], 2, "web"),
            (&["--subnet=10.72.0.0/24", "--subnet=10.72.0.128/25", "n"], 2, "overlaps"),
            (&["--gateway=10.72.0.1", "n"], 2, "gateway"),
            (&["--subnet=10.72.0.0/24", "--gateway=10.73.0.1", "n"], 2, "10.73.0.1"),
            (&["--subnet=10.72.0.0/24", "--ip-range=10.73.0.0/25", "n"], 2, "10.73.0.0"),
            (&["--subnet=10.72.0.0/24", "--aux-address=x", "n"], 2, "aux-address"),
            (&["--subnet=10.72.0.0/24", "--aux-address=x=10.72.0.1", "n"], 2, "gateway"),
            (&["-o=speed=9", "n"], 2, "speed"),
            (&["-o=mode=isolated", "n"], 2, "internal"),
            (&["-o=com.docker.network.bridge.host_binding_ipv4=fd00::1", "n"], 2, "host_binding"),
            (&["-o=trusted_interfaces=a b", "n"], 2, "trusted_interfaces"),
            (&["-o=bridge=ocinet0", "n"], 2, "ocinet0"),
            (&["-o=bridge=ocv0a5a0002", "n"], 2, "ocinet gives to other links"),
            (&["-o=bridge=ocn-detour-in", "n"], 2, "ocinet gives to other links"),
            (&["-o=bridge=uplink", "n"], 3, "another name"),
            (&["--dns=192.0.2.1", "--dns=192.0.2.1", "n"], 2, "twice"),
            (&["--dns=0.0.0.0", "n"], 2, "0.0.0.0"),
            (&["--subnet=169.254.53.0/24", "n"], 2, "169.254.53.53"),
            (&["--ipv6", "--subnet=fd6f:6369:6e65:7400::/64", "n"], 2, "fd6f:6369:6e65:7400::53"),
            (&["-o=bridge=much-too-long-a-name", "n"], 2, "15"),
            (&["--from=/none.json", "n"], 5, "none.json"),
            (&[], 2, "NAME"),
        ];
        host.unchanged_by(|| {
            every(rows, |(arguments, code, word)| {
                let refusal = network(host, &[&["create"], *arguments].concat())?.exits(*code)?.is_one_line()?;
                ensure!(refusal.stdout.is_empty() && refusal.stderr.contains(word), "{refusal}");
                Ok(())
            })
        })?;
        let ids = network(host, &["ls", "-q", "--filter", "type=builtin"])?.success()?;
        for id in ids.lines() {
            host.unchanged_by(|| network(host, &["rm", id])?.exits(2)?.is_one_line().map(drop))?;
        }
        // A part of a wider route is what was asked for; the line says what it hides.
        let warned = network(host, &["create", "--subnet=10.80.7.0/24", "under"])?.exits(0)?;
        ensure!(warned.stderr.contains("10.80.0.0/16"), "{warned}");
        network(host, &["create", "--ignore", "taken"])?.success()?;
        let id = network(host, &["inspect", "-f", "{{.Id}}", "taken"])?.success()?;
        let ignored = network(host, &["create", "--ignore", "--subnet=10.81.0.0/24", "taken"])?.exits(0)?;
        ensure!(ignored.stdout == id && ignored.stderr.contains("10.81.0.0/24"), "{ignored}");
        Ok(())
    })
}

/// A command for several networks goes on after a failure, and ends with the code of the first.
#[test]
fn one_of_several_fails() -> Result<()> {
    story(Settings::default(), |host| {
        let rows: [(&[&str], i32, &str); 4] = [
            (&["a", "nowhere", "b"], 5, "a\nb\n"),
            (&["bridge", "nowhere", "a"], 2, "a\n"),
            (&["nowhere", "bridge"], 5, ""),
            (&["--force", "nowhere", "a"], 0, "a\n"),
        ];
        every(rows, |(names, code, removed)| {
            for name in ["a", "b"] {
                network(host, &["create", "--ignore", name])?.success()?;
            }
            let asked: Vec<&str> = names.iter().copied().filter(|name| *name != "--force").collect();
            let shown = network(host, &[&["inspect", "-f", "{{.Name}}"], &asked[..]].concat())?.stdout;
            for name in asked.iter().filter(|name| ["a", "b"].contains(*name)) {
                ensure!(shown.lines().any(|line| line == *name), "{name}: {shown}");
            }
            let output = network(host, &[&["rm"], *names].concat())?.exits(*code)?;
            ensure!(output.stdout == *removed, "{output}");
            Ok(())
        })
    })
}

/// `prepare` refuses an address that the network cannot give, as the hook would at the start.
#[test]
fn an_address_is_checked_when_a_bundle_is_prepared() -> Result<()> {
    story(Settings::default(), |host| {
        create(host, &["--subnet=10.72.0.0/24", "--aux-address=router=10.72.0.9", "n"])?;
        host.sh("mkdir /mnt/b; echo '{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"}}' >/mnt/b/config.json")?;
        let rows = [
            ("n:ip=10.73.0.5", 2, "is outside"),
            ("n:ip=10.72.0.1", 2, "gateway"),
            ("bridge;n:ip=10.72.0.9", 2, "router"),
            ("n:ip=10.72.0.5", 0, ""),
        ];
        every(rows, |(wanted, code, word)| {
            let output = host.output(&[OCINET, "prepare", "--network", wanted, "/mnt/b"])?.exits(*code)?;
            ensure!(output.stderr.contains(word), "{output}");
            Ok(())
        })?;
        host.sh("rm -r /mnt/b").map(drop)
    })
}

/// A pool that has no range left, since networks and routes have all.
#[test]
fn a_pool_is_exhausted() -> Result<()> {
    let config = "echo 'network_pools = [{ base = \"10.66.0.0/22\", size = 24 }]' >/etc/ocinet/config.toml";
    let settings = Settings::default().prepare(&format!("{config}; ip route add 10.66.1.9/32 via 198.51.100.2"));
    story(settings, |host| {
        let ranges = ["10.66.0.0/24", "10.66.2.0/24", "10.66.3.0/24"];
        for (nth, range) in ranges.iter().enumerate() {
            create(host, &[&format!("n{nth}")])?;
            ensure!(file(host, &format!("n{nth}"))?.contains(range), "{range}");
        }
        let refusal = network(host, &["create", "one-more"])?.exits(4)?.is_one_line()?;
        refusal.says(&["10.66.0.0/22", "network_pools", "one-more"])?;
        network(host, &["rm", "n1"])?.success()?;
        create(host, &["one-more"])?;
        ensure!(file(host, "one-more")?.contains(ranges[1]), "what was given back");
        Ok(())
    })
}

/// Two commands at once: one name is one network, and no two have one range.
#[test]
fn many_at_once() -> Result<()> {
    story(Settings::default(), |host| {
        let at_once = |names: &[String]| -> Result<Vec<Output>> {
            thread::scope(|scope| {
                let run = |name| scope.spawn(move || network(host, &["create", name]));
                let running: Vec<_> = names.iter().map(|name| run(name.as_str())).collect();
                running.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("panic"))?).collect()
            })
        };
        let outcomes = at_once(&vec!["one".to_owned(); 6])?;
        let made = outcomes.iter().filter(|outcome| outcome.code == 0).count();
        let refused = outcomes.iter().filter(|outcome| outcome.code == 3).count();
        ensure!((made, refused) == (1, 5), "{outcomes:?}");
        let names: Vec<String> = (0..6).map(|nth| format!("n{nth}")).collect();
        at_once(&names)?.into_iter().try_for_each(|outcome| outcome.success().map(drop))?;
        let ranges = host.sh(&format!("grep -h range {FILES}/*.toml; grep -h bridge {FILES}/*.toml | grep ocn-"))?;
        let lines: Vec<_> = ranges.lines().collect();
        ensure!(lines.len() == 14 && lines.iter().collect::<BTreeSet<_>>().len() == 14, "{ranges}");
        Ok(())
    })
}

/// Killed at any moment, create leaves a whole file or none, and rm the file or none.
#[test]
fn killed_in_the_middle() -> Result<()> {
    story(Settings::default(), |host| {
        let script = format!(
            "for delay in 001 002 003 005 008 012 016 02 025 03 04 06; do for verb in create rm; do
                 timeout -s KILL 0.$delay {OCINET} network $verb web >/dev/null 2>&1 || true
                 if test -e {FILES}/web.toml; then {OCINET} network inspect web -f '{{{{.Name}}}} {{{{len .IPAM.Config}}}}'; fi
             done; done"
        );
        let seen = host.sh(&script)?;
        ensure!(seen.lines().all(|line| line == "web 1"), "{seen}");
        network(host, &["rm", "-f", "web"])?.success()?;
        create(host, &["web"])?;
        let left = host.sh(&format!("ls -A {FILES}"))?;
        ensure!(left.trim() == "web.toml", "no draft is left: {left}");
        Ok(())
    })
}

/// Where /etc cannot be written, the error says how else.
#[test]
fn a_host_whose_configuration_is_read_only() -> Result<()> {
    story(Settings::default().prepare("mount -o remount,ro /etc/ocinet"), |host| {
        network(host, &["create", "web"])?.exits(1)?.is_one_line()?.says(&["--runtime"])?;
        create(host, &["--runtime", "web"])?;
        host.sh("grep -q 10.64.0.0/24 /run/ocinet/networks/web.toml")?;
        network(host, &["create", "--runtime", "web"])?.exits(3)?.says(&["exists"])?;
        let found = network(host, &["inspect", "web", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}"])?.success()?;
        ensure!(found == "10.64.0.0/24\n", "{found}");
        network(host, &["update", "--label-add=a=b", "web"])?.success()?;
        host.sh("grep -q '\"a\" = \"b\"' /run/ocinet/networks/web.toml")?;
        network(host, &["rm", "web"])?.success()?;
        host.sh("test -z \"$(ls -A /run/ocinet/networks)\"").map(drop)
    })
}

/// Lists, filters and formats, as scripts for Docker use them.
#[test]
fn lists_and_formats() -> Result<()> {
    story(Settings::default(), |host| {
        create(host, &["--label=project=shop", "web"])?;
        create(host, &["--internal", "db"])?;
        let id = network(host, &["inspect", "-f", "{{.Id}}", "web"])?.success()?;
        let short = &id[..12];
        let whole = id.trim();
        let rows: [(&[&str], &str); 11] = [
            (&["ls", "-q", "--filter", "name=web"], &format!("{short}\n")),
            (&["ls", "-q", "--no-trunc", "--filter", "label=project=shop"], &id),
            (&["ls", "--filter", "type=custom", "--format", "{{.Name}}"], "db\nweb\n"),
            (&["ls", "-f", "dangling=false", "--format", "{{.Name}}"], "bridge\nhost\nnone\n"),
            (
                &["ls", "-f", "name=db", "--format", "table {{.Name}}\\t{{.Driver}}\\t{{.Internal}}"],
                "NAME   DRIVER   INTERNAL\ndb     bridge   true\n",
            ),
            (&["inspect", short, "--format", "{{.Name}}"], "web\n"),
            (&["inspect", whole, "--format", "{{.Name}}"], "web\n"),
            (
                &["inspect", "web", "db", "--format", "{{json .IPAM.Config}}"],
                "[{\"Subnet\":\"10.64.0.0/24\",\"Gateway\":\"10.64.0.1\"}]\n[{\"Subnet\":\"10.64.1.0/24\",\"Gateway\":\"10.64.1.1\"}]\n",
            ),
            (
                &["inspect", "web", "-f", "{{(index .IPAM.Config 0).Gateway}} {{index .Labels \"project\"}}"],
                "10.64.0.1 shop\n",
            ),
            (&["inspect", "db", "-f", "{{.Internal}}{{if .Containers}} used{{end}}"], "true\n"),
            (&["update", "--label-rm=project", "--label-add=tier=front", "--dns-add=192.0.2.53", "web"], "web\n"),
        ];
        every(rows, |(arguments, expected)| {
            let found = network(host, arguments)?.success()?;
            ensure!(found == *expected, "{found}");
            Ok(())
        })?;
        let text = file(host, "web")?;
        ensure!(
            text.contains("\"tier\" = \"front\"") && !text.contains("project") && text.contains("192.0.2.53"),
            "{text}"
        );
        let json = network(host, &["ls", "--filter=name=web", "--format=json"])?.success()?;
        let line: Value = serde_json::from_str(&json)?;
        ensure!(line["ID"] == short && line["Labels"] == "tier=front" && line["Scope"] == "local", "{json}");
        let mistakes: [(&[&str], i32, &str); 7] = [
            (&["ls", "--filter", "colour=red"], 2, "colour"),
            (&["ls", "--format", "{{.Nme}}"], 2, "Nme"),
            (&["inspect", "-f", "{{.Name", "web"], 2, "--format"),
            (&["inspect", "wbe"], 5, "web"),
            (&["rm", "nothing"], 5, "nothing"),
            (&["update", "bridge"], 2, "bridge"),
            (&["prune"], 2, "--force"),
        ];
        every(mistakes, |(arguments, code, word)| {
            let refusal = network(host, arguments)?.exits(*code)?.is_one_line()?;
            ensure!(refusal.stderr.contains(word), "{refusal}");
            Ok(())
        })?;
        network(host, &["prune", "-f", "--filter", "until=1h"])?.success()?;
        network(host, &["prune", "-f", "--filter", "label=none"])?.success()?;
        ensure!(
            network(host, &["ls", "-f", "type=custom", "-q"])?.success()?.lines().count() == 2,
            "too young, or unlabelled"
        );
        let pruned = network(host, &["prune", "--force"])?.success()?;
        ensure!(pruned == "Deleted Networks:\ndb\nweb\n", "{pruned}");
        network(host, &["rm", "-f", "web"])?.success().map(drop)
    })
}

/// What other programs defined is taken over.
#[test]
fn definitions_of_other_programs() -> Result<()> {
    story(Settings::default(), |host| {
        let docker = r#"[{"Name":"shop","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"172.28.0.0/16","Gateway":"172.28.0.1"}]},"Internal":false,"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{"a":"b"}}]"#;
        let netavark = r#"{"name":"pod","driver":"bridge","network_interface":"podman1","subnets":[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1"}],"internal":true,"options":{"isolate":"true"}}"#;
        let cni = r#"{"cniVersion":"1.0.0","name":"nerd","plugins":[{"type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.4.1.0/24","gateway":"10.4.1.1"}]]}}]}"#;
        let rows = [("shop", docker, "172.28.0.0/16"), ("pod", netavark, "10.89.0.0/24"), ("nerd", cni, "10.4.1.0/24")];
        every(rows, |(name, json, range)| {
            host.sh(&format!("cat >/mnt/from.json <<'EOF'\n{json}\nEOF"))?;
            create(host, &["--from=/mnt/from.json"])?;
            let text = file(host, name)?;
            ensure!(text.contains(range) && text.contains("bridge = \"ocn-"), "{text}");
            network(host, &["create", "--from=/mnt/from.json", "other"])?.exits(3)?.says(&[name])?;
            let renamed = format!("{name}-2");
            create(
                host,
                &[
                    "--from=/mnt/from.json",
                    "--subnet",
                    &range.replacen("10.", "10.1", 1).replacen("172.28", "172.27", 1),
                    &renamed,
                ],
            )?;
            file(host, &renamed).map(drop)
        })?;
        let piped = host.sh(&format!(
            "{OCINET} network inspect shop | {OCINET} network create --from - --subnet 10.77.0.0/24 copy"
        ))?;
        let copy = file(host, "copy").with_context(|| piped.clone())?;
        ensure!(copy.contains("mtu = 1400") && copy.contains("\"a\" = \"b\""), "{copy}");
        Ok(())
    })
}
