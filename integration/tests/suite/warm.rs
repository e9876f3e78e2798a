//! The programs in the page cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Settings, ocinet};

/// A copy of the program on a file system that is no tmpfs, where the page cache can be dropped. It goes with this.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Result<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").canonicalize()?;
        // Stories run beside one another in one process.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = target.join(format!("warm-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let copy = Self(folder);
        fs::copy(ocinet()?, copy.program())?;
        Ok(copy)
    }

    fn program(&self) -> PathBuf {
        self.0.join("ocinet")
    }

    fn run(&self, host: &Host, arguments: &str) -> Result<String> {
        host.sh(&format!("{} {arguments}", self.program().display()))
    }

    /// As after a boot: it comes into the page cache by being run.
    fn cool(&self, host: &Host) -> Result<()> {
        let program = self.program();
        host.sh(&format!("sync {0}; dd if={0} iflag=nocache count=0 status=none", program.display()))?;
        self.run(host, "ps").map(drop)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether this machine's kernel and the copy's file system have large folios; as far as the doctor knows it.
fn has_large_folios(host: &Host, copy: &Copy) -> Result<bool> {
    let release = host.sh("uname -r")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    let system = host.sh(&format!("stat -f -c %T {}", copy.0.display()))?;
    Ok(match system.trim() {
        "xfs" => version >= (Some(5), Some(18)),
        "ext2/ext3" => version >= (Some(6), Some(16)),
        _ => false,
    })
}

/// A program that was read by being run lies in small pages: the doctor says so, and `ocinet warm` changes it. Where
/// the kernel has no large pages, neither is an error.
#[test]
fn a_cold_program_is_noted_and_warmed() -> Result<()> {
    const NOTE: &str = "lies in small pages of the page cache";
    Settings::default().test(|host| {
        let copy = Copy::new()?;
        let _web = host.container("web").run()?;
        let is_possible = has_large_folios(host, &copy)?;
        copy.cool(host)?;
        let told = copy.run(host, "doctor")?;
        ensure!(told.starts_with("nothing is wrong\n") && told.contains(NOTE) == is_possible, "{told}");
        let said = copy.run(host, "warm")?;
        ensure!(!is_possible || said.contains("now"), "{said}");
        ensure!(said.starts_with(&copy.program().display().to_string()) && said.lines().count() == 1, "{said}");
        let told = copy.run(host, "doctor")?;
        ensure!(!told.contains(NOTE), "{told}");
        let again = copy.run(host, "warm")?;
        ensure!(again.contains("in large pages") == said.contains("now"), "{said}{again}");
        Ok(())
    })
}

/// A file from which a process runs stays as it is, and other arguments are errors in a line.
#[test]
fn what_cannot_be_warmed_is_an_error() -> Result<()> {
    Settings::default().test(|host| {
        let copy = Copy::new()?;
        copy.cool(host)?;
        if !has_large_folios(host, &copy)? {
            return Ok(());
        }
        let program = copy.program().display().to_string();
        host.sh(&format!("sleep 60 2>/dev/null | {program} hook createRuntime >/dev/null 2>&1 & echo $! >/mnt/pid"))?;
        let busy = host.output(&[&program, "warm"]);
        // It waits for its state no longer than ten seconds.
        host.sh("kill $(cat /mnt/pid) || true")?;
        busy?.exits(3)?.is_one_line()?.says(&["while process", "runs from it"])?;
        host.ocinet("warm /mnt")?.exits(1)?.is_one_line()?.says(&["/mnt", "not a regular file"])?;
        host.ocinet("warm /mnt/none")?.exits(1)?.is_one_line()?.says(&["/mnt/none"]).map(drop)
    })
}
