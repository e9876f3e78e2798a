//! Images whose `/etc` leads out of them. The host's files stay unchanged, whatever the container gets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, Runtime, Settings, every};

/// Where the hostile image is.
const IMAGE: &str = "/mnt/image";
/// A file of the host to which the image's links lead, in a folder that has one for each of our files.
const SENTINEL: &str = "/run/sentinel/resolv.conf";

/// Makes the image and the sentinel, and runs `script` in the image's `/etc`.
fn image(host: &Host, script: &str) -> Result<()> {
    host.sh(&format!(
        "rm -rf {IMAGE}; cp -a /mnt/rootfs {IMAGE}; cd {IMAGE}/etc; rm -f *; touch hosts hostname; {script}"
    ))
    .map(drop)
}

/// Runs a story under both runtimes, on a host with files to protect.
fn with_sentinel(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    let files =
        "mkdir /run/sentinel; cd /run/sentinel; for file in resolv.conf hosts hostname; do echo host >$file; done";
    [Runtime::Runc, Runtime::Crun].into_iter().try_for_each(|runtime| {
        Settings::default().runtime(runtime).prepare(&format!("({files}; chmod 640 *)")).test(&story)
    })
}

/// All attributes of the host's files that could be changed, and the host's mounts.
fn state_of_host(host: &Host) -> Result<String> {
    host.sh("find /run/sentinel -printf '%p %y %i %m %U:%G %s %T@ %C@\\n' | sort
        cat /run/sentinel/* /proc/self/mountinfo; ls /run | grep -v '^ocinet$'")
}

/// The runtime's output contains one line of ours, which names the file.
fn is_one_clear_line(said: &str) -> Result<()> {
    ensure!(said.matches("ocinet: ").count() == 1 && said.contains("/etc/resolv.conf"), "{said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

/// What the image has in place of a file: what it is, the script that makes it, and whether the container gets the
/// right file all the same.
fn in_place_of_a_file() -> Vec<(&'static str, String, bool)> {
    let right = true;
    vec![
        ("an absolute link to a file of the host", format!("ln -s {SENTINEL} resolv.conf"), right),
        ("a relative link out of the root", format!("ln -s ../../../../../../../..{SENTINEL} resolv.conf"), right),
        ("a link to a link", "echo image >honest; ln -s honest more; ln -s more resolv.conf".into(), right),
        ("a link to a link to nowhere", format!("ln -s {SENTINEL} more; ln -s more resolv.conf"), right),
        ("a dangling link into a missing folder", "ln -s /run/none/at/all/file resolv.conf".into(), right),
        ("a dangling link to a folder of the host", "ln -s /run/sentinel/new resolv.conf".into(), right),
        ("a link into a link", "ln -s /run out; ln -s out/sentinel/new resolv.conf".into(), !right),
        ("a link into a folder's link", "mkdir ../run; ln -s /run out; ln -s out/new resolv.conf".into(), right),
        ("a link to itself", "ln -s resolv.conf resolv.conf".into(), !right),
        ("a link to the root", "ln -s / resolv.conf".into(), !right),
        ("a magic link", format!("ln -s /proc/self/root{SENTINEL} resolv.conf"), !right),
        ("a magic link to a descriptor", "ln -s /proc/self/fd/0 resolv.conf".into(), !right),
        ("a FIFO", "mkfifo resolv.conf".into(), !right),
        ("a folder", "mkdir resolv.conf".into(), !right),
        ("a device", "mknod resolv.conf c 1 3".into(), !right),
        ("a file under a file", "cd ..; rm -r etc; echo file >etc".into(), !right),
        ("/etc, an absolute link", "cd ..; rm -r etc; mkdir -p run/sentinel; ln -s /run/sentinel etc".into(), right),
        (
            "/etc, a relative link",
            "cd ..; rm -r etc; mkdir -p run/sentinel; ln -s ../../run/sentinel etc".into(),
            right,
        ),
        ("/etc, an absolute link to nowhere", "cd ..; rm -r etc; ln -s /run/sentinel etc".into(), !right),
        ("/etc, a relative link to nowhere", "cd ..; rm -r etc; ln -s ../../../../run/sentinel etc".into(), !right),
        ("/etc, a link into the image", "cd ..; mv etc www/etc; ln -s www/etc etc".into(), right),
        ("/etc, a magic link", "cd ..; rm -r etc; ln -s /proc/self/root/run/sentinel etc".into(), !right),
    ]
}

/// The container gets the right file, or a clear error.
#[test]
fn whatever_is_in_the_place_of_a_file() -> Result<()> {
    with_sentinel(|host| {
        every(in_place_of_a_file(), |(_, script, fits)| {
            image(host, script)?;
            let before = state_of_host(host)?;
            let (web, output) = host.container("web").image(IMAGE).start()?;
            let during = state_of_host(host)?;
            ensure!(during == before, "{before}\nbecame\n{during}");
            ensure!(web.is_some() == *fits, "{output}");
            match web {
                Some(web) => {
                    let found = web.exec(&["cat", "/etc/resolv.conf"])?;
                    ensure!(found.starts_with("nameserver 192.0.2.53\n"), "{found}");
                    web.delete()?;
                }
                None => is_one_clear_line(&output.stderr)?,
            }
            // After a failed start crun calls no poststop, so nothing must be left to remove.
            host.settles()?;
            let after = state_of_host(host)?;
            ensure!(after == before, "{before}\nbecame\n{after}");
            Ok(())
        })
    })
}

/// A container with the same image keeps changing it while others start.
#[test]
fn an_image_that_changes_while_we_look() -> Result<()> {
    const STARTS: usize = 25;
    with_sentinel(|host| {
        image(host, "touch resolv.conf")?;
        let before = state_of_host(host)?;
        let etc = host.path(format!("{IMAGE}/etc"));
        let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| -> Result<()> {
            let attacker = scope.spawn(|| swap(&etc, &stop, &swaps));
            let told = (0..STARTS).try_for_each(|_| {
                let (web, output) = host.container("web").image(IMAGE).start()?;
                match web {
                    Some(web) => web.delete(),
                    None => is_one_clear_line(&output.stderr),
                }
            });
            stop.store(true, Ordering::Relaxed);
            attacker.join().ok().context("the attacker panicked")??;
            told
        })?;
        ensure!(swaps.load(Ordering::Relaxed) > 1000, "only {} swaps", swaps.load(Ordering::Relaxed));
        let after = state_of_host(host)?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        host.settles()?;
        host.check()
    })
}

/// A path walk through `..` has to be repeated when something is renamed or mounted anywhere on the machine meanwhile,
/// and many images have such a link: `../run/systemd/resolve/stub-resolv.conf`.
#[test]
fn a_link_through_the_parent_on_a_busy_machine() -> Result<()> {
    // The path is long, so that nearly every walk is disturbed.
    let link = format!("../{}run/stub.conf", "run/../".repeat(20));
    with_sentinel(|host| {
        image(host, &format!("mkdir ../run; echo image >../run/stub.conf; ln -s {link} resolv.conf"))?;
        let elsewhere = host.path("/mnt/elsewhere");
        fs::create_dir_all(elsewhere.join("one"))?;
        let stop = AtomicBool::new(false);
        let rename = || -> Result<()> {
            let names = [elsewhere.join("one"), elsewhere.join("other")];
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&names[0], &names[1])?;
                fs::rename(&names[1], &names[0])?;
            }
            Ok(())
        };
        thread::scope(|scope| -> Result<()> {
            let neighbour = scope.spawn(rename);
            let told = (0..10).try_for_each(|_| {
                let web = host.container("web").image(IMAGE).run()?;
                let found = web.exec(&["cat", "/etc/resolv.conf"])?;
                ensure!(found.starts_with("nameserver 192.0.2.53\n"), "{found}");
                web.delete()
            });
            stop.store(true, Ordering::Relaxed);
            neighbour.join().ok().context("the neighbour panicked")??;
            told
        })?;
        host.settles()
    })
}

/// Puts in the place of resolv.conf, in turn, links out of the root, links to nowhere, and regular files.
fn swap(etc: &Path, stop: &AtomicBool, swaps: &AtomicU32) -> Result<()> {
    let (place, next) = (etc.join("resolv.conf"), etc.join("next"));
    let outside = format!("../../../../../..{SENTINEL}");
    while !stop.load(Ordering::Relaxed) {
        for link in [SENTINEL, &outside, "/run/sentinel/new"] {
            symlink(link, &next)?;
            fs::rename(&next, &place)?;
            fs::write(&next, "")?;
            fs::rename(&next, &place)?;
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
