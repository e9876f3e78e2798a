//! The process itself: one per host, even if several are started, and its socket.

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ocinet_integration::service::{SHIM, Service, forever, install_shim, socket};
use ocinet_integration::{Host, Output, Settings, eventually};
use rusqlite::Connection;

/// Of eight started at once one serves; the others report that.
#[test]
fn there_is_one() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        let script = format!("for n in 1 2 3 4 5 6 7 8; do {SHIM} serve 2>>/mnt/said & echo $!; done; wait");
        let mut starts = host.background(&["sh", "-c", &script])?;
        let pids = (0..8).map(|_| starts.line()).collect::<Result<Vec<_>>>()?;
        let running = || pids.iter().filter(|pid| host.path(format!("/proc/{pid}/exe")).exists()).collect::<Vec<_>>();
        eventually("one is left", || Ok(running().len() == 1))?;
        eventually("it is there", || Ok(UnixStream::connect(socket(host)).is_ok()))?;
        let said = host.sh("cat /mnt/said")?;
        ensure!(running().len() == 1 && said.lines().count() == 7, "{said}");
        let late = host.output(&[SHIM, "serve"])?.exits(3)?.is_one_line()?;
        late.says(&["/run/ocinet/ocinet.sock", "already"])?;
        host.sh(&format!("kill -KILL {}", running()[0]))?;
        Ok(())
    })
}

/// The socket of a killed service is replaced.
#[test]
fn a_stale_socket_is_taken_over() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        service.kill()?;
        ensure!(socket(host).exists() && UnixStream::connect(socket(host)).is_err(), "it is stale");
        let service = Service::start(host, &[])?;
        service.call(async |client| client.list(forever(), &Default::default()).await)?;
        Ok(())
    })
}

/// The bytes of the store that `fill` makes of `bytes`. It is made outside, since SQLite cannot open a file of a
/// private host.
pub fn made(name: &str, fill: impl FnOnce(&Connection) -> rusqlite::Result<()>, bytes: &[u8]) -> Result<Vec<u8>> {
    let path = std::env::temp_dir().join(format!("ocinet-{name}-{}", std::process::id()));
    fs::write(&path, bytes)?;
    let made = Connection::open(&path).and_then(|store| fill(&store));
    let bytes = fs::read(&path)?;
    fs::remove_file(&path)?;
    Ok(made.map(|()| bytes)?)
}

/// Replaces the host's store.
pub fn place(host: &Host, bytes: &[u8]) -> Result<()> {
    fs::write(host.path("/run/ocinet/placed"), bytes)?;
    host.sh("mv /run/ocinet/placed /run/ocinet/store-*.db").map(drop)
}

/// The store of an earlier version, as an upgrade finds it: the service that follows it does not stop the next hook
/// from upgrading it.
#[test]
fn an_old_store_holds_nobody_up() -> Result<()> {
    const LATER: &str = "UPDATE host SET firewall = 'nftables', former_firewalls = '', asks_host = 0";
    let rows = [
        (include_str!("../../../hook/src/store/fixtures/version-1.sql"), ""),
        (include_str!("../../../hook/src/store/fixtures/version-4.sql"), LATER),
        (include_str!("../../../hook/src/store/fixtures/version-5.sql"), LATER),
    ];
    Settings::default().test(|host| {
        host.container("first").run()?.delete()?;
        host.settles()?;
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        for (fixture, more) in rows {
            // The fixture's containers are long gone, and so are the settings of its host.
            let gone = "DELETE FROM record; DELETE FROM lease; DELETE FROM port; UPDATE host SET closed_forwarding = 0";
            place(host, &made("old", |store| store.execute_batch(&format!("{fixture}{gone}; {more}")), &[])?)?;
            let began = Instant::now();
            let web = host.container("web").run()?;
            ensure!(follower.change()?.0 == "+web", "it is told");
            let list = service.call(async |client| client.list(forever(), &Default::default()).await)?;
            ensure!(list.containers.len() == 1, "{list}");
            web.delete()?;
            ensure!(follower.change()?.0 == "-web", "it is told");
            ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
            host.settles()?;
        }
        Ok(())
    })
}

