//! containerd and our shim: the life of containers, and crashes.

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{FLAGS, Release, with_containerd, with_release};
use ocinet_integration::{Proto::Tcp, UPLINK, eventually};

const PUBLISH: &str = "--annotation io.ocinet.publish=8080:80";

/// The stock shim does everything except the network.
#[test]
fn what_ctr_does_with_containers() -> Result<()> {
    with_containerd(|host, containerd| {
        let web = containerd.run("web", PUBLISH, "80")?;
        ensure!(web.exec("ip -o -4 address show eth0")?.contains(&web.address()?.to_string()), "exec");
        ensure!(containerd.ctr("task ps web")?.success()?.contains(&web.pid.to_string()), "ps");
        ensure!(containerd.ctr("task metrics web")?.success()?.contains("memory"), "metrics");
        containerd.ctr("task pause web")?.success()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        containerd.ctr("task resume web")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;

        let ctr = containerd.ctr_command();
        let stdin = format!("echo hello | {ctr} run --rm {FLAGS} /mnt/rootfs cat /bin/busybox head -n 1 2>&1");
        ensure!(host.sh(&stdin)? == "hello\n", "stdin");
        // ctr stops reading when the program has ended and may lose its last output, so the program waits until the
        // output was read.
        let tty = "/bin/busybox sh -c \"tty; until [ -e /tmp/read ]; do sleep 0.01; done\"";
        let tty = format!("{ctr} run --rm --tty {FLAGS} /mnt/rootfs tty {tty}");
        let mut terminal = host.background(&["script", "--quiet", "--return", "--command", &tty, "/dev/null"])?;
        let said = terminal.line()?;
        ensure!(said.contains("/dev/pts/"), "a terminal: {said}");
        host.sh("touch /mnt/rootfs/tmp/read")?;
        let process = host.path(format!("/proc/{}", terminal.pid()));
        eventually("the container has ended", || Ok(!process.exists()))?;
        host.sh("rm /mnt/rootfs/tmp/read")?;
        let code = format!("run --rm {FLAGS} /mnt/rootfs code /bin/busybox sh -c 'exit 42'");
        containerd.ctr(&code)?.exits(42)?;
        host.check()
    })
}

/// A killed container keeps its address and port until it is deleted. Then both are free, and the container can be
/// started again.
#[test]
fn kill_delete_and_start_again() -> Result<()> {
    with_containerd(|host, containerd| {
        for _ in 0..2 {
            let web = containerd.run("web", PUBLISH, "80")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.kill()?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            web.delete()?;
            host.settles()?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        }
        Ok(())
    })
}

/// A task is created first and started later, and one container can have several tasks in turn.
#[test]
fn a_container_with_several_tasks() -> Result<()> {
    with_release(Release::V2, |host, containerd| {
        let server = format!("container create {FLAGS} {PUBLISH} /mnt/rootfs web /mnt/bin/probe serve web 80");
        containerd.ctr(&server)?.success()?;
        ensure!(host.sandboxes()?.is_empty(), "no task yet: {:#?}", host.sandboxes()?);
        for _ in 0..2 {
            containerd.ctr("task start --detach --log-uri file:///mnt/containerd/web.out web")?.success()?;
            let web = containerd.container("web")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.ends();
            containerd.ctr("task delete --force web")?.success()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// containerd is killed and restarted: the containers run on, can be reached meanwhile, and can be deleted.
#[test]
fn containerd_starts_again() -> Result<()> {
    with_containerd(|host, containerd| {
        containerd.run("web", PUBLISH, "80")?.stays();
        containerd.kill();
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        containerd.launch()?;
        let web = containerd.container("web")?;
        let other = containerd.run("other", "", "80")?;
        web.reaches(Tcp, format!("{}:80", other.address()?))?.is("other")?;
        host.check()?;
        web.delete()?;
        other.delete()?;
        host.settles()
    })
}

/// The stock shim is killed: containerd calls our shim to delete the container, its network and its port.
#[test]
fn the_stock_shim_is_killed() -> Result<()> {
    with_containerd(|host, containerd| {
        let other = containerd.run("other", "", "80")?;
        let web = containerd.run("web", PUBLISH, "80")?;
        let shim = host.sh("ps -e -o pid=,args= | awk '/[c]ontainerd-shim-runc-v2.* -id web / {print $1}'")?;
        ensure!(shim.lines().count() == 1, "one shim: {shim:?}");
        let pid = web.ends();
        host.sh(&format!("kill -KILL {shim}"))?;
        eventually("its lease is gone", || Ok(host.settled_sandboxes()?.len() == 1))?;
        eventually("it is dead", || Ok(!host.path(format!("/proc/{pid}")).exists()))?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        let again = containerd.run("again", PUBLISH, "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("again")?;
        again.reaches(Tcp, format!("{}:80", other.address()?))?.is("other")?;
        host.check()
    })
}

/// All processes are killed at once, so that runc calls no hook: the shim's `delete` detaches by itself.
#[test]
fn what_a_crash_left_is_detached() -> Result<()> {
    with_containerd(|host, containerd| {
        let pid = containerd.run("web", PUBLISH, "80")?.ends();
        let processes = "ps -e -o pid=,args= | awk '/[c]ontainerd-shim-runc-v2.* -id web / {print $1}'";
        containerd.kill();
        // Without its state, runc knows nothing of the container, and calls no hook.
        host.sh(&format!("kill -KILL $({processes}) {pid}; rm -r /run/containerd/runc/{}/web", containerd.namespace))?;
        containerd.launch()?;
        eventually("its lease is gone", || Ok(host.settled_sandboxes()?.is_empty()))
            .with_context(|| containerd.log())?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))
    })
}

/// Fifty containers at once, each with a port. For each only the stock shim's process remains.
#[test]
fn fifty_at_once() -> Result<()> {
    with_release(Release::V2, |host, containerd| {
        let before = processes(host)?;
        let ctr = containerd.ctr_command();
        let run = format!(
            "{ctr} run --detach {FLAGS} --annotation io.ocinet.publish=$((8000 + n)):80 /mnt/rootfs web$n /mnt/bin/probe serve web$n 80"
        );
        host.sh(&format!(
            "for n in $(seq 50); do {run} </dev/null >/mnt/out$n 2>&1 & pids=\"${{pids:-}} $!\"; done
             for pid in $pids; do wait $pid || {{ cat /mnt/out*; exit 1; }}; done"
        ))?;
        ensure!(host.sandboxes()?.len() == 50, "{:#?}", host.sandboxes()?);
        for n in [1, 25, 50] {
            host.peer().reaches(Tcp, format!("{UPLINK}:{}", 8000 + n))?.is(&format!("web{n}"))?;
        }
        let added = processes(host)? - before;
        ensure!(added == 100, "a shim and a program for each, but there are {added} more processes");
        host.sh(&format!(
            "for n in $(seq 50); do {ctr} task delete --force web$n </dev/null >/mnt/out$n 2>&1 & pids=\"${{pids:-}} $!\"; done
             for pid in $pids; do wait $pid || {{ cat /mnt/out*; exit 1; }}; done"
        ))?;
        host.settles()
    })
}

fn processes(host: &ocinet_integration::Host) -> Result<usize> {
    let mut count = 0;
    // The service is one process for the host. Processes that finish in the background do not count.
    eventually("the number of processes is steady", || {
        let now =
            host.sh("ps -e -o args= | grep -vc -e '^ps' -e '^grep' -e '^sh ' -e 'ocinet-v2 serve'")?.trim().parse()?;
        Ok(std::mem::replace(&mut count, now) == now)
    })?;
    Ok(count)
}
