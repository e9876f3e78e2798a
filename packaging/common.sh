# shellcheck shell=bash
# What the scripts in packaging/ and integration/ have in common. Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # `su` without a dash leaves them out

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The comment that a script begins with.
show_help() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "$0"; }

need_root() {
    ((EUID == 0)) || die "must run as root: it makes network namespaces"
}

# Finds what it takes to build: a Rust that Cargo.toml accepts, on the PATH or in the home of root or of the user who called sudo,
# or else Debian's, which is installed; and a C compiler, certificates for cargo's downloads, and jq for cargo's messages.
need_rust() {
    local wanted here home
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    here=$(rust_version)
    if ! is_at_least "$wanted" "$here"; then
        for home in "${HOME:-/root}" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
            take_rust "$wanted" "$home/.cargo/bin" "${RUSTUP_HOME:-$home/.rustup}" && break
        done || take_rust "$wanted" /usr/bin || install_rust "$wanted" "$here"
    fi
    install_missing cc:gcc /usr/include/stdio.h:libc6-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates jq:jq
}

# The version of the Rust that the PATH leads to; nothing where there is none.
rust_version() { (cd "$top" && cargo --version >/dev/null && rustc --version | cut -d' ' -f2) 2>/dev/null || true; }

# is_at_least WANTED VERSION
is_at_least() { [[ -n $2 ]] && printf '%s\n' "$1" "$2" | sort -VC; }

# take_rust WANTED FOLDER [RUSTUP_HOME]: puts the folder in front of the PATH if its Rust is new enough.
take_rust() {
    [[ -x $2/cargo ]] || return
    local path=$2:$PATH rustup=${3:-${RUSTUP_HOME:-}}
    is_at_least "$1" "$(PATH=$path RUSTUP_HOME=$rustup rust_version)" || return
    export PATH=$path
    [[ -z $rustup ]] || export RUSTUP_HOME=$rustup
}

# install_rust WANTED HERE: Debian's `rustc` where that is new enough, else `rustc-web`, which Debian renews in its stable releases.
# It may take the place of an older Rust of Debian's, and of nothing else.
install_rust() {
    local why="Rust $1 or later is needed, and here is ${2:-none}" names packages lost
    ((EUID == 0)) && command -v apt-get >/dev/null || die "$why: see https://rustup.rs"
    names=$(rust_packages "$1" || { apt_get update && rust_packages "$1"; }) ||
        die "$why, nor has this machine's apt one: see https://rustup.rs"
    read -ra packages <<<"$names"
    lost=$(apt-get install --simulate --no-install-recommends "${packages[@]}" |
        awk '/^Remv / && $2 !~ /^((rustc|cargo)(-web)?|rustfmt|rust-(all|clippy|doc|gdb|lldb|src))$/ { print $2 }') ||
        die "$why, and apt-get cannot install $names"
    [[ -z $lost ]] || die "$why, and Debian's $names would remove ${lost//$'\n'/ }: remove that first, or update it"
    echo "Installing ${names/ / and }: $why"
    apt_get install "${packages[@]}"
    # cargo looks for its subcommands in ~/.cargo/bin first, unless that has another place on the PATH.
    export PATH=/usr/bin:$PATH:${HOME:-/root}/.cargo/bin
}

# rust_packages WANTED: Debian's packages of a Rust that is new enough.
rust_packages() {
    local variant
    for variant in "" -web; do
        is_at_least "$1" "$(apt-cache policy "rustc$variant" | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')" || continue
        echo "rustc$variant cargo$variant"
        return
    done
    return 1
}

# cargo's subcommands fmt and clippy. Debian has them in packages beside that of rustc.
need_lints() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    case $(dpkg -S "$(command -v rustc)" 2>/dev/null) in
        rustc-web:*) install_missing cargo-fmt:rustfmt-web cargo-clippy:rust-web-clippy ;;
        rustc:*) install_missing cargo-fmt:rustfmt cargo-clippy:rust-clippy ;;
        *) die "cargo has no fmt or no clippy here: \`rustup component add rustfmt clippy\`" ;;
    esac
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

# The ocinet that need not be built: OCINET_BIN, or that of a release's archive, which has it beside this folder. Else nothing.
built_ocinet() {
    if [[ -n ${OCINET_BIN:-} ]]; then
        echo "$OCINET_BIN"
    elif [[ -x $top/bin/ocinet ]]; then
        echo "$top/bin/ocinet"
    fi
}

# Builds the release binary, with the shim for containerd beside it, and prints its path. Always both, since either alone has
# other features of their dependencies, for which all would be compiled again. RUSTFLAGS would replace ours, and so give a dynamic file.
# More arguments are cargo's.
build_ocinet() {
    local binaries binary
    binaries=$(
        cd "$top"
        OCINET_VERSION=$(ocinet_version) env -u RUSTFLAGS \
            cargo build --release -p ocinet -p ocinet-shim --message-format=json-render-diagnostics "$@" |
            jq -r 'select(.reason == "compiler-artifact" and .target.kind == ["bin"]) | .executable'
    ) || die "cargo build failed"
    [[ -n $binaries ]] || die "cargo build gave no binary"
    for binary in $binaries; do is_static "$binary" || die "$binary is not static"; done
    give_back
    grep '/ocinet$' <<<"$binaries"
}

# The version, as `--version` prints it: with the commit and its date where this is a clone, so that the same commit gives the same
# program. SOURCE_DATE_EPOCH is another date. Where there is neither, it is the number alone.
ocinet_version() {
    local number commit="" date="" more
    number=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    if is_clone; then
        commit=$(in_clone describe --always --dirty --exclude='*' --abbrev=12)
        date=$(in_clone log -1 --format=%ct)
    fi
    date=${SOURCE_DATE_EPOCH:-$date}
    more=$commit${date:+${commit:+ }$(date --utc --date="@$date" +%F)}
    echo "$number${more:+ ($more)}"
}

# git, also in the clone of another user, as under sudo.
in_clone() { git -c safe.directory="$top" -C "$top" "$@"; }

# Whether this tree is a clone, and not one that was unpacked inside of another project's.
is_clone() { [[ $(in_clone rev-parse --show-toplevel 2>/dev/null) == "$(realpath "$top")" ]]; }

# Under sudo the build's files stay with the owner of the clone.
give_back() {
    [[ -O $top || ! -d $top/target ]] || chown -R --reference="$top" "$top/target"
}
