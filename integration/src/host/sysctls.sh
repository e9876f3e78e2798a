# Gives the network namespace this runs in the kernel's own settings (net/ipv4/devinet.c, net/ipv6/addrconf.c), so that the
# tests see the same on every machine. Without that a new namespace has what `all` and `default` say in the machine's first
# one: for IPv4 always, for IPv6 where net.core.devconf_inherit_init_net is 1. From the environment: INHERIT, a script that
# makes the settings of such a machine.
sh -euc "$INHERIT"

# set_all FAMILY LINK VALUE SETTING...; what this kernel does not know is left out.
set_all() {
    folder=/proc/sys/net/$1/conf/$2 value=$3
    shift 3
    for setting; do
        if [ -e "$folder/$setting" ]; then echo "$value" >"$folder/$setting"; fi
    done
}

for link in all default lo; do
    # Forwarding first: with it the kernel changes others.
    set_all ipv4 $link 0 forwarding accept_local arp_accept arp_announce arp_filter arp_ignore arp_notify bc_forwarding \
        bootp_relay disable_policy disable_xfrm drop_gratuitous_arp drop_unicast_in_l2_multicast force_igmp_version \
        ignore_routes_with_linkdown log_martians medium_id promote_secondaries proxy_arp proxy_arp_pvlan route_localnet rp_filter \
        src_valid_mark tag
    set_all ipv4 $link 1 accept_redirects accept_source_route arp_evict_nocarrier secure_redirects send_redirects shared_media
    set_all ipv6 $link 0 forwarding force_forwarding accept_source_route addr_gen_mode disable_ipv6 drop_unsolicited_na \
        ignore_routes_with_linkdown keep_addr_on_down optimistic_dad proxy_ndp use_oif_addrs_only
    set_all ipv6 $link 1 accept_ra accept_ra_defrtr accept_ra_mtu accept_ra_pinfo accept_redirects autoconf dad_transmits
done
set_all ipv4 all 0 accept_source_route
set_all ipv4 lo 1 disable_policy disable_xfrm
set_all ipv6 all 0 accept_dad use_tempaddr
set_all ipv6 default 0 use_tempaddr
set_all ipv6 default 1 accept_dad
