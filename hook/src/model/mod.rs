//! Plain data: what a sandbox, an endpoint, a network and a published port are. No I/O.

mod alias;
mod id;
mod invalid;
mod network;
mod port;
mod sandbox;
mod shown;

pub use alias::Alias;
pub use id::{ContainerId, ContainerName, HostName, InterfaceName, Key, Mac, NetworkName};
pub use invalid::{Invalid, quoted};
pub use network::{Network, Subnet};
pub use port::{HostAddress, PortMapping, Protocol};
pub use sandbox::{Attachment, Endpoint, Mode, Namespace, NetnsLocator, Requester, ResolverChoice, Sandbox, State};
pub use shown::{is_printable, shown, shown_json};
