use serde_json::{Value, json};

use super::change::{Change, Position};
use super::{Document, shown};
use crate::input::Stage;
use crate::model::Invalid;

/// The networks that nerdctl was told.
const NERDCTL_NETWORKS: &str = "nerdctl/networks";

/// How a runtime calls us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// The absolute path of the program.
    pub program: String,
    /// Options to follow `ocinet hook STAGE`.
    pub options: Vec<String>,
}

impl HookCommand {
    fn entry(&self, stage: Stage) -> Value {
        let mut args = vec!["ocinet".to_owned(), "hook".to_owned(), stage.to_string()];
        args.extend(self.options.iter().cloned());
        json!({ "path": self.program, "args": args })
    }
}

impl Document {
    /// Refuses hooks of another shape than the specification gives them.
    pub(super) fn check_hooks(&self) -> Result<(), Invalid> {
        let stages = self.at(&["hooks"]).and_then(Value::as_object);
        for (stage, hooks) in stages.into_iter().flatten().filter(|(_, hooks)| !hooks.is_null()) {
            let field = format!("hooks.{}", shown(stage));
            let list = hooks.as_array().ok_or_else(|| self.misshapen(&field, hooks, "a list"))?;
            let is_hook = |hook: &&Value| hook.get("path").is_some_and(Value::is_string);
            if let Some(hook) = list.iter().find(|hook| !is_hook(hook)) {
                return Err(self.misshapen(&field, hook, "a hook: it has no path"));
            }
        }
        Ok(())
    }

    /// Calls us at start and stop. At the start it comes last, since no runtime undoes what we did where a later hook
    /// fails under crun; before everybody else at the stop, since runc gives up at the first hook that fails. A hook
    /// of ours that is there already stays in its place.
    pub(super) fn hook(&mut self, command: &HookCommand, changes: &mut Vec<Change>) -> Result<(), Invalid> {
        self.refuse_other_network_hooks()?;
        let attaches = [Stage::CreateRuntime, Stage::Prestart];
        let known = attaches.into_iter().filter(|stage| self.our_hook(*stage).is_some()).collect::<Vec<_>>();
        for stage in if known.is_empty() { &attaches[..1] } else { &known } {
            self.hook_at(*stage, Position::Last, command, changes);
        }
        self.hook_at(Stage::Poststop, Position::First, command, changes);
        Ok(())
    }

    fn hook_at(&mut self, stage: Stage, position: Position, command: &HookCommand, changes: &mut Vec<Change>) {
        let name = stage.to_string();
        let path = ["hooks", name.as_str()];
        match self.our_hook(stage) {
            Some(index) => self.replace(&path, index, command.entry(stage), changes),
            None => self.add(&path, position, command.entry(stage), changes),
        }
    }

    /// The program of our hook at `stage`, where the spec has one.
    pub fn our_program(&self, stage: Stage) -> Option<&str> {
        let index = self.our_hook(stage)?;
        self.items(&["hooks", &stage.to_string()]).get(index)?.get("path")?.as_str()
    }

    fn our_hook(&self, stage: Stage) -> Option<usize> {
        let name = stage.to_string();
        let calls_us = |hook: &Value| {
            let words = arguments(hook);
            file_name(hook) == "ocinet" && words.windows(2).any(|pair| pair == ["hook", name.as_str()])
        };
        self.items(&["hooks", &name]).iter().position(calls_us)
    }

    /// Two tools that wire one container get in each other's way.
    fn refuse_other_network_hooks(&self) -> Result<(), Invalid> {
        match self.other_network_hook() {
            Some((stage, hook, tool)) => {
                let line = arguments(hook).join(" ");
                let why = format!("{tool} wires this container already; {}", way_out(tool));
                Err(self.wrong(&format!("hooks.{stage}"), line, why))
            }
            None => Ok(()),
        }
    }

    /// Whether another tool was told what network the container has, be it none.
    pub fn is_left_to_others(&self) -> bool {
        self.annotation(NERDCTL_NETWORKS).is_some() || self.other_network_hook().is_some()
    }

    fn other_network_hook(&self) -> Option<(Stage, &Value, &'static str)> {
        [Stage::Prestart, Stage::CreateRuntime].into_iter().find_map(|stage| {
            let hooks = self.items(&["hooks", &stage.to_string()]);
            hooks.iter().find_map(|hook| Some((stage, hook, self.wiring_tool(hook)?)))
        })
    }

    /// The tool whose hook would wire the container, too.
    fn wiring_tool(&self, hook: &Value) -> Option<&'static str> {
        let words = arguments(hook);
        // nerdctl: pkg/ocihook; with the network none it writes files only, and says so in this annotation.
        if words.windows(2).any(|pair| pair == ["internal", "oci-hook"]) {
            return (self.annotation(NERDCTL_NETWORKS) != Some(r#"["none"]"#)).then_some("nerdctl");
        }
        // Docker: libnetwork's sandbox_externalkey.go.
        words.first().is_some_and(|word| *word == "libnetwork-setkey").then_some("Docker")
    }
}

fn way_out(tool: &str) -> &'static str {
    match tool {
        "nerdctl" => "make it with nerdctl create --network none",
        _ => "make it with --network none, or leave its network to that one",
    }
}

fn arguments(hook: &Value) -> Vec<&str> {
    hook.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn file_name(hook: &Value) -> &str {
    let path = hook.get("path").and_then(Value::as_str).unwrap_or_default();
    path.rsplit('/').next().unwrap_or(path)
}
