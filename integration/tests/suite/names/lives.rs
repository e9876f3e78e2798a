//! The lives of the name server: started, killed, replaced, lost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Host, OCINET, Runtime, Settings, eventually};
use serde_json::Value;

use super::{DEFINE, asks, lookup, story};

fn status(host: &Host) -> Result<Value> {
    Ok(serde_json::from_str(&host.ocinet("agent status --json")?.success()?)?)
}

fn worker(host: &Host) -> Result<u64> {
    status(host)?["worker"].as_u64().context("a worker")
}

/// The result of `asker many`: answered, answered wrongly, lost, and in microseconds the longest time, that of half of
/// them and that of 99 of 100.
fn result(line: &str) -> Result<[u64; 6]> {
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| anyhow::anyhow!("{line:?} is no result"))
}

fn ask_many(container: &Container<'_>, count: &str, rate: &str) -> Result<ocinet_integration::Background> {
    let mut asking = container.background(&["/mnt/bin/asker", "many", "169.254.53.53", "db", count, rate])?;
    ensure!(asking.line()? == "ready");
    Ok(asking)
}

#[test]
fn workers_that_are_killed_lose_no_question() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let db = host.container("db").network("front").run()?;
        let supervisors = host.name_servers()?;
        let mut asking = ask_many(&web, "24000", "2000")?;
        let mut killed = 0;
        while killed < 50 {
            let pids = host.sh("pidof ocinet-agent")?;
            let mut pids = pids.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
            if let Some(pid) = pids.find(|pid| !supervisors.contains(pid)) {
                killed += usize::from(host.sh(&format!("kill -KILL {pid}")).is_ok());
            }
            sleep(Duration::from_millis(150));
        }
        let [answered, wrong, lost, longest, ..] = result(&asking.line()?)?;
        ensure!(wrong == 0 && lost == 0, "{answered} answered, {wrong} wrongly, {lost} lost, in up to {longest} us");
        ensure!(host.name_servers()? == supervisors, "the supervisor stays");
        web.delete()?;
        db.delete()
    })
}

/// The installed program takes over, with the sockets and the claim, while questions are asked.
#[test]
fn another_program_takes_over() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let db = host.container("db").network("front").run()?;
        let before = status(host)?;
        let mut asking = ask_many(&web, "2400", "400")?;
        for _ in 0..5 {
            let pid = worker(host)?;
            host.sh("cp /mnt/bin/ocinet-agent /mnt/bin/new; mv /mnt/bin/new /mnt/bin/ocinet-agent")?;
            host.ocinet("agent replace")?.success()?;
            eventually("another worker", || Ok(worker(host)? != pid))?;
        }
        let [answered, wrong, lost, longest, ..] = result(&asking.line()?)?;
        ensure!(wrong == 0 && lost == 0, "{answered} answered, {wrong} wrongly, {lost} lost, in up to {longest} us");
        ensure!(status(host)?["pid"] == before["pid"], "in the same process");
        let runs = host.sh(&format!("readlink /proc/{}/exe", before["pid"]))?;
        ensure!(runs.trim() == "/mnt/bin/ocinet-agent", "{runs}");
        eventually("one worker is left", || Ok(host.sh("pidof ocinet-agent")?.split_whitespace().count() == 2))?;
        // One that cannot run leaves the one that does.
        host.sh("cp /mnt/bin/ocinet-agent /mnt/kept; echo >/mnt/bin/new; mv /mnt/bin/new /mnt/bin/ocinet-agent")?;
        host.ocinet("agent replace")?.success()?;
        sleep(Duration::from_millis(300));
        ensure!(asks(&web, "udp", "A", &["db"])?.starts_with("NOERROR: 10.64.1."));
        host.sh("mv /mnt/kept /mnt/bin/ocinet-agent")?;
        web.delete()?;
        db.delete()
    })
}

