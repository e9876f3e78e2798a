setsid dockerd --data-root /mnt/docker --exec-root /run/docker --pidfile /run/docker.pid --storage-driver vfs >/mnt/dockerd.log 2>&1 &
until docker version >/dev/null 2>&1; do sleep 0.1; done
