# shellcheck shell=bash
# What packaging/quickstart and the scripts in integration/ have in common. Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # `su` without a dash leaves them out

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

need_root() {
    ((EUID == 0)) || die "must run as root: it makes network namespaces"
}

# Finds cargo, for root also in the home of the user who called sudo, and checks its age against Cargo.toml.
need_rust() {
    local home wanted have
    for home in "${HOME:-/root}" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
        [[ -z $(command -v cargo) && -x $home/.cargo/bin/cargo ]] || continue
        export PATH=$home/.cargo/bin:$PATH RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
    done
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    command -v cargo >/dev/null || die "no cargo on the PATH: Rust $wanted or later is needed (https://rustup.rs)"
    have=$(cd "$top" && rustc --version | cut -d' ' -f2)
    printf '%s\n' "$wanted" "$have" | sort -VC || die "Rust $wanted or later is needed, and $(command -v rustc) is $have"
}

# apt-get, quietly; once more with fresh package lists when it fails.
apt_get() {
    local command=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120) said
    said=$("${command[@]}" "$@" 2>&1) && return
    "${command[@]}" update >/dev/null 2>&1 || true
    said=$("${command[@]}" "$@" 2>&1) || die "apt-get $*: $(grep -m1 '^E:' <<<"$said" || tail -n1 <<<"$said")"
}

# debian_archive LABEL: the address of Debian's archive `Debian` or `Debian-Security`, as this machine's apt has it.
debian_archive() {
    local found
    found=$(archive_in_lists "$1")
    # Its label stands in the package lists, which may never have been fetched.
    [[ -n $found ]] || { apt_get update && found=$(archive_in_lists "$1"); }
    [[ -n $found ]] || die "no archive with the label $1 is among the sources of apt (/etc/apt/sources.list, sources.list.d)"
    echo "$found"
}

archive_in_lists() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F '|' -v label="$1" '$1 == "Debian" && $2 == label && !found++ { print $3 }'
}

# install_missing PROGRAM:PACKAGE... (or FILE:PACKAGE). It goes by programs, as a Docker host has a runc of its own, and
# never removes anything, as Debian's runc would remove Docker there.
install_missing() {
    local item packages=()
    for item; do
        [[ $item == /* && -e ${item%%:*} ]] || command -v "${item%%:*}" >/dev/null || packages+=("${item#*:}")
    done
    ((${#packages[@]})) || return 0
    command -v apt-get >/dev/null || die "please install ${packages[*]}: there is no apt-get here to do it with"
    echo "Installing ${packages[*]}"
    apt_get --no-remove install "${packages[@]}"
}

# For frames of bridges on the IP hooks, which the tests try both ways. The bridges of this host go on without.
need_br_netfilter() {
    [[ ! -d /proc/sys/net/bridge ]] || return 0
    modprobe br_netfilter || die "this kernel has no br_netfilter"
    sysctl -q -w net.bridge.bridge-nf-call-{ip,ip6,arp}tables=0
}

is_static() {
    [[ $(ldd "$1" 2>&1) == *"not a dynamic"* || $(ldd "$1" 2>&1) == *"statically linked"* ]]
}

# Puts a static busybox at $1: the host's, else the one of Debian, unpacked but not installed, for it would replace `busybox`.
static_busybox() {
    local own box
    own=$(command -v busybox) && is_static "$own" && cp "$own" "$1" && return
    box=$(mktemp -d)
    (cd "$box" && apt_get download busybox-static && dpkg-deb -x busybox-static_*.deb . && mv "$(find . -path '*/bin/busybox')" "$1")
    rm -rf "$box"
}

# Builds the release binary, and with `-p ocinet-shim` the shim beside it, and prints its path. RUSTFLAGS would replace ours,
# and so give a dynamic file.
build_ocinet() {
    local binaries binary
    binaries=$(
        cd "$top"
        env -u RUSTFLAGS cargo build --release -p ocinet "$@" --message-format=json-render-diagnostics |
            jq -r 'select(.reason == "compiler-artifact" and .target.kind == ["bin"]) | .executable'
    ) || die "cargo build failed"
    [[ -n $binaries ]] || die "cargo build gave no binary"
    for binary in $binaries; do is_static "$binary" || die "$binary is not static"; done
    give_back
    grep '/ocinet$' <<<"$binaries"
}

# Under sudo the build's files stay with the owner of the clone.
give_back() {
    [[ -O $top || ! -d $top/target ]] || chown -R --reference="$top" "$top/target"
}