/// What a worker that is taken over could use: it has no right, no file and no way that its work does not need. Started
/// by a hook that has limits, signals that are ignored, a group and a score.
#[test]
fn it_has_no_rights_and_nothing_of_its_starter() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let (supervisor, worker) = (host.name_servers()?[0], worker(host)?);
        let of = |pid: u64, file: &str| host.sh(&format!("cat /proc/{pid}/{file}"));
        let text = of(worker, "status")?;
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Threads:\t1",
            "SigBlk:\t0000000000000000",
        ] {
            ensure!(text.contains(line), "{line} is missing in\n{text}");
        }
        for pid in [u64::from(supervisor), worker] {
            has_nothing_of_its_starter(host, pid)?;
            // That of every program that ocinet starts.
            let environment = of(pid, "environ")?;
            ensure!(environment.matches('=').count() == 2 && environment.contains("LC_ALL=C"), "{environment}");
        }
        let session = |pid: u64| host.sh(&format!("ps -o sid= -p {pid}"));
        ensure!(session(worker)?.trim() == worker.to_string(), "a session of its own");
        ensure!(status(host)?["landlock"] != "none", "Landlock: {}", status(host)?["landlock"]);
        web.delete()
    })
}

/// Kills the supervisor, and its worker with it.
fn kill_whole(host: &Host) -> Result<()> {
    host.sh(&format!("kill -KILL {}", host.name_servers()?[0]))?;
    eventually("both are dead", || Ok(host.sh("pidof ocinet-agent || true")?.trim().is_empty()))
}

/// The supervisor is killed, and its worker with it: everything that looks starts another.
#[test]
fn one_that_is_killed_whole_is_started_again() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        kill_whole(host)?;
        host.container("db").network("front").run()?.delete()?;
        ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "after an attach");
        kill_whole(host)?;
        host.ocinet("gc")?.success()?;
        ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "after gc");
        // One without which an attach cannot be is an error, and the container does not start.
        kill_whole(host)?;
        host.sh("mv /mnt/bin/ocinet-agent /mnt/kept")?;
        host.container("db").network("front").refused()?.says(&["/mnt/bin/ocinet-agent is missing"])?;
        let plain = host.container("plain").run()?;
        host.sh("mv /mnt/kept /mnt/bin/ocinet-agent")?;
        host.ocinet("gc")?.success()?;
        ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "after it was installed again");
        plain.delete()?;
        web.delete()
    })
}

/// Its namespace or the whole state directory is lost.
#[test]
fn a_lost_store_and_a_lost_namespace_are_made_up_for() -> Result<()> {
    for loss in [
        "rm /run/ocinet/store-*",
        "rm /run/ocinet/lock",
        "umount /run/ocinet/names; rm /run/ocinet/names",
        "umount /run/ocinet/names",
        // The name server may be making a file there.
        "umount /run/ocinet/names; until rm -r /run/ocinet 2>/dev/null; do :; done",
    ] {
        Settings::default().runtime(Runtime::Runc).prepare(DEFINE).test(|host| {
            let web = host.container("web").network("front").run()?;
            let db = host.container("db").network("back").run()?;
            host.sh(loss)?;
            let next = host.container("next").network("front").run().with_context(|| loss.to_owned())?;
            eventually("names are found", || {
                Ok(lookup(&next, "web")?.starts_with("10.64.1.") && lookup(&db, "db")?.starts_with("10.64.2."))
            })
            .with_context(|| loss.to_owned())?;
            ensure!(lookup(&web, "next")?.starts_with("10.64.1."), "{loss}");
            eventually("one is left", || Ok(host.name_servers()?.len() == 1)).with_context(|| loss.to_owned())?;
            web.delete()?;
            db.delete()?;
            next.delete()
        })?;
    }
    Ok(())
}

/// A worker that hangs is replaced. Where the supervisor hangs as well, doctor sees it, and says what ends it.
#[test]
fn one_that_hangs_is_replaced_or_seen() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let (before, supervisors) = (worker(host)?, host.name_servers()?);
        host.sh(&format!("kill -STOP {before}"))?;
        eventually("another worker answers", || Ok(lookup(&web, "web")?.starts_with("10.64.1.")))?;
        ensure!(worker(host)? != before && host.name_servers()? == supervisors, "under the same supervisor");
        host.ocinet("doctor")?.success()?;
        host.sh("pkill -STOP ocinet-agent")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout.clone();
        ensure!(told.contains("name server does not answer") && told.contains("SIGKILL"), "{told}");
        host.sh("pkill -KILL ocinet-agent")?;
        host.ocinet("gc")?.success()?;
        ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "another answers");
        host.ocinet("doctor")?.success()?;
        web.delete()
    })
}

