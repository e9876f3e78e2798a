//! Invalid state on stdin. Each is refused in one line that names the field and the value, and the host stays as it is.

use std::fs;
use std::process::Stdio;

use anyhow::{Result, ensure};
use ocinet_integration::{Container, OCINET, Settings, every};
use serde_json::{Value, json};

/// The state of `web` with one field replaced; null removes it.
fn with(web: &Container<'_>, field: &str, value: Value) -> Vec<u8> {
    let mut state = web.state("createRuntime");
    match value {
        Value::Null => state.as_object_mut().map(|fields| fields.remove(field)).map(drop),
        value => state.as_object_mut().map(|fields| fields.insert(field.to_owned(), value)).map(drop),
    };
    state.to_string().into_bytes()
}

/// Text that is no valid state.
#[test]
fn a_state_that_cannot_be_read() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        let whole = web.state("createRuntime").to_string().into_bytes();
        let huge = with(&web, "annotations", json!({ "org.example": "x".repeat(17 << 20) }));
        let states = [
            ("empty", Vec::new()),
            ("blank", b" \n".to_vec()),
            ("cut off", whole[..whole.len() / 2].to_vec()),
            ("not JSON", b"hello".to_vec()),
            ("another type", b"[]".to_vec()),
            ("not UTF-8", b"\xff\xfe{}".to_vec()),
            ("two of them", [&whole[..], &whole[..]].concat()),
            ("17 MiB of blanks", vec![b' '; 17 << 20]),
            ("17 MiB of annotations", huge),
        ];
        every(states, |(_, state)| {
            let refusal = host.unchanged_by(|| host.hook("createRuntime", state))?;
            ensure!(refusal.stderr.len() < 1000, "a message is no dump: {} bytes", refusal.stderr.len());
            refusal.is_refusal()?.says(&["state"]).map(drop)
        })
    })
}

/// Annotations of other tools may be large, and a state contains them all.
#[test]
fn a_state_with_large_annotations_is_read() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        let state =
            with(&web, "annotations", json!({"org.example": "x".repeat(2 << 20), "io.ocinet.network": "bridge"}));
        host.hook("createRuntime", &state)?.exits(0)?;
        ensure!(web.sandbox()?.address().is_some(), "{:#?}", web.sandbox()?);
        host.hook("poststop", &state)?.exits(0)?;
        host.settles()
    })
}

/// A pid that is not the container's.
#[test]
fn a_pid_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        let pids = [json!(-1), json!(0), json!(1), json!(4_194_304), json!(1_u64 << 40), json!("seven"), Value::Null];
        every(pids, |pid| {
            let value = if pid.is_null() { "pid".to_owned() } else { pid.to_string().replace('"', "") };
            let state = with(&web, "pid", pid.clone());
            let refusal = host.unchanged_by(|| host.hook("createRuntime", &state))?;
            refusal.is_refusal()?.says(&["pid", &value]).map(drop)
        })
    })
}

/// The pid of a process that has just ended.
#[test]
fn a_pid_that_is_dead() -> Result<()> {
    Settings::default().test(|host| {
        let mut web = host.container("web").prepare()?;
        web.kill()?;
        let refusal = host.unchanged_by(|| web.hook("createRuntime"))?;
        refusal.is_refusal()?.says(&["pid", &web.pid().to_string()]).map(drop)
    })
}

/// An id is a name and never a path.
#[test]
fn an_id_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        let ids = [
            (json!("a/b"), "a/b"),
            (json!("../../etc"), "../../etc"),
            (json!(".."), ".."),
            (json!("."), "."),
            (json!("a\0b"), "a"),
            (json!("a\nb"), "a"),
            (json!("x".repeat(4096)), "id"),
            (json!(""), "id"),
            (json!(7), "7"),
            (Value::Null, "id"),
        ];
        every(ids, |(id, value)| {
            for stage in ["createRuntime", "poststop"] {
                let state = with(&web, "id", id.clone());
                let refusal = host.unchanged_by(|| host.hook(stage, &state))?;
                ensure!(refusal.stderr.len() < 1000, "a message is no dump: {} bytes", refusal.stderr.len());
                refusal.is_refusal()?.says(&["id", value])?;
            }
            Ok(())
        })
    })
}

/// A runtime that never closes the pipe: the hook gives up after its own deadline.
#[test]
fn stdin_that_is_never_closed() -> Result<()> {
    Settings::default().test(|host| {
        let mut hook = host.hook_command("createRuntime");
        let mut child = hook.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let open = child.stdin.take();
        let output = child.wait_with_output()?;
        drop(open);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code().is_some_and(|code| [1, 2].contains(&code)), "{:?} {message}", output.status);
        ensure!(message.lines().count() == 1 && message.contains("state"), "{message}");
        Ok(())
    })
}

/// An unknown stage.
#[test]
fn a_stage_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        for stage in ["createContainer", "create-runtime", ""] {
            let refusal = host.unchanged_by(|| web.hook(stage))?;
            ensure!(refusal.code == 2 && refusal.stderr.contains(stage), "{refusal}");
        }
        Ok(())
    })
}

/// The hook may be called in a directory that it has no right to search.
#[test]
fn a_working_directory_that_is_closed() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("mkdir -m 700 /mnt/closed; chown 1000 /mnt/closed")?;
        let web = host.container("web").prepare()?;
        fs::write(host.path("/mnt/state"), web.state("createRuntime").to_string())?;
        let powerless =
            "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search";
        host.sh(&format!("cd /mnt/closed; {powerless} {OCINET} hook createRuntime </mnt/state"))?;
        ensure!(web.sandbox()?.address().is_some(), "it is attached");
        web.hook("poststop")?.success().map(drop)
    })
}

/// Without CAP_NET_ADMIN there is one clear line, and the host stays as it is.
#[test]
fn without_cap_net_admin() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        fs::write(host.path("/mnt/state"), web.state("createRuntime").to_string())?;
        let powerless = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin";
        let script = format!("exec {powerless} {OCINET} hook createRuntime </mnt/state");
        let refusal = host.unchanged_by(|| host.output(&["sh", "-c", &script]))?;
        ensure!(refusal.code != 0, "{refusal}");
        refusal.is_one_line()?.says(&["CAP_NET_ADMIN"]).map(drop)
    })
}
