//! The container's files: how they are mounted, and that image and host stay unchanged.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, Runtime, Settings, every, on_every_runtime};

/// The path of an image that a story makes.
const IMAGE: &str = "/mnt/image";
const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

/// Makes an image with the usual programs, and runs `script` in its folder.
fn image(host: &Host, script: &str) -> Result<()> {
    host.sh(&format!("rm -rf {IMAGE}; cp -a /mnt/rootfs {IMAGE}; cd {IMAGE}; {script}")).map(drop)
}

/// Everything in an image: names, modes, contents.
fn listing(host: &Host) -> Result<String> {
    host.sh(&format!("cd {IMAGE}; find . -printf '%P %M %U:%G %l\\n' | sort; find . -type f | sort | xargs md5sum"))
}

/// A container must not fill the host's `/run`, nor write to the files that are mounted into it.
#[test]
fn the_files_are_read_only() -> Result<()> {
    on_every_runtime(|host| {
        image(host, "for file in resolv.conf hosts hostname; do echo image >etc/$file; done")?;
        let web = host.container("web").image(IMAGE).run()?;
        web.exec(&["sh", "-c", "echo writable >/tmp/file"])?;
        every(FILES, |file| {
            let script = format!("if echo mine >/etc/{file}; then exit 1; fi; cat /etc/{file}");
            let text = web.exec(&["sh", "-c", &script])?;
            ensure!(!text.contains("mine") && !text.contains("image"), "{text}");
            let mount = web.exec(&["sh", "-c", &format!("busybox grep ' /etc/{file} ' /proc/self/mountinfo")])?;
            let options = mount.split(' ').nth(5).unwrap_or_default();
            ensure!(["ro", "nosuid", "nodev", "noexec"].iter().all(|word| options.contains(word)), "{mount}");
            Ok(())
        })
    })
}

/// A file of the image stays as it was. A missing one becomes an empty file that all users can read.
#[test]
fn the_image_stays_as_it_was() -> Result<()> {
    let rows = [
        (
            "all files",
            "for file in resolv.conf hosts hostname; do echo image >etc/$file; done; chmod 600 etc/hosts",
            "",
        ),
        ("no file", "rm -f etc/hosts etc/hostname etc/resolv.conf", "etc/hostname etc/hosts etc/resolv.conf"),
        ("no folder", "rm -rf etc", "etc etc/hostname etc/hosts etc/resolv.conf"),
        (
            "a link in the image",
            "echo image >www/hosts; ln -sf ../www/hosts etc/hosts; touch etc/hostname etc/resolv.conf",
            "",
        ),
        (
            "an absolute link",
            "echo image >www/hosts; ln -sf /www/hosts etc/hosts; touch etc/hostname etc/resolv.conf",
            "",
        ),
    ];
    on_every_runtime(|host| {
        every(rows, |(_, script, new)| {
            image(host, &format!("rm -f etc/*; {script}"))?;
            let before = listing(host)?;
            let web = host.container("web").image(IMAGE).run()?;
            every(FILES, |file| {
                let text = web.exec(&["cat", &format!("/etc/{file}")])?;
                ensure!(!text.is_empty() && !text.contains("image"), "{text}");
                Ok(())
            })?;
            web.delete()?;
            let after = listing(host)?;
            ensure!(before.lines().all(|line| after.contains(line)), "{before}\nbecame\n{after}");
            let names = host.sh(&format!("cd {IMAGE}; for file in {new} .; do stat -c '%n %s %a' $file; done"))?;
            let empty = |line: &&str| line.ends_with(" 0 644") || line.starts_with("etc ") && line.ends_with(" 755");
            ensure!(names.lines().filter(empty).count() == new.split_whitespace().count(), "{names}");
            let more = after.lines().filter(|line| !before.contains(*line)).count();
            let made = new.split_whitespace().count();
            let files = new.split_whitespace().filter(|name| name.contains('/')).count();
            ensure!(more == made + files, "{before}\nbecame\n{after}");
            Ok(())
        })
    })
}

