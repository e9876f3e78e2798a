use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ContainerId, ContainerName, HostName, InterfaceName, Mac, NetworkName};

/// A container whose connections are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptContainer {
    /// Its id.
    pub container: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Its bundle directory.
    pub bundle: String,
    /// Which directory that was: they go with it. None where the container's engine makes another for each start, or it
    /// could not be looked at: then they stay until they are ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<FileIdentity>,
    /// One for each network at most.
    pub connections: Vec<KeptConnection>,
}

impl KeptContainer {
    /// Whether `text` is its id, its name or the beginning of its id.
    pub fn is_called(&self, text: &str) -> bool {
        self.name.as_str() == text || self.container.as_str().starts_with(text)
    }

    /// Whether a connection to `network` is among them.
    pub fn has(&self, network: &NetworkName) -> bool {
        self.connections.iter().any(|connection| connection.network == *network)
    }
}

/// What tells a file or directory from a later one at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The device.
    pub device: u64,
    /// The inode's number, which is given again once the file is gone.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; none where the file system does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<u64>,
}

impl FileIdentity {
    /// Whether `now` is certainly another. A file system that is mounted again may get another device number, so that
    /// counts only where the time is not known.
    pub fn is_other(&self, now: &Self) -> bool {
        let is_same = match (self.born, now.born) {
            (Some(then), Some(now)) => then == now,
            _ => self.device == now.device,
        };
        self.inode != now.inode || !is_same
    }
}

/// A connection that was made while its container ran, and is made again with the container's next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptConnection {
    /// The network.
    pub network: NetworkName,
    /// The addresses that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The MAC address that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The name of the interface that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    /// The MTU in bytes that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The priority of its default route that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw_priority: Option<i32>,
    /// What others on the network find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_at_the_same_path() {
        let of = |(device, inode, born)| FileIdentity { device, inode, born };
        let rows = [
            ((1, 2, Some(3)), (1, 2, Some(3)), false),
            ((1, 2, Some(3)), (1, 2, Some(4)), true),
            ((1, 2, Some(3)), (1, 9, Some(3)), true),
            ((1, 2, Some(3)), (8, 2, Some(3)), false),
            ((1, 2, None), (1, 2, Some(3)), false),
            ((1, 2, None), (8, 2, None), true),
            ((1, 2, None), (1, 9, None), true),
        ];
        for (then, now, is_other) in rows {
            assert_eq!(of(then).is_other(&of(now)), is_other, "{then:?} {now:?}");
        }
    }
}
