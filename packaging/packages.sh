# shellcheck shell=bash
# What makes packages out of an installation. Sourced after common.sh, never run.

# The versions that this was tried with.
cargo_deb=3.8.0
cargo_generate_rpm=0.21.1

# Where the files of a package lie: the lists of files in hook/Cargo.toml name it. One at a time is there.
stage=$top/target/package

lock_stage() {
    mkdir -p "$top/target"
    exec 9>"$stage.lock"
    flock 9
}

# need_packer CRATE VERSION: a subcommand of cargo, built for this alone; it is on the PATH then.
need_packer() {
    local tools=$top/target/$1-$2
    if [[ ! -x $tools/bin/$1 ]]; then
        echo "Building $1 $2" >&2
        env -u RUSTFLAGS CARGO_TARGET_DIR="$tools/target" cargo install --quiet --locked --root "$tools" --version "$2" "$1" >&2
        rm -rf "$tools/target"
    fi
    PATH=$tools/bin:$PATH
}

# fill_stage [PROGRAM]: what packaging/install --prefix /usr installs, with this program and those beside it in the place of those of
# this machine's processor.
fill_stage() {
    local installed
    rm -rf "$stage"
    DESTDIR=$stage "$top/packaging/install" --prefix /usr >&2
    rm -r "$stage/usr/share/ocinet" # package managers keep lists of their own
    gzip -9n "$stage"/usr/share/man/*/*
    for installed in ${1:+"$stage"/usr/bin/*}; do
        install -m 755 "${1%/*}/${installed##*/}" "$installed"
    done
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# The time that all files of a package have, so that the same commit gives the same package.
set_source_date() {
    if [[ -z ${SOURCE_DATE_EPOCH:-} ]] && is_clone; then SOURCE_DATE_EPOCH=$(in_clone log -1 --format=%ct); fi
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$top/Cargo.toml")}
}

# pack_deb PROCESSOR FOLDER: a Debian package of what is staged.
pack_deb() {
    (cd "$top" && cargo deb --quiet --package ocinet --no-build --no-strip --target "$1-unknown-linux-gnu" --output "$2/")
}

# pack_rpm PROCESSOR FOLDER: the same for rpm. zsh looks for completions of packages elsewhere there.
pack_rpm() {
    mv "$stage"/usr/share/zsh/{vendor-completions,site-functions}
    (cd "$top" && cargo generate-rpm --package hook --arch "$1" --auto-req disabled --output "$2/")
    mv "$stage"/usr/share/zsh/{site-functions,vendor-completions}
}
