//! System calls fail, one at a time, beside a container that lives.

use anyhow::{Result, ensure};
use ocinet_integration::survive::CALLER;
use ocinet_integration::{OCINET, Output, Settings};

/// The helper lets the call fail that is meant, and no other.
#[test]
fn one_system_call_fails() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        let attach = |way: &[&str]| {
            let mut command = host.command(&[&[CALLER], way, &[OCINET, "hook", "createRuntime"]].concat());
            Output::of(&mut command, web.state("createRuntime").to_string().as_bytes())
        };
        let no_descriptor = "24";
        let failed = attach(&["fail-at", "0", "pidfd_open", "0", no_descriptor])?;
        let said = ["caller: failed pidfd_open() with EMFILE", "find process", "Too many open files"];
        ensure!(failed.code != 0 && said.iter().all(|words| failed.stderr.contains(words)), "{failed}");
        ensure!(host.records()?.is_empty(), "{:#?}", host.records()?);
        let never = attach(&["fail-at", "0", "pidfd_open", "1000", no_descriptor])?.exits(0)?;
        ensure!(never.stderr.contains("caller: not failed"), "{never}");
        web.hook("poststop")?.success().map(drop)
    })
}