/// The root file system of most containers is read-only, and any umask is possible.
#[test]
fn read_only_roots_and_umasks() -> Result<()> {
    let careful = r#".hooks.createRuntime[0] =
        {path: "/bin/sh", args: ["sh", "-c", "umask 077; exec /mnt/bin/ocinet hook createRuntime"]}"#;
    let rows = [
        ("read-only root", ".root.readonly = true", "touch etc/resolv.conf etc/hosts etc/hostname"),
        ("read-only root, nothing there", ".root.readonly = true", "rm -rf etc"),
        ("umask 077", careful, "touch etc/resolv.conf etc/hosts etc/hostname"),
        ("umask 077, nothing there", careful, "rm -rf etc"),
        ("another user", ".process.user = {uid: 1000, gid: 1000}", "rm -rf etc"),
    ];
    on_every_runtime(|host| {
        every(rows, |(_, edit, script)| {
            image(host, script)?;
            let web = host.container("web").image(IMAGE).edit(edit).serving(&["8088"]).run()?;
            every(FILES, |file| {
                let seen = web.exec(&["busybox", "stat", "-c", "%a %u:%g", &format!("/etc/{file}")])?;
                ensure!(seen.trim() == "644 0:0", "{seen}");
                ensure!(!web.exec(&["cat", &format!("/etc/{file}")])?.is_empty(), "empty");
                Ok(())
            })?;
            web.delete()?;
            ensure!(
                listing(host)?.lines().all(|line| !line.starts_with("etc/") || line.contains("-rw-r--r--")),
                "{}",
                listing(host)?
            );
            Ok(())
        })
    })
}

/// A folder of the host that a container has as its `/etc` gets no new files from us. Existing files there are still
/// mounted over. A folder in memory that only the container has, as `/run` of systemd in a container, gets the files.
#[test]
fn a_folder_of_the_hosts_stays_as_it_was() -> Result<()> {
    let bind = r#".mounts += [{destination: "/etc", type: "bind", source: "/mnt/theirs", options: ["rbind"]}]"#;
    let memory = r#".mounts += [{destination: "/etc", type: "tmpfs", source: "tmpfs"}]"#;
    let run = r#".mounts += [{destination: "/run", type: "tmpfs", source: "tmpfs"}]"#;
    let linked =
        "rm -rf etc/*; mkdir -p run; for file in resolv.conf hosts hostname; do ln -s ../run/a/$file etc/$file; done";
    let rows = [
        ("a folder", bind, "rm -rf etc", &["resolv.conf"][..]),
        ("no file", bind, "rm -rf etc/*; rm /mnt/theirs/*", &[]),
        ("in memory", memory, "true", &FILES),
        ("links into memory", run, linked, &FILES),
    ];
    on_every_runtime(|host| {
        every(rows, |(_, edit, script, ours)| {
            host.sh("rm -rf /mnt/theirs; mkdir /mnt/theirs; echo theirs >/mnt/theirs/resolv.conf")?;
            image(host, script)?;
            let before = host.sh("ls -lR /mnt/theirs")?;
            let (web, output) = host.container("web").image(IMAGE).edit(edit).start()?;
            let web = web.with_context(|| output.to_string())?;
            let after = host.sh("ls -lR /mnt/theirs")?;
            ensure!(before == after, "{before}\nbecame\n{after}");
            for file in FILES {
                let mount =
                    web.exec(&["sh", "-c", &format!("busybox grep -c '/{file} ro' /proc/self/mountinfo || true")])?;
                ensure!((mount.trim() == "1") == ours.contains(&file), "{file}: {mount}");
            }
            // runc does not show the output of a hook that succeeds.
            if host.runtime() == Runtime::Crun && ours.len() < 3 {
                output.says(&["warning", "/etc/hosts", "host's", "goes without it"])?;
            }
            web.delete()
        })
    })
}

