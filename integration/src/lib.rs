//! Fixtures for the tests of `ocinet`: private hosts, containers on them, and the checker.
//!
//! A test is a story: a function that gets a [`Host`], a machine made of namespaces with a LAN peer behind a cable:
//!
//! ```no_run
//! # use ocinet_integration::{Proto::Tcp, Settings};
//! Settings::default().test(|host| {
//!     let web = host.container("web").publish("8080:80").run()?;
//!     host.peer().reaches(Tcp, "198.51.100.1:8080")?.is("web")?;
//!     web.delete()
//! }).expect("a story that ends well");
//! ```
//!
//! Every story ends with the [`check`]er, which compares the store with the kernel and the host with what it was
//! before.

pub mod attack;
mod binary;
mod chains;
pub mod check;
mod command;
mod container;
pub mod containerd;
pub mod counter;
mod cri;
mod draft;
mod firewall;
mod foreign_firewalls;
mod host;
mod installed;
mod place;
pub mod podman;
pub mod pods;
mod poll;
mod runtime;
mod sandbox;
pub mod service;
mod settings;
mod spec;
pub mod survive;
mod table;
mod traffic;

pub use binary::{helper, is_static, ocinet};
pub use chains::Chains;
pub use command::{Background, Output};
pub use container::Container;
pub use draft::Draft;
pub use firewall::{ASKING, Firewall};
pub use foreign_firewalls::{ForeignFirewall, Iptables, Suite};
pub use host::{GATEWAY, Host, OCINET, PEER, UPLINK};
pub use installed::Installed;
pub use place::Place;
pub use poll::eventually;
pub use runtime::Runtime;
pub use sandbox::{Endpoint, Mode, Publish, Sandbox, State};
pub use settings::{Settings, in_every_world, in_every_world_and_of_a_router, on_every_runtime, with_every_firewall};
pub use table::every;
pub use traffic::{Answer, Proto, Watch};
