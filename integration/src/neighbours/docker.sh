setsid dockerd --data-root /mnt/docker --exec-root /run/docker --pidfile /run/docker.pid --storage-driver vfs >/mnt/dockerd.log 2>&1 &
until curl --silent --fail --unix-socket /run/docker.sock http://docker/_ping >/dev/null; do sleep 0.1; done
