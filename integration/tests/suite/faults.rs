//! System calls fail, one at a time, beside a container that lives.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use ocinet_integration::survive::{CALLER, Scene, Share, Whose, at_every_fault};
use ocinet_integration::{OCINET, Output, Proto::Tcp, Settings, UPLINK};

/// The helper makes the requested call fail, and no other.
#[test]
fn one_system_call_fails() -> Result<()> {
    Settings::default().test(|host| {
        // The first attach of a host makes other system calls than later ones.
        host.container("first").publish("8080:80").run()?.delete()?;
        host.settles()?;
        let web = host.container("web").publish("8080:80").prepare()?;
        let attach = |way: &[&str]| {
            let mut command = host.command(&[&[CALLER], way, &[OCINET, "hook", "createRuntime"]].concat());
            Output::of(&mut command, web.state("createRuntime").to_string().as_bytes())
        };
        let no_descriptor = "24";
        let failed = attach(&["fail-at", "0", "open", "0", no_descriptor])?;
        let said = ["caller: failed open(/proc/", "with EMFILE", "find process", "Too many open files"];
        ensure!(failed.code != 0 && said.iter().all(|words| failed.stderr.contains(words)), "{failed}");
        ensure!(host.sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        let never = attach(&["fail-at", "0", "open", "1000", no_descriptor])?.exits(0)?;
        ensure!(never.stderr.contains("caller: not failed"), "{never}");
        web.hook("poststop")?.success().map(drop)
    })
}

/// The kernel makes a write to `net.ipv4.ip_forward` again while other processes change links. The helper counts it once,
/// so the numbers of the later calls are the same in each run.
#[test]
fn a_call_that_the_kernel_makes_again_counts_once() -> Result<()> {
    Settings::default().test(|host| {
        let toggle = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $((n % 2)) >/proc/sys/net/ipv4/ip_forward; done";
        let said = host.sh(&format!(
            "links() {{ while [ -e /mnt/churn ]; do ip link add $1 type veth peer name $2; ip link delete $1; done; }}
             touch /mnt/churn
             links near0 far0 >/dev/null &
             links near1 far1 >/dev/null &
             for run in $(seq 20); do
                 {CALLER} count /mnt/counts dash -c '{toggle}' </dev/null
                 jq .calls /mnt/counts
             done
             rm /mnt/churn
             wait"
        ))?;
        let counts = said.lines().collect::<BTreeSet<_>>();
        ensure!(counts.len() == 1, "{counts:?}");
        Ok(())
    })
}

/// A lock call fails, of ours or of SQLite's, also after a commit: what was written by then is undone.
#[test]
fn no_failing_lock_leaves_anything() -> Result<()> {
    Settings::default().test(|host| {
        host.container("first").publish("8080:80").run()?.delete()?;
        host.settles()?;
        let no_lock = "37";
        for number in 0.. {
            let web = host.container("web").publish("8080:80").prepare()?;
            let way = [CALLER, "fail-at", "0", "fcntl", &number.to_string(), no_lock, OCINET, "hook", "createRuntime"];
            let attached = Output::of(&mut host.command(&way), web.state("createRuntime").to_string().as_bytes())?;
            if attached.code != 0 {
                let left = host.settled_sandboxes()?;
                ensure!(left.is_empty(), "{attached}\n{left:#?}");
            }
            host.check()?;
            web.hook("poststop")?.success()?;
            host.settles()?;
            if attached.stderr.contains("caller: not failed") {
                ensure!(number > 10, "it takes only {number} locks");
                break;
            }
        }
        Ok(())
    })
}

/// A file cannot be opened. SQLite opens a store for reading then where it can; that it cannot be written is no damage.
#[test]
fn no_failing_open_sets_the_store_aside() -> Result<()> {
    Settings::default().test(|host| {
        let living = host.container("living").publish("8081:80").run()?;
        let no_memory = "12";
        let mut read_only = 0;
        for number in 0.. {
            let web = host.container("web").publish("8080:80").prepare()?;
            let way =
                [CALLER, "fail-at", "0", "openat", &number.to_string(), no_memory, OCINET, "hook", "createRuntime"];
            let attached = Output::of(&mut host.command(&way), web.state("createRuntime").to_string().as_bytes())?;
            let aside = host.sh("ls /run/ocinet | grep damaged || true")?;
            ensure!(aside.is_empty(), "{attached}\n{aside}");
            read_only += usize::from(attached.stderr.contains("can be read, but not be opened for writing"));
            web.hook("poststop")?.success()?;
            if attached.stderr.contains("caller: not failed") {
                ensure!(number > 10 && read_only == 1, "it opens only {number} files; {read_only} was the store");
                break;
            }
        }
        host.settled_sandboxes()?;
        living.delete()
    })
}

/// A look at the whole store lets each of its reads fail once. SQLite's own check answers with what it could not look
/// at, and that is no damage.
#[test]
fn no_failing_read_sets_the_store_aside() -> Result<()> {
    Settings::default().test(|host| {
        let living = host.container("living").publish("8081:80").run()?;
        // A store from which much was deleted has free pages, which are checked by themselves.
        let many = (0..1000).map(|nth| format!("{}:80", 9000 + 2 * nth)).collect::<Vec<_>>().join(",");
        host.container("gone").publish(&many).run()?.delete()?;
        host.settled_sandboxes()?;
        let (no_memory, mut checked) = ("12", 0);
        for number in 0.. {
            let way = [CALLER, "fail-at", "0", "pread64", &number.to_string(), no_memory, OCINET, "doctor", "--fix"];
            let fixed = host.output(&way)?;
            let aside = host.sh("ls /run/ocinet | grep damaged || true")?;
            let is_blamed = format!("{fixed}").contains("is damaged");
            ensure!(aside.is_empty() && !is_blamed, "{fixed}\n{aside}");
            checked += usize::from(fixed.stderr.contains("failed to get page"));
            if fixed.stderr.contains("caller: not failed") {
                ensure!(number > 10 && checked > 0, "it reads {number} times; {checked} were of free pages");
                break;
            }
        }
        host.check()?;
        living.delete()
    })
}

/// A share of the system calls of every kind of detach fails.
#[test]
fn a_failing_system_call_spares_who_lives_at_a_detach() -> Result<()> {
    a_share(&[Scene::Detach, Scene::DetachKept], 2.0)
}

/// A share of the system calls of the operator's commands fails. A container that cannot be examined is not taken for
/// dead.
#[test]
fn a_failing_system_call_spares_who_lives_at_a_collection() -> Result<()> {
    a_share(&[Scene::Collect, Scene::ResetRefused, Scene::Reset], 1.5)?;
    a_share(&[Scene::Restore], 0.5)
}

/// Threads do not race in the same way each time, so some of the calls may never come.
fn a_share(scenes: &[Scene], percent: f64) -> Result<()> {
    for scene in scenes {
        let tally = at_every_fault(*scene, Whose::Own, &Settings::default(), Share::percent(percent), 4)?;
        ensure!(tally.leaks.is_empty() && tally.missed.len() * 4 <= tally.tried, "{tally:#?}");
    }
    Ok(())
}

/// `doctor --fix` was killed after it had made the link of a container again and before it gave it an address. The next
/// `doctor --fix` detects that, and so does a repeated attach.
#[test]
fn a_link_that_was_cut_off_is_made_anew() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let (link, pid) = (web.host_interface()?, web.pid());
        let cut_off = format!(
            "ip link delete {link}
             ip link add {link} mtu 1500 master ocinet0 type veth peer name eth0 mtu 1500 netns /proc/{pid}/ns/net"
        );
        for mend in ["doctor --fix", "hook createRuntime"] {
            host.sh(&cut_off)?;
            match mend {
                "doctor --fix" => host.ocinet(mend)?.success()?,
                _ => web.hook("createRuntime")?.success()?,
            };
            host.check().context(mend)?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").context(mend)?;
        }
        Ok(())
    })
}

/// `doctor --fix` cannot enter the container to finish a link: then it deletes the link again.
#[test]
fn a_link_that_cannot_be_done_is_taken_back() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let link = web.host_interface()?;
        let (mut failed, not_permitted) = (0, "1");
        // On the way to a namespace or back from it.
        for number in 0..50 {
            host.sh(&format!("ip link delete {link} || true"))?;
            let number = number.to_string();
            let way = [CALLER, "fail-at", "0", "setns", &number, not_permitted, OCINET, "doctor", "--fix"];
            let fixed = host.output(&way)?;
            if fixed.stderr.contains("caller: not failed") {
                break;
            }
            failed += u32::from(
                fixed.stderr.contains("container web: network bridge: enter the container's network namespace"),
            );
            let alias = host.sh(&format!("cat /sys/class/net/{link}/ifalias 2>/dev/null || echo 'no link'"))?;
            ensure!(!alias.trim().is_empty(), "a link without its other side is left: {fixed}");
        }
        ensure!(failed > 0, "it was never kept from doing the container's side");
        host.ocinet("doctor --fix")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").map(drop)
    })
}
