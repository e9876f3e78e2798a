//! Several hooks at once.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Host, Output, Settings, with_every_firewall};

/// Calls the hook for each container at the same time.
fn at_once(containers: &[Container<'_>], stage: &str) -> Result<Vec<Output>> {
    thread::scope(|scope| {
        let calls: Vec<_> = containers.iter().map(|container| scope.spawn(|| container.hook(stage))).collect();
        calls.into_iter().map(|call| call.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?).collect()
    })
}

/// Containers that are not attached yet, each with a port of its own.
fn waiting(host: &Host, count: usize) -> Result<Vec<Container<'_>>> {
    let prepare = |number| host.container(&format!("web{number}")).publish(&format!("{}:80", 8000 + number)).prepare();
    (0..count).map(prepare).collect()
}

/// On a fresh host store, bridge and ruleset have to be made, each only once.
#[test]
fn two_first_attaches_at_once() -> Result<()> {
    for _ in 0..5 {
        with_every_firewall(|host| {
            let containers = waiting(host, 2)?;
            for output in at_once(&containers, "createRuntime")? {
                ensure!(output.exits(0)?.stderr.is_empty(), "without a word");
            }
            host.check()?;
            for output in at_once(&containers, "poststop")? {
                output.success()?;
            }
            host.settles()
        })?;
    }
    Ok(())
}

/// Thirty containers are attached at once, and detached at once.
#[test]
fn thirty_attaches_at_once() -> Result<()> {
    with_every_firewall(|host| {
        let containers = waiting(host, 30)?;
        for output in at_once(&containers, "createRuntime")? {
            output.success()?;
        }
        let sandboxes = host.sandboxes()?;
        let addresses: BTreeSet<_> = sandboxes.iter().filter_map(ocinet_integration::Sandbox::address).collect();
        ensure!(addresses.len() == containers.len(), "an address is given twice: {sandboxes:#?}");
        host.check()?;
        for output in at_once(&containers, "poststop")? {
            output.success()?;
        }
        host.settles()
    })
}

/// Ten containers ask for one port: one gets it.
#[test]
fn one_port_goes_to_one_container() -> Result<()> {
    with_every_firewall(|host| {
        let prepare = |number| host.container(&format!("web{number}")).publish("8080:80").prepare();
        let containers = (0..10).map(prepare).collect::<Result<Vec<_>>>()?;
        let codes: Vec<_> = at_once(&containers, "createRuntime")?.iter().map(|output| output.code).collect();
        ensure!(codes.iter().filter(|code| **code == 0).count() == 1, "{codes:?}");
        ensure!(codes.iter().all(|code| [0, 3].contains(code)), "{codes:?}");
        host.check()?;
        for output in at_once(&containers, "poststop")? {
            output.success()?;
        }
        host.settles()
    })
}

/// A start and a stop of one container at the same time: either may come first, and nothing is left half done.
#[test]
fn attach_and_delete_of_one_key_at_once() -> Result<()> {
    Settings::default().test(|host| {
        for _ in 0..12 {
            let web = host.container("web").publish("8080:80").prepare()?;
            let (attach, detach) = thread::scope(|scope| {
                let attach = scope.spawn(|| web.hook("createRuntime"));
                let detach = web.hook("poststop");
                (attach.join().ok(), detach)
            });
            attach.context("a thread panicked")??.success()?;
            detach?.success()?;
            host.check()?;
            web.hook("poststop")?.success()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// A runtime calls twice at once for one container: both calls succeed, and the container is attached once.
#[test]
fn two_attaches_of_one_key_at_once() -> Result<()> {
    Settings::default().test(|host| {
        for _ in 0..8 {
            let web = host.container("web").publish("8080:80").prepare()?;
            let (one, other) = thread::scope(|scope| {
                let one = scope.spawn(|| web.hook("createRuntime"));
                let other = web.hook("createRuntime");
                (one.join().ok(), other)
            });
            one.context("a thread panicked")??.success()?;
            other?.success()?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            host.check()?;
            web.hook("poststop")?.success()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// A process holds the lock of the store and does not release it. The wait ends, nothing is left, and the error names
/// the process.
#[test]
fn a_wait_for_a_lock_ends_and_names_its_holder() -> Result<()> {
    // fcntl_locking(2): F_SETLK is 6, F_WRLCK 1; the byte is the first one.
    const HOLD: &str = r#"open(my $f, "+<", "/run/ocinet/lock") or die;
        my $lock = pack("ssx4qqix4", 1, 0, 0, 1, 0); fcntl($f, 6, $lock) or die; $| = 1; print "held\n"; sleep 100"#;
    Settings::default().test(|host| {
        host.container("earlier").run()?.delete()?;
        host.settles()?;
        let mut holder = host.background(&["perl", "-e", HOLD])?;
        ensure!(holder.line()? == "held");
        let pid = holder.pid();
        let refusal = host.unchanged_by(|| host.container("web").publish("8080:80").refused())?;
        let words = [format!("process {pid} (perl) holds it"), "waited 20 s for the lock of the store".to_owned()];
        refusal.exits(1)?.is_one_line()?.says(&words.each_ref().map(String::as_str))?;
        drop(holder);
        host.container("web").publish("8080:80").run()?.delete()
    })
}

/// A dead container is collected while another needs its address: the attach waits for the collection, and is not
/// refused.
#[test]
fn an_heir_and_gc_at_once() -> Result<()> {
    Settings::default().test(|host| {
        for _ in 0..20 {
            host.container("dead").publish("8080:80").run()?.abandon()?;
            let heir = host.container("heir").publish("8080:80").prepare()?;
            let (attach, gc) = thread::scope(|scope| {
                let gc = scope.spawn(|| host.ocinet("gc"));
                (heir.hook("createRuntime"), gc.join().ok())
            });
            attach?.success()?;
            gc.context("a thread panicked")??.success()?;
            host.check()?;
            heir.hook("poststop")?.success()?;
            host.settles()?;
        }
        Ok(())
    })
}