/// A runtime in a chroot passes paths that are valid only there.
#[test]
fn a_runtime_in_a_chroot() -> Result<()> {
    const JAIL: &str = "/mnt/jail";
    on_every_runtime(|host| {
        let program = host.runtime().program().context("a runtime")?;
        host.sh(&format!(
            "mkdir {JAIL}; mount -t tmpfs tmpfs {JAIL}; cd {JAIL}
             for folder in usr etc run proc sys dev mnt/bin; do mkdir -p $folder; mount --rbind /$folder $folder; done
             for folder in bin sbin lib lib64; do
                 if [ -L /$folder ]; then cp -a /$folder .
                 elif [ -d /$folder ]; then mkdir $folder; mount --rbind /$folder $folder; fi
             done
             mkdir b; cp -a /mnt/rootfs b"
        ))?;
        let bundle = host.container("web").image("rootfs").prepare()?;
        let folder = bundle.bundle();
        host.sh(&format!("cp {folder}/config.json {JAIL}/b; mkdir -p {JAIL}{folder}"))?;
        let run = |words: &str| host.sh(&format!("chroot {JAIL} {program} --root /b/state {words}"));
        run("run --detach --pid-file /b/pid --bundle /b web </dev/null >/mnt/out 2>&1 || { cat /mnt/out; exit 1; }")?;
        every([("resolv.conf", "192.0.2.53"), ("hosts", "\tweb"), ("hostname", "web")], |(file, word)| {
            // `exec` of the runtime would start at the root of the mount namespace, outside the chroot.
            let text = host.sh(&format!("cat /proc/$(cat {JAIL}/b/pid)/root/etc/{file}"))?;
            ensure!(text.contains(word), "{file}: {text}");
            Ok(())
        })?;
        run("delete --force web")?;
        // The background child of the detach has the store in the chroot open, and waits while other tests hold the
        // kernel's lock for links.
        host.settles()?;
        host.sh(&format!("mount --make-rprivate {JAIL}; umount --recursive --lazy {JAIL}; rmdir {JAIL}")).map(drop)
    })
}

/// Where an engine mounts files of its own, each of them replaces ours. The rest of ours stays.
#[test]
fn mounts_of_the_spec_are_respected() -> Result<()> {
    on_every_runtime(|host| {
        host.sh("echo engine >/mnt/theirs")?;
        image(host, "touch etc/resolv.conf etc/hosts etc/hostname")?;
        every(
            FILES.map(|file| (file, format!("/etc/{file}"))).into_iter().chain([("hosts", "/etc/.//hosts".into())]),
            |(theirs, path)| {
                let mount = format!(
                    r#".mounts += [{{destination: "{path}", type: "bind", source: "/mnt/theirs", options: ["bind", "ro"]}}]"#
                );
                let web = host.container("web").image(IMAGE).edit(&mount).run()?;
                every(FILES, |file| {
                    let text = web.exec(&["cat", &format!("/etc/{file}")])?;
                    ensure!((text == "engine\n") == (file == theirs), "{text}");
                    Ok(())
                })?;
                web.delete()
            },
        )
    })
}

