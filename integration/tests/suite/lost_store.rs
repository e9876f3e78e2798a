//! The store is lost, truncated, corrupted or full while containers run. No living container is affected, no address is
//! given out twice, and every container can still be removed.

use std::fs;

use anyhow::{Context, Result, ensure};
use ocinet_integration::survive::CALLER;
use ocinet_integration::{
    Firewall, Host, OCINET, Output, Proto, Proto::Tcp, Runtime, Settings, State, UPLINK, eventually, every,
};

use crate::ttrpc_service::{made, place};

/// The path of the only store of a host.
fn store(host: &Host) -> Result<String> {
    Ok(host.sh("ls -d /run/ocinet/store-*.db")?.trim().to_owned())
}

/// The store and all files beside it are gone; links, rules and processes remain.
#[test]
fn a_lost_store_is_rebuilt_from_the_kernel() -> Result<()> {
    let rows = [
        (Firewall::Nftables, "rm /run/ocinet/store-*"),
        (Firewall::Nftables, "rm -r /run/ocinet"),
        (Firewall::Nftables, "truncate -s 0 /run/ocinet/store-*.db"),
        (Firewall::IptablesNft, "rm /run/ocinet/store-*"),
        (Firewall::IptablesLegacy, "rm /run/ocinet/store-*"),
    ];
    for (firewall, loss) in rows {
        Settings::default().firewall(firewall).test(|host| {
            let web =
                host.container("web").publish("8080-8082:80-82,0.0.0.0:8100:80,127.0.0.1:8090:80,8080:80/udp").run()?;
            let db = host.container("db").network("bridge:mac=02:00:00:00:00:77,interface=net7").run()?;
            let before = host.sandboxes()?;
            host.sh(loss)?;
            let next = host.container("next").run()?;
            ensure!(host.sandboxes()?.len() == 3, "{:#?}", host.sandboxes()?);
            for (mut sandbox, found) in before.into_iter().zip([web.sandbox()?, db.sandbox()?]) {
                sandbox.bundle.clear();
                ensure!(sandbox == found, "{sandbox:#?}\nbecame\n{found:#?}");
            }
            host.check()?;
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            }
            web.delete()?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            db.delete()?;
            next.delete()
        })?;
    }
    Ok(())
}

/// A store with a wrong byte at any place: the next attach works, and gets no address of a running container.
#[test]
fn a_store_damaged_anywhere_gives_no_address_twice() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let db = host.container("db").publish("8081:80").run()?;
        let size: usize = host.sh(&format!("stat -c %s {}", store(host)?))?.trim().parse()?;
        // The leases are most important: every place where an address is stored.
        let leases = host.sh(&format!("grep -oba '10[.]90[.]0[.][0-9]' {} | cut -d: -f1", store(host)?))?;
        let keys = host.sh(&format!("LC_ALL=C grep -obUaP '\\x04\\x0a\\x5a\\x00' {} | cut -d: -f1", store(host)?))?;
        let starts = |text: &str| text.lines().map(str::parse).collect::<Result<Vec<usize>, _>>();
        let last_digits = starts(&leases)?.into_iter().map(|start| start + 8);
        let leases: Vec<usize> = last_digits.chain(starts(&keys)?.into_iter().map(|start| start + 4)).collect();
        ensure!(leases.len() >= 6, "two bodies, two keys of leases, and the last address: {leases:?}");
        for offset in leases.iter().copied().chain((0..size).step_by(601)) {
            let damage = if offset % 5 == 0 && !leases.contains(&offset) {
                format!("truncate -s {offset} {}", store(host)?)
            } else {
                let path = store(host)?;
                format!(
                    "printf '\\{:03o}' | dd of={path} bs=1 seek={offset} conv=notrunc status=none",
                    1 + offset % 255
                )
            };
            host.sh(&damage)?;
            let next = host.container("next").run().with_context(|| damage.clone())?;
            let addresses = [&web, &db, &next].map(|container| container.at(80));
            let [web_at, db_at, next_at] = addresses;
            let (web_at, db_at, next_at) = (web_at?, db_at?, next_at?);
            ensure!(next_at != web_at && next_at != db_at, "{damage}: {next_at}, {web_at}, {db_at}");
            host.ocinet("gc")?.success()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080")).with_context(|| damage.clone())?.is("web")?;
            next.delete().with_context(|| damage.clone())?;
        }
        web.delete()?;
        db.delete()?;
        host.ocinet("gc")?.success().map(drop)
    })
}

