# Lays the files of a Debian package over the host's. From the fixture: $package, the folder it was unpacked into, $newer, one with a
# newer version of it or nothing, and $variant, the iptables that the host uses.
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
mount -t overlay -o "lowerdir=${newer:+$newer/usr:}$package/usr:/usr" overlay /usr
# Where the package still has that apart from /usr.
if [ -d "$package/lib" ]; then mount -t overlay -o "lowerdir=$package/lib:/usr/lib" overlay /usr/lib; fi
cp -a "$package/etc/." /etc/
for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sf "/usr/sbin/${program%%tables*}tables-$variant${program#*tables}" "/etc/alternatives/$program"
done