/// A newer hook has upgraded the store: the service cannot follow it any more, ends, and names the reason. A service
/// manager then starts the newer one.
#[test]
fn a_store_of_a_newer_version_ends_it() -> Result<()> {
    Settings::default().test(|host| {
        host.container("first").run()?.delete()?;
        host.settles()?;
        install_shim(host)?;
        let serve = ["sh", "-c", &format!("{SHIM} serve 2>&1; echo exit code $?")];
        let mut service = Service::given(host, host.background(&serve)?)?;
        let path = host.sh("ls /run/ocinet/store-*.db")?;
        let before = fs::read(host.path(path.trim()))?;
        place(
            host,
            &made(
                "newer",
                |store| store.execute_batch("PRAGMA user_version = 99; PRAGMA application_id = 0x6f630063"),
                &[],
            )?,
        )?;
        let said = service.line()?;
        let newer = "is of version 99, and this ocinet knows version ";
        ensure!(said.contains(path.trim()) && said.contains(newer), "{said}");
        ensure!(service.line()? == "exit code 1", "a service manager starts it again");
        ensure!(!socket(host).exists(), "the next who needs it finds that it is gone");
        let again = host.output(&[SHIM, "serve"])?.exits(1)?.is_one_line()?;
        ensure!(again.stderr.contains(newer), "{again}");
        place(host, &before)
    })
}

/// The watch fails: the service ends with the kernel's error, and not as if its socket had been removed.
#[test]
fn it_ends_when_the_kernel_tells_it_nothing() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        // It fails for the first call of each thread. The following thread makes no other, and Rust's start-up ignores
        // its own.
        let fail = "inject=/^p?poll$:error=ENOMEM:when=1";
        let failed = host.output(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", fail, SHIM, "serve"])?;
        failed.exits(1)?.is_one_line()?.says(&["watch /run/ocinet", "Out of memory"]).map(drop)
    })
}

/// A file that is no socket of ours is not removed.
#[test]
fn nobody_elses_file_is_removed() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        host.sh("mkdir -m 0700 /run/ocinet; echo precious >/run/ocinet/ocinet.sock")?;
        let refused = host.output(&[SHIM, "serve"])?.exits(1)?.is_one_line()?;
        refused.says(&["/run/ocinet/ocinet.sock"])?;
        ensure!(host.sh("cat /run/ocinet/ocinet.sock")? == "precious\n", "it was touched");
        host.sh("rm /run/ocinet/ocinet.sock")?;
        // Another program that does not answer as the service listens there, as a socket unit does.
        let _listener =
            host.background(&["systemd-socket-activate", "--listen=/run/ocinet/ocinet.sock", "/bin/false"])?;
        eventually("a program listens", || Ok(socket(host).exists()))?;
        host.output(&[SHIM, "serve"])?.exits(3)?.is_one_line().map(drop)
    })
}

/// The service ends when its socket is removed, since clients would then start another one. It also ends after a time
/// without clients.
#[test]
fn it_ends_when_it_is_of_no_use() -> Result<()> {
    Settings::default().test(|host| {
        let ended = |service: &Service<'_>| {
            let process = host.path(format!("/proc/{}", service.pid()));
            eventually("it has ended", || Ok(!process.exists()))
        };
        let service = Service::start(host, &[])?;
        host.sh("rm /run/ocinet/ocinet.sock")?;
        ended(&service)?;
        let service = Service::start(host, &[])?;
        host.sh("rm -r /run/ocinet")?;
        ended(&service)?;
        let service = Service::start(host, &["--idle", "1"])?;
        let client = service.connect()?;
        // Another service without a client and with a longer idle time shows how much time has passed.
        let _other = host.background(&[SHIM, "serve", "--state-dir", "/mnt/other", "--idle", "2"])?;
        let other_socket = host.path("/mnt/other/ocinet.sock");
        eventually("the other one serves", || Ok(other_socket.exists()))?;
        eventually("the other one has ended", || Ok(!other_socket.exists()))?;
        ensure!(host.path(format!("/proc/{}", service.pid())).exists(), "a client is connected");
        drop(client);
        ended(&service)?;
        ensure!(!socket(host).exists(), "its socket goes with it");
        Ok(())
    })
}