/// What was changed in its namespace is seen by doctor, and another namespace takes its place. So it is with one of
/// another kind that was bound there.
#[test]
fn its_namespace_is_made_anew_where_it_was_changed() -> Result<()> {
    let settings = Settings::default().runtime(Runtime::Runc).prepare(DEFINE).prepare(super::answers::WITH_IPV6);
    settings.test(|host| {
        let web = host.container("web").network("front").run()?;
        let six = host.container("six").network("dual").run()?;
        host.ocinet("doctor")?.success()?;
        let port = "$(ip -o link show type veth | sed -n 's/.* \\(ocvn-[0-9a-f]*\\)@.*/\\1/p' | head -n 1)";
        for (change, told) in [
            ("sysctl -qw net.ipv4.conf.all.forwarding=1", "sysctl -qw net/ipv4/conf/all/forwarding=0"),
            ("sysctl -qw net.ipv6.conf.default.accept_ra=1", "sysctl -qw net/ipv6/conf/default/accept_ra=0"),
            ("ip address del 169.254.53.53/32 dev lo", "ip address add 169.254.53.53/32 dev lo"),
            (
                "ip -6 address del fd6f:6369:6e65:7400::53/128 dev lo",
                "ip address add fd6f:6369:6e65:7400::53/128 dev lo",
            ),
            ("ip rule add priority 2 lookup main", "ip rule add priority 1"),
            ("ip -6 rule del priority 1", "ip rule add priority 1"),
            ("ip route del 10.64.1.0/24", "ip route append 10.64.1.0/24 dev ocvn-"),
            ("ip -6 route del fd00:4::/64", "ip route append fd00:4::/64 dev ocvn-"),
            ("ip link set lo down", "ip link set lo up"),
            (&format!("ip link set {port} down"), "ip link set dev ocvn-"),
        ] {
            host.sh(&format!("nsenter --net=/run/ocinet/names sh -euc '{}'", change.replace('\'', "'\\''")))?;
            let said = host.ocinet("doctor")?.exits(1)?.stdout;
            ensure!(
                said.contains("namespace of the name server is not as it was made") && said.contains(told),
                "{change}: {said}"
            );
            host.ocinet("doctor --fix")?.success().with_context(|| change.to_owned())?;
            host.ocinet("doctor")?.success().with_context(|| change.to_owned())?;
            for one in [&web, &six] {
                eventually("names are found", || Ok(lookup(one, &one.sandbox()?.name)?.starts_with("10.64.")))?;
            }
        }
        host.sh("mount --bind /proc/self/ns/uts /run/ocinet/names")?;
        let next = || host.container("next").network("back");
        next().refused()?.says(&["no network namespace", "ocinet doctor --fix"])?;
        let said = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(said.contains("no network namespace"), "{said}");
        host.ocinet("doctor --fix")?.success()?;
        let next = next().run()?;
        ensure!(lookup(&next, "next")?.starts_with("10.64.2."), "in another one");
        host.ocinet("doctor")?.success()?;
        next.delete()?;
        six.delete()?;
        web.delete()
    })
}

/// One that cannot work says why at once. What is left of one that was killed goes with the last container.
#[test]
fn one_that_cannot_start_says_why() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        kill_whole(host)?;
        let began = Instant::now();
        let command = [OCINET, "gc"];
        let told = host.command(&[&["/mnt/bin/asker", "filtered", "inotify_init1"][..], &command].concat()).output()?;
        let said = String::from_utf8_lossy(&told.stderr);
        ensure!(!told.status.success() && said.contains("raise fs.inotify.max_user_instances"), "{said}");
        ensure!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        host.ocinet("gc")?.success()?;
        ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "with an instance");
        kill_whole(host)?;
        web.delete()?;
        ensure!(host.sh("ls /run/ocinet")?.contains("agent.sock"), "it was left");
        host.ocinet("gc")?.success()?;
        ensure!(!host.sh("ls /run/ocinet")?.contains("agent.sock"), "and is gone");
        Ok(())
    })
}

/// Containers that come and go while it ends and starts.
#[test]
fn it_ends_only_where_no_container_needs_it() -> Result<()> {
    story(|host| {
        for round in 0..12 {
            let web = host.container("web").network("front").run()?;
            ensure!(lookup(&web, "web")?.starts_with("10.64.1."), "round {round}");
            web.delete()?;
            // The next one comes while it ends, a moment later each time.
            sleep(Duration::from_millis(5 * round));
        }
        Ok(())
    })
}

