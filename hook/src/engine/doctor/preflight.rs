//! What a host needs before its first container: each with what it is for.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Finding;
use crate::engine::settings;
use crate::input::config::Config;
use crate::kernel;

/// The first kernel with the cookie of a network namespace (`SO_NETNS_COOKIE`, net/core/sock.c).
const FIRST_KERNEL: (u32, u32) = (5, 14);

/// Where podman looks for hooks (oci-hooks(5)); the first that is there counts for its packages.
const HOOK_FOLDERS: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];

const SHIM: &str = "containerd-shim-ocinet-v2";

const INSTALL: &str = "packaging/install, or the package, puts it there";

/// Programs that give addresses to links that they were not told to leave alone: what shows that one runs, its name, and
/// the files of ours that tell it.
const MANAGERS: [(&str, &str, &[&str]); 2] = [
    (
        "/run/NetworkManager",
        "NetworkManager",
        &["/etc/NetworkManager/conf.d/80-ocinet.conf", "/usr/lib/NetworkManager/conf.d/80-ocinet.conf"],
    ),
    (
        "/run/systemd/netif/state",
        "systemd-networkd",
        &["/etc/systemd/network/80-ocinet.network", "/usr/lib/systemd/network/80-ocinet.network"],
    ),
];

/// Looks at everything, whatever is found first. Nothing is made, but that the kernel may load modules.
pub fn preflight(config_dir: &Path) -> Vec<Finding> {
    let mut findings = rights(kernel::is_root(), kernel::has_all_ids(), &kernel::missing_rights());
    findings.push(kernel_version(&kernel::kernel_release()));
    let config = settings(config_dir);
    findings.push(match &config {
        Ok(_) => Finding::fine("config.toml", "can be read, or is not there: then the defaults hold"),
        Err(error) => Finding::yours("config.toml", format!("cannot be used: {error}"), "correct the file"),
    });
    findings.push(firewall(&config.unwrap_or_else(|_| Config::unread(config_dir))));
    findings.extend(links());
    findings.extend(runtimes());
    findings.extend(MANAGERS.iter().filter(|(mark, ..)| !kernel::is_gone(Path::new(mark))).map(manager));
    findings
}

fn rights(is_root: bool, has_all_ids: bool, missing: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_root {
        let trouble = "is not root's: links, rules and the namespaces of containers are root's to change";
        findings.push(Finding::yours("this process", trouble, "sudo ocinet doctor"));
    } else if !has_all_ids {
        let trouble = "is root in a user namespace only, as under a rootless runtime: bridges and rules of the host are out \
                       of its reach";
        findings.push(Finding::yours("this process", trouble, "run the runtime as root of the host"));
    }
    match missing {
        _ if !is_root => {}
        [] => findings.push(Finding::fine("rights", "of root are there: to make links and rules, to enter namespaces")),
        missing => {
            let trouble = format!("are not whole: {} is missing", missing.join(", "));
            findings.push(Finding::yours("rights", trouble, "run it with all capabilities of root"));
        }
    }
    findings
}

fn kernel_version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= FIRST_KERNEL {
        return Finding::fine("kernel", format!("is {release}"));
    }
    let trouble = format!("is {release}, which cannot tell network namespaces apart (SO_NETNS_COOKIE)");
    Finding::yours("kernel", trouble, "boot 5.14 or later")
}

fn firewall(config: &Config) -> Finding {
    match kernel::choose(config.firewall) {
        Ok(choice) => Finding::fine(
            "firewall",
            format!("is {}, for published ports, the way out and isolation: {}", choice.kind, choice.why),
        ),
        Err(error) => Finding::yours(
            "firewall",
            format!("cannot be had: {error}"),
            "apt-get install nftables, or your distribution's package of that name",
        ),
    }
}

/// What the kernel must have, by trying it.
fn links() -> Vec<Finding> {
    let told = |subject: &str, purpose: &str, tried: &kernel::Result<()>| match tried {
        Ok(()) => Finding::fine(subject, format!("can be had: {purpose}")),
        Err(error) => {
            let remedy = "modprobe it where the kernel has it as a module, else another kernel";
            Finding::yours(subject, format!("cannot be had ({error}): {purpose}"), remedy)
        }
    };
    match kernel::try_links() {
        Ok(trial) => vec![
            told("kernel feature bridge", "each network is one", &trial.bridge),
            told("kernel feature veth", "it connects each container", &trial.veth),
            told(
                "kernel feature cls_bpf",
                "it keeps a container from sending under its neighbours' names",
                &trial.guard,
            ),
        ],
        Err(error) => {
            let trouble = format!("cannot be made: {error}");
            vec![Finding::yours("network namespace", trouble, "run it as root, where no sandbox forbids it")]
        }
    }
}

