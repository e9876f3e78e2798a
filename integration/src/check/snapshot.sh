# Prints everything on a host that a hook could change, in sections. What changes by itself is left out: timers, counters,
# whether a cable has a signal, and link-local addresses of version 6, which come a second after their link.

section() { echo "### $1"; }
by_itself='s/[a-z_]*_timer *[0-9.]*//g; s/,LOWER_UP\|NO-CARRIER,\|,M-DOWN//g; s/ state [A-Za-z]*//g; s/qdisc [a-z]*//'

section links && ip -oneline -details link show | sed "$by_itself"
section addresses && ip -oneline address show | sed '/inet6 fe80:/d'
section routes && ip -4 route show table all | sed 's/ linkdown//' && ip -6 route show table all | sed '/^\(local \|anycast \|multicast \)*f[ef][08][08]:/d'
section rules && ip rule show && ip -6 rule show
section nftables && nft --handle --stateless list ruleset
section iptables && for program in iptables ip6tables; do $program-legacy-save; done | awk '/^\*/ { table = $1 } /^:/ && $2 != "ACCEPT" && $2 != "-" || /^-/ { print table, $0 }' |
    sed 's/\[[0-9:]*\]//'
section sysctls && cd /proc/sys/net && { grep -rs '' bridge core ipv4 ipv6 netfilter unix || true; } |
    sed -e '/nf_conntrack_count:/d' | sort
section mounts && cat /proc/self/mountinfo
# A refusal is recorded in the log, and the folder may be made for it.
section files && find /run /etc/ocinet \( -type d -printf '%p %M %U:%G\n' \) -o -printf '%p %M %U:%G %s %T@ %l\n' |
    sed -e '\:^/run/ocinet/log\(\.old\)\? :d' -e '\:^/run/ocinet drwx------ 0\:0$:d' | sort
