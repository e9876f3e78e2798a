//! What podman puts into a spec by itself, as podman 4.3 was seen to do it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Document;
use super::mounts::is_at;
use crate::model::HostName;

/// The sysctl that podman gives to every container (`default_sysctls`, containers.conf(5)), but none in the host's
/// network.
const DEFAULT_SYSCTL: &str = "net.ipv4.ping_group_range";

impl Document {
    /// The file that podman made itself for the container to see as `/etc/NAME`; not one of its user's volumes.
    pub fn podmans_file(&self, name: &str) -> Option<PathBuf> {
        let mount = self.items(&["mounts"]).iter().find(|mount| is_podmans_file(mount, name))?;
        mount.get("source").and_then(Value::as_str).map(PathBuf::from)
    }

    /// Takes out what podman made for a container without a network: its own `/etc/hosts` and `/etc/hostname`, to which
    /// ours would give way, and, for a container in the host's network, the sysctl that no runtime would set there.
    pub fn leave_to_us(&mut self, shares_host: bool) {
        for name in ["resolv.conf", "hosts", "hostname"] {
            self.take(&["mounts"], |mount| is_podmans_file(mount, name), &mut Vec::new());
        }
        if shares_host {
            self.remove(&["linux", "sysctl", DEFAULT_SYSCTL]);
        }
    }
}

/// The names of others in podman's `/etc/hosts` of a container, as `--add-host` and the host's own file give them: all
/// but those of the loopback, where podman has the container itself, too.
pub fn podmans_names(text: &str) -> Vec<(String, IpAddr)> {
    let mut others = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if !address.is_loopback() {
            let fitting = words.filter(|name| name.parse::<HostName>().is_ok());
            others.extend(fitting.map(|name| (name.to_owned(), address)));
        }
    }
    others
}

/// podman keeps its files in `.../overlay-containers/ID/userdata`, under the root or the runroot of its storage.
fn is_podmans_file(mount: &Value, name: &str) -> bool {
    let source = Path::new(mount.get("source").and_then(Value::as_str).unwrap_or_default());
    let mut folders = source.ancestors().skip(1);
    let in_userdata = folders.next().is_some_and(|folder| folder.ends_with("userdata"));
    let of_a_container = folders.nth(1).and_then(Path::file_name).and_then(|name| name.to_str());
    is_at(mount, &Path::new("/etc").join(name))
        && source.file_name().is_some_and(|file| file == name)
        && in_userdata
        && of_a_container.is_some_and(|folder| folder.ends_with("-containers"))
}
