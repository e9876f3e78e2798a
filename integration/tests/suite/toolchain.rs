//! The compiler of the scripts: the user's Rust if it is new enough, else Debian's. No other package is removed for it.

use std::path::Path;

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Output, Settings, every};

/// Stand-ins: a Rust of any version, and an apt that offers some and installs them to `/usr/bin`.
const STAND_INS: &str = r#"
    rm -rf /mnt/home /mnt/path /mnt/apt /usr/bin/cargo /usr/bin/rustc /usr/sbin/.cargo
    mkdir -p /mnt/home /mnt/path /mnt/apt
    rust() { # rust VERSION FOLDER
        mkdir -p $2
        for program in cargo rustc; do printf '#!/bin/sh\necho %s %s\n' $program $1 >$2/$program; chmod 755 $2/$program; done
    }
    cat >/mnt/path/apt-cache <<'END'
#!/bin/sh
version=$(cat /mnt/apt/$2 2>/dev/null) && printf '%s:\n  Candidate: %s+dfsg1-1\n' $2 $version
END
    cat >/mnt/path/apt-get <<'END'
#!/bin/sh
case "$*" in
    *--simulate*) cat /mnt/apt/removed 2>/dev/null || true ;;
    *update*) ! test -e /mnt/apt/newer || cp /mnt/apt/newer /mnt/apt/rustc-web ;;
    *install*) echo "$*" >/mnt/apt/installed; cp /mnt/newest/* /usr/bin ;;
esac
END
    chmod 755 /mnt/path/*
    rust 1.96.0 /mnt/newest"#;

/// Runs `packaging/common.sh` after `before`, and prints the Rust that it found.
fn need_rust(host: &Host, before: &str) -> Result<Output> {
    let common = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/common.sh");
    host.sh(&format!("{STAND_INS}\n{before}"))?;
    let script = format!(
        "export HOME=/mnt/home SUDO_USER=daemon PATH=/mnt/path:/usr/bin:/bin
         unset RUSTUP_HOME; . {}; need_rust; type -P rustc; rustc --version; cat /mnt/apt/installed 2>/dev/null || true",
        common.display()
    );
    host.output(&["bash", "-euo", "pipefail", "-c", &script])
}

/// Old, new and missing ones in every order. `daemon` is the user who called sudo; its home is /usr/sbin.
#[test]
fn a_rust_that_is_new_enough_is_found_or_installed() -> Result<()> {
    let rows = [
        ("rust 1.91.0 /mnt/path", "/mnt/path/rustc\nrustc 1.91.0\n"),
        ("rust 1.100.1 /mnt/home/.cargo/bin", "/mnt/home/.cargo/bin/rustc\nrustc 1.100.1\n"),
        ("rust 1.63.0 /usr/bin; rust 1.95.0 /mnt/home/.cargo/bin", "/mnt/home/.cargo/bin/rustc\nrustc 1.95.0\n"),
        (
            "rust 1.90.0 /mnt/home/.cargo/bin; rust 1.95.0 /usr/sbin/.cargo/bin",
            "/usr/sbin/.cargo/bin/rustc\nrustc 1.95.0\n",
        ),
        ("rust 1.90.0 /mnt/path; rust 1.96.0 /usr/bin", "/usr/bin/rustc\nrustc 1.96.0\n"),
        (
            "echo 1.63.0 >/mnt/apt/rustc; echo 1.96.0 >/mnt/apt/rustc-web",
            "Installing rustc-web and cargo-web: Rust 1.91 or later is needed, and here is none\n/usr/bin/rustc\nrustc 1.96.0\n",
        ),
        (
            "rust 1.63.0 /usr/bin; echo 1.96.0 >/mnt/apt/rustc-web; printf 'Remv rustc [1]\\nRemv cargo [1]\\n' >/mnt/apt/removed",
            "Installing rustc-web and cargo-web: Rust 1.91 or later is needed, and here is 1.63.0\n/usr/bin/rustc\nrustc 1.96.0\n",
        ),
        (
            "rust 1.80.0 /mnt/path; echo 1.92.0 >/mnt/apt/rustc; echo 1.96.0 >/mnt/apt/rustc-web",
            "Installing rustc and cargo: Rust 1.91 or later is needed, and here is 1.80.0\n/usr/bin/rustc\nrustc 1.96.0\n",
        ),
        (
            "echo 1.85.0 >/mnt/apt/rustc-web; echo 1.96.0 >/mnt/apt/newer",
            "Installing rustc-web and cargo-web: Rust 1.91 or later is needed, and here is none\n/usr/bin/rustc\nrustc 1.96.0\n",
        ),
    ];
    Settings::default().installable().test(|host| {
        every(rows, |(before, expected)| {
            let said = need_rust(host, before)?.success()?;
            ensure!(said.starts_with(expected), "{said}");
            ensure!(said.contains("Installing") == said.contains(" install "), "{said}");
            Ok(())
        })
    })
}

/// No package of the user's is removed for it, and the error names what is missing.
#[test]
fn what_cannot_be_installed_is_said() -> Result<()> {
    let rows = [
        ("echo 1.85.0 >/mnt/apt/rustc-web", "nor has this machine's apt one"),
        (
            "rust 1.80.0 /usr/bin; echo 1.96.0 >/mnt/apt/rustc-web; echo 'Remv rustup [1.27]' >/mnt/apt/removed",
            "remove rustup",
        ),
    ];
    Settings::default().installable().test(|host| {
        every(rows, |(before, words)| {
            let refused = need_rust(host, before)?.exits(1)?;
            ensure!(refused.stderr.contains(words) && refused.stderr.lines().count() == 1, "{refused}");
            ensure!(refused.stderr.contains("Rust 1.91 or later is needed"), "{refused}");
            ensure!(!refused.stdout.contains(" install "), "{refused}");
            Ok(())
        })
    })
}