/// What a starter may have done to itself is not done to the name server: its descriptors are closed, its limits are small,
/// it is the last that gets a processor and the first that is killed where memory is short, it has a mount namespace and a
/// filter of system calls.
#[test]
fn a_starter_that_is_badly_off_starts_one_that_is_not() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let starters = [
            "exec 0<&- 1>&- 2>&-; exec /mnt/bin/ocinet gc",
            "exec 3</dev/null 7</etc/passwd 19</proc/self/mounts; exec /mnt/bin/ocinet gc",
            "ulimit -S -n 64; ulimit -S -f 100; ulimit -S -l 0; ulimit -S -v 4000000; exec /mnt/bin/ocinet gc",
            "trap '' CHLD TERM HUP PIPE USR1; umask 0777; cd /tmp; exec env -i /mnt/bin/ocinet gc",
            "exec nice -n 19 taskset 1 chrt --idle 0 choom -n 900 -- /mnt/bin/ocinet gc",
            "exec unshare --mount sh -euc 'mount -t tmpfs none /etc; exec /mnt/bin/ocinet gc'",
            "exec setsid -w /mnt/bin/asker filtered acct /mnt/bin/ocinet gc",
        ];
        for starter in starters {
            host.sh(&format!("kill -KILL {}", host.name_servers()?[0]))?;
            eventually("both are dead", || Ok(host.sh("pidof ocinet-agent || true")?.trim().is_empty()))?;
            host.sh(&format!("bash -c {}", quoted(starter))).with_context(|| starter.to_owned())?;
            let found = lookup(&web, "web")?;
            ensure!(found.starts_with("10.64.1."), "{starter}: {found}");
            let supervisor = u64::from(host.name_servers()?[0]);
            for pid in [supervisor, worker(host)?] {
                has_nothing_of_its_starter(host, pid).with_context(|| starter.to_owned())?;
            }
        }
        web.delete()
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn has_nothing_of_its_starter(host: &Host, pid: u64) -> Result<()> {
    let open = host.sh(&format!("for fd in /proc/{pid}/fd/*; do readlink $fd; done"))?;
    let known = ["/dev/null", "socket:[", "pipe:[", "anon_inode:", "/run/ocinet/"];
    let strange: Vec<&str> = open.lines().filter(|file| !known.iter().any(|start| file.starts_with(start))).collect();
    ensure!(strange.is_empty(), "process {pid} has {strange:?}");
    let place =
        host.sh(&format!("readlink /proc/{pid}/cwd; readlink /proc/{pid}/ns/mnt; cat /proc/{pid}/oom_score_adj"))?;
    let expected = host.sh("echo /; readlink /proc/1/ns/mnt; echo 0")?;
    ensure!(place == expected, "{place} is not {expected}");
    let limits = host.sh(&format!("cat /proc/{pid}/limits"))?;
    for line in ["Max core file size        0 ", "Max open files            4096 "] {
        ensure!(limits.contains(line), "{line} is missing in\n{limits}");
    }
    let words = |name: &str| {
        limits
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    for name in ["Max locked memory", "Max address space"] {
        let words = words(name).context("a limit")?;
        ensure!(words[0] == words[1], "{name} is smaller than it may be: {words:?}");
    }
    let status = host.sh(&format!("cat /proc/{pid}/status"))?;
    // Of the signals with a name, SIGPIPE alone is ignored.
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).context("ignored signals")?;
    ensure!(u64::from_str_radix(ignored, 16)? & 0x7fff_ffff == 0x1000, "ignored signals: {ignored}");
    for line in ["SigBlk:\t0000000000000000", "Umask:\t0077"] {
        ensure!(status.contains(line), "{line} is missing in\n{status}");
    }
    let scheduled =
        host.sh(&format!("ps -o cls=,ni= -p {pid}; taskset -p {pid} | sed 's/.*: //'; taskset -p 1 | sed 's/.*: //'"))?;
    let words: Vec<&str> = scheduled.split_whitespace().collect();
    ensure!(words[..2] == ["TS", "0"] && words[2] == words[3], "scheduled as {scheduled}");
    Ok(())
}