/// On a host whose mounts are shared, as systemd makes them, no mount of a container appears on the host.
#[test]
fn the_hosts_mounts_stay_as_they_were() -> Result<()> {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        Settings::default().runtime(runtime).prepare("mount --make-rshared /").test(|host| {
            image(host, "rm -f etc/*")?;
            every(["private", "slave", "shared", "rshared"], |propagation| {
                let before = host.sh("cat /proc/self/mountinfo")?;
                let draft = host.container("web").image(IMAGE);
                let web = draft.edit(&format!(".linux.rootfsPropagation = \"{propagation}\"")).run()?;
                ensure!(web.exec(&["cat", "/etc/hostname"])? == "web\n", "its own file");
                let during = host.sh("cat /proc/self/mountinfo")?;
                ensure!(during == before, "{before}\nbecame\n{during}");
                web.delete()?;
                let after = host.sh("cat /proc/self/mountinfo")?;
                ensure!(after == before, "{before}\nbecame\n{after}");
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Root in the container is an unprivileged user on the host, and can still read the files.
#[test]
fn a_container_with_its_own_users_reads_them() -> Result<()> {
    let ids = "[{containerID: 0, hostID: 100000, size: 65536}]";
    let users =
        format!(r#".linux.namespaces += [{{type: "user"}}] | .linux.uidMappings = {ids} | .linux.gidMappings = {ids}"#);
    on_every_runtime(|host| {
        every(["touch etc/resolv.conf etc/hosts etc/hostname", "rm -rf etc"], |script| {
            image(host, script)?;
            let web = host.container("web").image(IMAGE).edit(&users).run()?;
            ensure!(host.sh(&format!("stat -c %u /proc/{}", web.pid()))?.trim() == "100000", "not mapped");
            for (file, word) in [("resolv.conf", "192.0.2.53"), ("hosts", "localhost"), ("hostname", "web")] {
                let text = web.exec(&["cat", &format!("/etc/{file}")])?;
                ensure!(text.contains(word), "{file}: {text}");
            }
            host.check()?;
            web.delete()
        })
    })
}

/// The files of a container are removed with it.
#[test]
fn the_files_go_with_the_container() -> Result<()> {
    on_every_runtime(|host| {
        let files = || host.sh("find /run/ocinet/containers -mindepth 1 2>/dev/null | wc -l");
        let one = host.container("one").run()?;
        let two = host.container("two").run()?;
        ensure!(files()?.trim() == "8", "two folders with three files each: {}", files()?);
        one.delete()?;
        ensure!(files()?.trim() == "4", "one folder: {}", files()?);
        ensure!(two.exec(&["cat", "/etc/hostname"])? == "two\n", "the other's");
        two.abandon()?;
        host.ocinet("gc")?.success()?;
        host.settles()?;
        ensure!(files()?.trim() == "0", "{}", host.sh("find /run/ocinet/containers")?);
        Ok(())
    })
}

/// podman may end after it asked for a container's files and before the container exists: they are removed an hour
/// later, and not before.
#[test]
fn files_that_no_container_came_for() -> Result<()> {
    Settings::default().runtime(Runtime::Crun).test(|host| {
        let web = host.container("web").run()?;
        host.sh("cd /run/ocinet/containers; mine=$(ls); prefix=${mine%-*}-spec
             mkdir $prefix-0a $prefix-0b; touch $prefix-0a/hosts $prefix-0b/hosts; touch -d '2 hours ago' $prefix-0a")?;
        host.ocinet("gc")?.success()?;
        let left = host.sh("ls /run/ocinet/containers")?;
        ensure!(left.lines().count() == 2 && !left.contains("-spec-0a"), "{left}");
        ensure!(web.exec(&["cat", "/etc/hostname"])? == "web\n", "a container's own");
        Ok(())
    })
}

/// On a host whose mounts are shared, as systemd makes them, a mount that a container makes over its files stays in the
/// container, also where a link of the image leads one file to another. A folder that the container shares with the
/// host is not mounted over.
#[test]
fn no_mount_of_a_container_reaches_the_host() -> Result<()> {
    let shared = Settings::default().runtime(Runtime::Runc).prepare("mount --make-rshared /");
    shared.test(|host| {
        let ours = || host.sh("grep -c /run/ocinet/containers/ /proc/self/mountinfo || true");
        host.sh("cp -r /mnt/rootfs /mnt/linked; ln -sf hosts /mnt/linked/etc/resolv.conf; echo secret >/mnt/secret")?;
        for image in ["/mnt/rootfs", "/mnt/linked"] {
            let web = host.container("web").image(image).run()?;
            let inside =
                format!("nsenter -t {} -m /bin/busybox mount -o bind /proc/version /etc/resolv.conf", web.pid());
            host.sh(&inside)?;
            ensure!(ours()? == "0\n", "{image}: a mount is on the host");
            host.sh("echo 'nameserver 192.0.2.99' >/etc/resolv.conf")?;
            host.ocinet("gc")?.exits(0)?;
            web.delete()?;
            host.settles()?;
        }
        let hosts = host.sh("cat /etc/hosts")?;
        let etc = r#".mounts += [{destination: "/etc", type: "bind", source: "/etc", options: ["rbind", "rshared"]}]
            | .linux.rootfsPropagation = "rshared""#;
        let web = host.container("web").edit(etc).run()?;
        ensure!(host.sh("cat /etc/hosts")? == hosts, "the host's own file is hidden");
        web.delete()?;
        ensure!(host.sh("cat /etc/hosts")? == hosts && ours()? == "0\n", "something is left on the host");
        host.sh("printf 'nameserver 192.0.2.53\\nsearch lan.example\\noptions ndots:2\\n' >/etc/resolv.conf").map(drop)
    })
}