/// The first client starts the service through a socket that another program made, for example systemd.
#[test]
fn a_socket_can_be_given() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        host.sh("mkdir -m 0700 /run/ocinet")?;
        let activate = ["systemd-socket-activate", "--listen=/run/ocinet/ocinet.sock", SHIM, "serve", "--idle", "1"];
        let waiting = host.background(&activate)?;
        eventually("the socket is there", || Ok(socket(host).exists()))?;
        let service = Service::given(host, waiting)?;
        service.call(async |client| client.list(forever(), &Default::default()).await)?;
        let process = host.path(format!("/proc/{}", service.pid()));
        eventually("it has ended", || Ok(!process.exists()))?;
        ensure!(socket(host).exists(), "the socket is not its own to remove");
        Ok(())
    })
}

/// An error on the command line is one line.
#[test]
fn its_command_line() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        for command in ["serve", "events"] {
            let help = host.output(&[SHIM, command, "--help"])?.success()?;
            ensure!(help.contains("--state-dir"), "{help}");
            let refused: Output = host.output(&[SHIM, command, "--stat-dir", "/x"])?.exits(2)?.is_one_line()?;
            refused.says(&["--stat-dir"])?;
        }
        Ok(())
    })
}

/// Started on demand, the service is in a control group of its own, and has the host's mounts.
#[test]
fn it_leaves_whoever_started_it() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        let group = host.control_group("starter");
        let script = format!(
            "for top in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
                 if mkdir -p $top/{group} && echo $$ >$top/{group}/cgroup.procs; then break; fi
             done 2>/dev/null
             echo 100 >/proc/self/oom_score_adj
             exec unshare --mount {SHIM} serve --on-demand"
        );
        let service = Service::given(host, host.background(&["sh", "-c", &script])?)?;
        let pid = service.pid();
        let groups = host.sh(&format!("cat /proc/{pid}/cgroup"))?;
        let own = group.replace("starter", "ocinet");
        ensure!(groups.contains(&own) && !groups.contains(&group), "{groups}");
        let mounts = host.sh(&format!("readlink /proc/1/ns/mnt /proc/{pid}/ns/mnt | uniq | wc -l"))?;
        ensure!(mounts.trim() == "1", "it has the mounts of its starter");
        ensure!(host.sh(&format!("cat /proc/{pid}/oom_score_adj"))?.trim() == "0", "it is killed before others");
        Ok(())
    })
}

/// systemd accepts the units, and they start the program.
#[test]
fn its_units() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/service");
        let units = units.display();
        host.sh(&format!(
            "mkdir /mnt/units; cp {units}/ocinet.socket {units}/ocinet.service /mnt/units
             grep -q '^ExecStart=/usr/bin/containerd-shim-ocinet-v2 serve$' /mnt/units/ocinet.service
             sed -i 's:/usr/bin:/mnt/bin:' /mnt/units/ocinet.service"
        ))?;
        let verify = "systemd-analyze verify --man=no /mnt/units/ocinet.socket /mnt/units/ocinet.service 2>&1";
        let said = host.output(&["sh", "-c", verify])?;
        host.sh("rm -rf /run/systemd")?;
        ensure!(said.code == 0 && said.stdout.is_empty(), "{said}");
        Ok(())
    })
}