/// A store that can be read but lacks a container: the kernel refuses a second link for its address, and the container
/// is added to the store again.
#[test]
fn the_kernel_knows_who_has_an_address() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        let alias = format!("ocinet:{}:ghost", "0123456789abcdef".repeat(2));
        host.sh(&format!(
            "ip netns add ghost
            ip link add ocv0a5a0009 master ocinet0 type veth peer name eth0 netns ghost
            ip link set ocv0a5a0009 alias {alias} up
            ip -netns ghost address add 10.90.0.9/16 dev eth0"
        ))?;
        let thief = host.container("thief").network("bridge:ip=10.90.0.9,mac=02:00:00:00:00:99");
        thief.refused()?.exits(3)?.says(&["10.90.0.9 is leased to container ghost"])?;
        let sandboxes = host.settled_sandboxes()?;
        ensure!(sandboxes.len() == 2 && sandboxes.iter().any(|sandbox| sandbox.container == "ghost"), "{sandboxes:#?}");
        host.ocinet("gc")?.success()?;
        host.sh("ip link show ocv0a5a0009; ip netns del ghost").map(drop)?;
        eventually("the ghost is collected", || {
            host.ocinet("gc")?.success()?;
            Ok(host.sandboxes()?.len() == 1)
        })
    })
}

