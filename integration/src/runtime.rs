//! The command lines of OCI runtimes.

use anyhow::Result;

use crate::Place;

/// What starts and stops containers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Runtime {
    /// The reference implementation.
    Runc,
    /// The one of podman's authors, which never calls poststop after a failed start.
    Crun,
    /// None: `unshare` makes the namespace, and the hook is called by hand, as a runtime would. It takes no time.
    Bare,
}

impl Runtime {
    /// The program's name; none has none.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Runc => Some("runc"),
            Self::Crun => Some("crun"),
            Self::Bare => None,
        }
    }

    /// The default folder of its state.
    pub(crate) fn root(self) -> String {
        format!("/mnt/{}", self.program().unwrap_or("bare"))
    }
}

/// One container, as its runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The runtime.
    pub program: &'static str,
    /// The folder of its state: ids are unique within one.
    pub root: String,
    /// The container's id.
    pub id: String,
}

impl Handle {
    /// `run`: the container's own output goes to files, because whoever holds a pipe's end keeps us waiting for it.
    pub fn run(&self, place: &Place, bundle: &str) -> Result<crate::Output> {
        let script = format!(
            "cd {bundle}; exec {} --root {} run --detach --bundle {bundle} --pid-file {bundle}/pid {} </dev/null >stdout 2>stderr",
            self.program, self.root, self.id
        );
        let mut output = place.output(&["sh", "-euc", &script])?;
        output.stderr = place.sh(&format!("cat {bundle}/stderr; cat {bundle}/hook-stderr 2>/dev/null || true"))?;
        Ok(output)
    }

    /// `delete --force`: kills the container where it still lives.
    pub fn delete(&self, place: &Place) -> Result<()> {
        place.output(&[self.program, "--root", &self.root, "delete", "--force", &self.id])?.success()?;
        Ok(())
    }

    /// `exec`: what the program prints.
    pub fn exec(&self, place: &Place, argv: &[&str]) -> Result<String> {
        place.output(&[&[self.program, "--root", &self.root, "exec", &self.id], argv].concat())?.success()
    }
}