/// The runtimes that are there, and whether they would call us.
fn runtimes() -> Vec<Finding> {
    let mut findings = Vec::new();
    let plain: Vec<&str> =
        ["runc", "crun", "youki"].into_iter().filter(|name| kernel::program(name).is_some()).collect();
    if !plain.is_empty() {
        findings.push(Finding::fine(plain.join(" and "), "call ocinet for a bundle after: ocinet prepare BUNDLE"));
    }
    let has_podman = kernel::program("podman").is_some();
    if has_podman {
        findings.extend(podman_hooks(&HOOK_FOLDERS.map(PathBuf::from)));
    }
    let containerd = kernel::search_path_of("containerd");
    let has_containerd = containerd.is_some() || kernel::program("containerd").is_some();
    if has_containerd {
        findings.push(shim(containerd.as_deref()));
    }
    if plain.is_empty() && !has_podman && !has_containerd {
        findings.push(Finding::note("runtime", "is none here that ocinet knows: runc, crun, podman or containerd"));
    }
    findings
}

/// podman's hook files, and the programs that they name.
pub(super) fn podman_hooks(folders: &[PathBuf]) -> Vec<Finding> {
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| hook_files(folder)).collect();
    if files.is_empty() {
        let places = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" or ");
        return vec![Finding::note(
            "podman",
            format!("is there, and has no hook file of ocinet's in {places}: {INSTALL}"),
        )];
    }
    let broken: Vec<Finding> = files.iter().filter_map(|file| broken_hook(file)).collect();
    if broken.is_empty() {
        return vec![Finding::fine(
            "podman",
            "calls ocinet for containers with an io.ocinet annotation and --network=none",
        )];
    }
    broken
}

fn hook_files(folder: &Path) -> Vec<PathBuf> {
    let names = kernel::names_in(folder).unwrap_or_default();
    names
        .into_iter()
        .filter(|name| name.contains("ocinet") && name.ends_with(".json"))
        .map(|name| folder.join(name))
        .collect()
}

fn broken_hook(file: &Path) -> Option<Finding> {
    let subject = format!("file {}", file.display());
    let text = kernel::read_regular(file, 1 << 20).ok().flatten().unwrap_or_default();
    let program =
        serde_json::from_slice::<Value>(&text).ok().and_then(|hook| Some(hook["hook"]["path"].as_str()?.to_owned()));
    match program {
        None => Some(Finding::yours(subject, "names no program", INSTALL)),
        Some(program) if !kernel::is_program(Path::new(&program)) => {
            let trouble =
                format!("names {program}, which is not there: podman starts no container with our annotations");
            Some(Finding::yours(subject, trouble, INSTALL))
        }
        Some(_) => None,
    }
}

/// Whether containerd finds our shim, on its search path where it runs.
fn shim(path: Option<&str>) -> Finding {
    let remedy = format!("put {SHIM} into one of those folders: {INSTALL}");
    match path {
        Some(path) if path.split(':').any(|folder| kernel::is_program(&Path::new(folder).join(SHIM))) => {
            Finding::fine("containerd", "finds the shim: --runtime io.containerd.ocinet.v2")
        }
        Some(path) => Finding::note("containerd", format!("runs, and finds no {SHIM} in its PATH, {path}; {remedy}")),
        None if kernel::program(SHIM).is_some() => {
            Finding::fine("containerd", "does not run; the shim is on the usual path")
        }
        None => Finding::note("containerd", format!("is there, and no {SHIM} is on the usual path; {remedy}")),
    }
}

fn manager((_, name, files): &(&str, &str, &[&str])) -> Finding {
    if files.iter().any(|file| !kernel::is_gone(Path::new(file))) {
        return Finding::fine(*name, "is told to leave ocinet's links alone");
    }
    let trouble = format!("runs, and is not told to leave ocinet's links alone: there is no {}", files.join(" nor "));
    Finding::yours(*name, trouble, INSTALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn old_kernels_and_missing_rights_are_told() {
        for (release, is_fault) in
            [("5.13.9", true), ("5.14.0-1", false), ("6.1.0-28-amd64", false), ("4.19", true), ("", true)]
        {
            assert_eq!(kernel_version(release).is_fault(), is_fault, "{release}");
        }
        let faults = |findings: Vec<Finding>| findings.iter().filter(|finding| finding.is_fault()).count();
        assert_eq!(faults(rights(true, true, &[])), 0);
        assert_eq!(faults(rights(false, true, &["CAP_NET_ADMIN"])), 1);
        assert_eq!(faults(rights(true, false, &["CAP_NET_ADMIN"])), 2);
    }

    #[test]
    fn a_hook_file_whose_program_moved_is_told() {
        let folder = std::env::temp_dir().join(format!("ocinet-preflight-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let findings = || podman_hooks(std::slice::from_ref(&folder));
        assert!(!findings()[0].is_fault() && findings()[0].trouble.contains("no hook file"));
        let write = |program: &str| {
            fs::write(folder.join("20-ocinet-x.json"), format!(r#"{{"hook": {{"path": "{program}"}}}}"#)).unwrap();
        };
        write("/bin/sh");
        assert!(!findings()[0].is_fault());
        write("/nonexistent/ocinet");
        assert!(findings()[0].is_fault() && findings()[0].trouble.contains("/nonexistent/ocinet"));
        fs::write(folder.join("20-ocinet-x.json"), "{").unwrap();
        assert!(findings()[0].is_fault());
        fs::remove_dir_all(folder).unwrap();
    }
}