/// A container that has changed its own interface gains nothing by a lost store: only the host's side is used. If the
/// bridge is lost too, the range comes from the settings.
#[test]
fn a_container_is_not_believed_when_the_store_is_rebuilt() -> Result<()> {
    for loss in ["rm /run/ocinet/store-*", "rm /run/ocinet/store-*; ip link del ocinet0"] {
        Settings::default().test(|host| {
            let db = host.container("db").run()?;
            let evil = host.container("evil").network("bridge:mac=02:00:00:00:00:66").run()?;
            let before = host.sandboxes()?;
            let address = |at: String| at.trim_end_matches(":80").to_owned();
            let (db_at, evil_at) = (address(db.at(80)?), address(evil.at(80)?));
            // A sibling's address, one of the LAN, another range and gateway, and a sibling's MAC address.
            evil.sh(&format!(
                "ip address del {evil_at}/16 dev eth0
                ip address add {db_at}/16 dev eth0
                ip address add 198.51.100.77/24 dev eth0
                ip address add 172.16.0.2/12 dev eth0
                ip route replace default via 172.16.0.1
                ip link set eth0 address 02:00:00:00:00:77"
            ))?;
            let guard = |host: &Host| host.sh("tc filter show dev $(ip -o link show master ocinet0 | grep ':evil' | cut -d: -f2 | cut -d@ -f1) ingress | grep -o 'bytecode.*'");
            let guarded = guard(host)?;
            host.sh(loss)?;
            let told = host.ocinet("gc")?.exits(0)?;
            told.says(&[&format!("address {db_at}/16"), "MAC address 02:00:00:00:00:77"])?;
            host.ocinet("doctor --fix")?;
            let bare = |mut sandbox: ocinet_integration::Sandbox| {
                sandbox.bundle.clear();
                sandbox
            };
            for sandbox in before {
                let found = host.sandboxes()?.into_iter().find(|found| found.container == sandbox.container);
                ensure!(found.clone().map(bare) == Some(bare(sandbox.clone())), "{sandbox:#?}\nbecame\n{found:#?}");
            }
            ensure!(guard(host)? == guarded, "the guard lets something else pass");
            ensure!(host.sh("ip -4 -o address show dev ocinet0")?.contains("10.90.0.1/16"), "another range");
            host.reaches(Tcp, format!("{db_at}:80"))?.is("db")?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Files of containers that no sandbox has any more are removed with their container, or collected.
#[test]
fn files_of_a_lost_sandbox_are_not_forgotten() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let files = || host.sh("ls /run/ocinet/containers 2>/dev/null | wc -l");
        let (web, job) = (host.container("web").network("none").run()?, host.container("job").network("none").run()?);
        ensure!(files()? == "2\n");
        host.sh("rm /run/ocinet/store-*")?;
        web.delete()?;
        ensure!(files()? == "1\n");
        job.abandon()?;
        host.ocinet("gc")?.success()?;
        ensure!(files()? == "0\n");
        Ok(())
    })
}

/// poststop and collection repair the store too.
#[test]
fn a_damaged_store_can_be_left() -> Result<()> {
    Settings::default().test(|host| {
        let garbage = |host: &Host| host.sh(&format!("head -c 30000 /dev/urandom >{}", store(host)?));
        let web = host.container("web").publish("8080:80").run()?;
        let db = host.container("db").publish("8081:80").run()?;
        garbage(host)?;
        web.delete()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("db")?;
        garbage(host)?;
        db.abandon()?;
        host.ocinet("gc")?.exits(0)?.says(&["set aside"])?;
        // Its namespace cannot be found any more, and its link is deleted a moment later.
        eventually("the dead container is collected", || {
            host.ocinet("gc")?.success()?;
            Ok(host.sandboxes()?.is_empty())
        })?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8081"))?;
        host.sh("ls /run/ocinet/store-*.damaged").map(drop)
    })
}

/// The store of a newer version is not damaged, and must not be changed.
#[test]
fn a_store_of_a_newer_version_is_left_alone() -> Result<()> {
    Settings::default().test(|host| {
        let kept = host.container("kept").publish("8080:80").run()?;
        let path = store(host)?;
        let before = fs::read(host.path(&path))?;
        let later = "ALTER TABLE entry_8 RENAME TO later; PRAGMA user_version = 99; PRAGMA application_id = 0x6f630063";
        place(host, &made("later", |store| store.execute_batch(later), &before)?)?;
        every(["ps", "gc"], |command| {
            host.ocinet(command)?.exits(1)?.is_one_line()?.says(&["version 99", "version 8", "newer"]).map(drop)
        })?;
        host.container("web").refused()?.exits(1)?.is_one_line()?.says(&["version 99"])?;
        kept.hook("poststop")?.exits(1)?.is_one_line()?.says(&["version 99"])?;
        place(host, &before)?;
        host.check()?;
        kept.delete()
    })
}

/// A full state directory: an attach fails and leaves nothing, and a detach works.
#[test]
fn a_full_disk_lets_containers_go() -> Result<()> {
    let small = "mkdir -m 700 /run/ocinet; mount -t tmpfs -o size=1m,mode=0700 tmpfs /run/ocinet";
    // With mounted files, which a container without a runtime does not get.
    Settings::default().runtime(Runtime::Runc).prepare(small).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let db = host.container("db").publish("8081:80").run()?;
        host.sh("dd if=/dev/zero of=/run/ocinet/ballast bs=4k status=none || true")?;
        let refusal = host.unchanged_by(|| {
            let refusal = host.container("next").publish("8082:80").refused()?;
            host.settled_sandboxes()?;
            Ok(refusal)
        })?;
        refusal.says(&["/run/ocinet", "No space left"])?;
        web.delete()?;
        host.check()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("db")?;
        db.delete()?;
        host.settles()?;
        host.sh("rm /run/ocinet/ballast")?;
        host.container("next").publish("8082:80").run()?.delete()
    })
}

/// A drain was cut off and the store is lost, while something holds the namespace of the dead container: the link tells
/// that it drains, and the container does not come back.
#[test]
fn a_drain_that_was_cut_off_survives_the_store() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let mut poststop = host.command(&[CALLER, "kill-at", "1", "10", OCINET, "hook", "poststop"]);
        let killed = Output::of(&mut poststop, web.state("poststop").to_string().as_bytes())?;
        ensure!(killed.stderr.contains("caller: killed"), "{killed}");
        host.sh("rm /run/ocinet/store-*")?;
        let told = host.ocinet("gc")?.success()?;
        ensure!(told.contains("1 interrupted detach"), "{told}");
        ensure!(host.settled_sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        // Its process lives, and so does its namespace.
        web.hook("createRuntime")?.success()?;
        web.delete()
    })
}

/// A link that was shut on the host says nothing of its container: that lives, and keeps its network.
#[test]
fn a_link_that_is_down_proves_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let link = web.host_interface()?;
        host.sh(&format!("ip link set {link} down; rm /run/ocinet/store-*"))?;
        let next = host.container("next").run()?;
        host.ocinet("gc")?.success()?;
        ensure!(web.sandbox()?.state == State::Attached, "{:#?}", web.sandbox()?);
        host.ocinet("doctor --fix")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()?;
        web.delete()?;
        next.delete()
    })
}
