# Makes a private host out of the fresh namespaces this runs in. From the environment: OCINET, AGENT, PROBE, ASKER and CALLER, the programs;
# SYSCTLS, the script sysctls.sh; MTU and BRIDGE_NF, the uplink's and the bridges' settings; BORN_OF_ROUTER, whether a new
# namespace begins as a router's; PREPARE, what a story wants done before the first snapshot.

read -r pid rest </proc/self/stat # The machine's /proc still: the pid by which others find this process.
mount -t proc proc /proc

# /mnt is the test's workshop, invisible to the machine. A new /sys shows this namespace's links; crun refuses hybrid cgroups.
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/bin /mnt/bundles /mnt/cgroup /mnt/etc /mnt/etc-work /mnt/rootfs
mount --rbind /sys/fs/cgroup /mnt/cgroup
mount -t sysfs sysfs /sys
mount --rbind /mnt/cgroup /sys/fs/cgroup
umount -R /mnt/cgroup
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi

# A fresh /run and /etc/ocinet.
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc-work overlay /etc
mkdir -p /etc/ocinet
mount -t tmpfs -o mode=0755 tmpfs /etc/ocinet
rm -f /etc/resolv.conf # It may be a link into the machine's /run.
printf 'nameserver 192.0.2.53\nsearch lan.example\noptions ndots:2\n' >/etc/resolv.conf

# The programs, and one root file system for every container.
cp "$OCINET" "$AGENT" "$PROBE" "$ASKER" "$CALLER" /mnt/bin

# Gives the namespace that it is run in what a new one has where the initial one is a router's.
{
    echo '#!/bin/sh -e'
    if [ "$BORN_OF_ROUTER" = 1 ]; then
        echo 'cd /proc/sys/net
        for link in ipv4/conf/*; do
            for setting in forwarding=1 rp_filter=2 accept_redirects=1 secure_redirects=0 send_redirects=1; do
                echo ${setting#*=} >$link/${setting%=*}
            done
        done
        for link in ipv6/conf/*; do
            echo 1 >$link/forwarding
            echo 1 >$link/accept_redirects
        done'
    fi
} >/mnt/bin/newborn
chmod 755 /mnt/bin/newborn

cd /mnt/rootfs
mkdir -p bin dev etc mnt/bin proc sys tmp www
cp "$(command -v busybox)" bin
cp "$PROBE" "$ASKER" mnt/bin
for applet in cat httpd ip sh sleep; do ln -s busybox bin/$applet; done
echo 'a page of the web server' >www/index.html
cd /

# The settings of this host and of its LAN peer.
ip netns add peer
sh -euc "$SYSCTLS"
/mnt/bin/newborn
nsenter --net=/run/netns/peer sh -euc "$SYSCTLS"
nsenter --net=/run/netns/peer /mnt/bin/newborn

# The cable to the LAN peer. Addresses of version 6 are valid at once, so that two snapshots are comparable.
cd /proc/sys/net
echo 0 >ipv4/ip_forward # A story says itself that its host is a router.
echo 0 >ipv6/conf/all/forwarding
echo 0 >ipv6/conf/default/accept_dad
echo 0 >ipv6/conf/default/router_solicitations
test -e bridge || { echo 'br_netfilter is missing: run `modprobe br_netfilter`' >&2; exit 1; }
echo "$BRIDGE_NF" >bridge/bridge-nf-call-iptables
echo "$BRIDGE_NF" >bridge/bridge-nf-call-ip6tables
cd /
ip -batch - <<BATCH
link set lo up
link add uplink mtu $MTU type veth peer name eth0 netns peer
address add 198.51.100.1/24 dev uplink
link set uplink up
route add default via 198.51.100.2
BATCH
ip -netns peer -batch - <<BATCH
link set lo up
address add 198.51.100.2/24 dev eth0
address add 203.0.113.1/32 dev lo
link set eth0 mtu $MTU up
BATCH

# Property of strangers, for the checker to watch over.
ip -batch - <<BATCH
link add stranger0 type bridge
address add 192.168.77.1/32 dev lo
route add 192.0.2.128/25 dev uplink table 77
rule add from 192.0.2.128/25 lookup 77 priority 777
BATCH
nft -f - <<RULES
table inet stranger {
    set known { type ipv4_addr; elements = { 192.0.2.200 }; }
    chain input {
        type filter hook input priority 5
        ip saddr @known counter drop
    }
}
RULES
iptables-legacy --append INPUT --source 192.0.2.201 --jump DROP
echo stranger >/run/stranger
sh -euc "$PREPARE"

# The kernel tells the state of a cable a moment later.
echo 1 >/proc/sys/net/ipv6/conf/default/accept_dad
until ip -oneline link show uplink | grep -q 'state UP'; do sleep 0.005; done

# The first process stays as long as the test holds its stdin, and reaps every orphan. With it ends every process here.
echo "$pid"
exec env --ignore-signal=CHLD cat >/dev/null 2>&1
