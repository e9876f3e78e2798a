//! The programs the fixtures need: the `ocinet` under test, and our own helpers.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Program header type of an ELF file that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// The `ocinet` under test: the file that `OCINET_BIN` names, else the newest release build in this workspace.
pub fn ocinet() -> Result<PathBuf> {
    if let Some(path) = env::var_os("OCINET_BIN") {
        return fs::canonicalize(&path).with_context(|| format!("OCINET_BIN={}", Path::new(&path).display()));
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = fs::read_dir(&target).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = built
        .chain([target.clone()])
        .map(|folder| folder.join("release/ocinet"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max();
    let (_, path) = newest.context("no ocinet to test: run `cargo build --release -p ocinet`, or set OCINET_BIN")?;
    Ok(fs::canonicalize(path)?)
}

/// The shim under test, in the same folder as `ocinet`.
pub(crate) fn shim() -> Result<PathBuf> {
    let path = ocinet()?.with_file_name("containerd-shim-ocinet-v2");
    ensure!(path.exists(), "{} is missing: build it as ocinet is, with -p ocinet-shim", path.display());
    Ok(path)
}

/// The name server under test, in the same folder as `ocinet`.
pub(crate) fn agent() -> Result<PathBuf> {
    let path = ocinet()?.with_file_name("ocinet-agent");
    ensure!(path.exists(), "{} is missing: build it as ocinet is, with -p ocinet", path.display());
    Ok(path)
}

/// The folder with the programs of the previous release.
pub(crate) fn release_before() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/upgrade");
    fs::canonicalize(&folder).ok().filter(|folder| folder.join("ocinet").exists()).with_context(|| {
        format!("no release to upgrade from in {}: integration/old-release builds it", folder.display())
    })
}

/// A program of our own (`probe`, `caller`, `floor`), built by cargo next to the running test or benchmark.
pub fn helper(name: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test runs from target/*/deps")?;
    let path = folder.join(name);
    ensure!(path.exists(), "{} is missing: run `cargo build -p ocinet-integration`", path.display());
    Ok(path)
}

/// Whether an ELF file runs without a dynamic loader. In a container's root file system there is none.
pub fn is_static(path: &Path) -> Result<bool> {
    let file = fs::read(path)?;
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "{} is no 64-bit little-endian ELF file", path.display());
    let number = |at: usize, len: usize| -> Result<usize> {
        let bytes = file.get(at..at + len).context("cut off")?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kinds = (0..count).map(|index| number(table + index * size, 4)).collect::<Result<Vec<_>>>()?;
    Ok(!kinds.contains(&(PT_INTERP as usize)))
}
