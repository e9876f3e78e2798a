# What its installation does.
cp /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /usr/share/ufw/iptables/*.rules /etc/ufw
ufw --force enable >/dev/null
