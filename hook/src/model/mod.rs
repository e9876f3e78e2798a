//! Plain data: what a sandbox, an endpoint, a network and a published port are. No I/O.

mod alias;
mod changed_setting;
mod draining;
mod endpoint;
mod family;
mod id;
mod invalid;
mod kept;
mod network;
mod network_options;
mod port;
mod sandbox;
mod shown;
mod stand_in;
mod state;

pub use alias::Alias;
pub use changed_setting::ChangedSetting;
pub use draining::DrainingEndpoint;
pub use endpoint::{Endpoint, Publishing, Route, Wire};
pub use family::{Families, Family};
pub use id::{ContainerId, ContainerName, HostName, InterfaceName, Key, Mac, NetworkName};
pub use invalid::{Invalid, quoted};
pub use kept::{FileIdentity, KeptConnection, KeptContainer};
#[cfg(test)]
pub use network::Slice;
pub use network::{Bridge, Driver, Gateway, IPV6_MIN_MTU, NAME_SERVERS, Network, Subnet};
pub use network_options::{GatewayMode, Masquerade, Options, StaticRoute};
pub use port::{HostAddress, PortMapping, Protocol};
pub use sandbox::{Mode, Namespace, NetnsLocator, Requester, ResolverChoice, Sandbox};
pub use shown::{is_printable, shown, shown_json};
pub use stand_in::stand_in;
pub use state::State;
