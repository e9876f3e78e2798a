//! Which of the backends keeps our rules.

use std::os::fd::BorrowedFd;

use super::iptables::Iptables;
use super::nftables::Nftables;
use crate::firewall::{Backend, Change, Inventory, Kind, Needs};
use crate::input::config::Firewall;
use crate::kernel::child_process;
use crate::kernel::error::{Error, Result};

/// A backend, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub kind: Kind,
    /// Why, as the end of a sentence.
    pub why: &'static str,
}

/// Which backend a host with this setting uses.
///
/// # Errors
/// When what it asks for is not installed.
pub fn choose(setting: Firewall) -> Result<Choice> {
    let missing = |what: &str| {
        let remedy = "install nftables, or set firewall = \"none\" in config.toml and write the rules yourself";
        Error::Program(format!("{what} is installed (looked in {}); {remedy}", child_process::PATH))
    };
    match setting {
        Firewall::None => Ok(Choice { kind: Kind::None, why: "config.toml says firewall = \"none\"" }),
        Firewall::Nftables if !child_process::is_installed("nft") => {
            Err(missing("firewall = \"nftables\", but no nft"))
        }
        Firewall::Nftables => Ok(Choice { kind: Kind::Nftables, why: "config.toml says firewall = \"nftables\"" }),
        Firewall::Iptables => {
            let kind = Iptables::preferred()?.ok_or_else(|| missing("firewall = \"iptables\", but no iptables"))?;
            Ok(Choice { kind, why: "config.toml says firewall = \"iptables\"" })
        }
        Firewall::Auto if !child_process::is_installed("nft") => {
            let kind = Iptables::preferred()?.ok_or_else(|| missing("neither nft nor iptables"))?;
            Ok(Choice { kind, why: "nft is not installed, and iptables is" })
        }
        Firewall::Auto if Nftables::is_supported() => Ok(Choice { kind: Kind::Nftables, why: "nft is installed" }),
        Firewall::Auto => {
            let kind =
                Iptables::preferred()?.ok_or_else(|| missing("this kernel has no nf_tables, and no iptables"))?;
            Ok(Choice { kind, why: "this kernel has no nf_tables" })
        }
    }
}

/// Whether a host with this setting stays with `kind`, which it has already.
pub fn suits(setting: Firewall, kind: Kind) -> bool {
    match setting {
        Firewall::Auto => kind != Kind::None,
        Firewall::Nftables => kind == Kind::Nftables,
        Firewall::Iptables => matches!(kind, Kind::IptablesNft | Kind::IptablesLegacy),
        Firewall::None => kind == Kind::None,
    }
}

/// The backend of that kind, for the namespace this process runs in.
///
/// # Errors
/// When no socket can be had, or its programs are not installed.
pub fn backend(kind: Kind) -> Result<Box<dyn Backend<Error = Error>>> {
    Ok(match kind {
        Kind::Nftables => Box::new(Nftables::open()?),
        Kind::IptablesNft | Kind::IptablesLegacy => Box::new(Iptables::open(kind)?),
        Kind::None => Box::new(NoBackend),
    })
}

/// The backends that hold rules of ours and what they hold, as read from the kernel: for a host without a store.
///
/// # Errors
/// When one cannot be asked.
pub fn loaded() -> Result<Vec<(Kind, Inventory)>> {
    let mut loaded = Vec::new();
    for kind in Kind::WITH_RULES {
        if kind == Kind::Nftables || Iptables::is_installed(kind) {
            loaded.push((kind, backend(kind)?.inventory()?));
        }
    }
    loaded.retain(|(_, inventory)| inventory.is_loaded);
    Ok(loaded)
}

/// No backend: the operator keeps the rules, or wants none.
struct NoBackend;

impl Backend for NoBackend {
    type Error = Error;

    fn ready(&mut self) -> Result<()> {
        Ok(())
    }

    fn apply(&mut self, _: &Change<'_>) -> Result<bool> {
        Ok(true)
    }

    fn holds(&mut self, _: &Needs) -> Result<bool> {
        Ok(true)
    }

    fn matches(&mut self, _: &Needs) -> Result<bool> {
        Ok(true)
    }

    fn load(&mut self, _: &Needs) -> Result<()> {
        Ok(())
    }

    fn unload(&mut self) -> Result<()> {
        Ok(())
    }

    fn inventory(&mut self) -> Result<Inventory> {
        Ok(Inventory::default())
    }

    fn slow_sockets(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
