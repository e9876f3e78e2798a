//! The firewalls that can hold ocinet's rules.

/// A script that sets `respect-host-firewall`: the host's own rules decide who from outside reaches a published port.
pub const ASKING: &str = "echo 'published_ports = \"respect-host-firewall\"' >>/etc/ocinet/config.toml";

/// The firewall that holds ocinet's rules on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// nftables, the default.
    Nftables,
    /// iptables that writes to nf_tables.
    IptablesNft,
    /// iptables that writes to the kernel's older tables.
    IptablesLegacy,
}

impl Firewall {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nftables, Self::IptablesNft, Self::IptablesLegacy];

    /// The program with which its rules are changed by hand, where that is a variant of iptables.
    pub fn iptables(self) -> Option<&'static str> {
        match self {
            Self::Nftables => None,
            Self::IptablesNft => Some("iptables-nft"),
            Self::IptablesLegacy => Some("iptables-legacy"),
        }
    }

    /// A script that makes a host use it. Debian's alternatives select the variant that `iptables` is.
    pub(crate) fn setup(self) -> String {
        match self {
            Self::Nftables => String::new(),
            Self::IptablesNft => Self::alternative("nft"),
            Self::IptablesLegacy => Self::alternative("legacy"),
        }
    }

    fn alternative(variant: &str) -> String {
        format!(
            "echo 'firewall = \"iptables\"' >/etc/ocinet/config.toml
             for family in iptables ip6tables; do
                 for command in '' -save -restore; do
                     ln -sf $(command -v $family-{variant}$command) /etc/alternatives/$family$command
                 done
             done"
        )
    }

    /// A script that deletes all rules of ours except those of the chain `kept`. Sets, chains and jumps stay.
    pub(crate) fn flush(self, kept: &str) -> String {
        let flush = |variant: &str| {
            format!(
                "for program in iptables-{variant} ip6tables-{variant}; do
                     for table in $($program-save | sed -n 's/^[*]//p'); do
                         $program -t $table -S | sed -n 's/^-N \\(OCINET-.*\\)/\\1/p' |
                             while read -r chain; do [ $chain = '{kept}' ] || $program -t $table -F $chain; done
                     done
                 done"
            )
        };
        match self {
            Self::Nftables if kept.is_empty() => "nft flush table inet ocinet".to_owned(),
            Self::Nftables => "nft flush chain inet ocinet forward; nft flush chain inet ocinet publish".to_owned(),
            Self::IptablesNft => flush("nft"),
            Self::IptablesLegacy => flush("legacy"),
        }
    }
}
