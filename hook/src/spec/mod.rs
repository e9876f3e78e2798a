//! Changes of a spec: the one place that writes what an engine or a user wrote first. Pure.
//!
//! A spec stays a JSON value in the order it came in, so what we do not know is kept. Every change is made by a few
//! primitives (`change`), each of which notes its reverse; the notes go into an annotation of the spec itself, so that
//! an edit can be undone with the spec alone, and a second edit starts from where the first one did.

mod change;
mod hooks;
mod layout;
mod mounts;
mod namespaces;
mod podman;

#[cfg(test)]
mod tests;

pub use hooks::HookCommand;
pub use mounts::FileMount;
pub use namespaces::Placement;
pub use podman::podmans_names;

use serde_json::{Map, Value};

use self::change::Change;
use self::layout::Layout;
use crate::input::{Annotations, PREFIX, UNDO, is_templates_hostname, parse_json};
use crate::model::{HostName, Invalid, quoted};

/// What is to become of a spec.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Our hooks; `None` where another program adds them.
    pub hooks: Option<HookCommand>,
    /// Where the container's network namespace comes from; `None` as the spec says.
    pub network: Option<Placement>,
    /// Annotations, each replacing one of the same key.
    pub annotations: Vec<(&'static str, String)>,
    /// The host name that the runtime sets; `None` as the spec says.
    pub hostname: Option<HostName>,
    /// Files of the host to mount, each only where the spec mounts nothing itself.
    pub mounts: Vec<FileMount>,
}

/// A spec to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    spec: Map<String, Value>,
    /// How its text is laid out, so that an edited one looks alike.
    layout: Layout,
    /// What it is called in errors.
    name: String,
}

impl Document {
    /// Reads a spec, which errors call `name`. What could not be changed safely is refused here: what is no spec for
    /// Linux, and what has another shape than the specification says where we would write.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn parse(json: &[u8], name: &str) -> Result<Self, Invalid> {
        let wrong = |why: String| Invalid::new("config", name, why);
        let spec = match parse_json(json) {
            Ok(Value::Object(spec)) => spec,
            Ok(_) => return Err(wrong("is not an OCI spec: it is no JSON object".into())),
            Err(error) => return Err(wrong(format!("is not an OCI spec: {error}"))),
        };
        let document = Self { spec, layout: Layout::of(json), name: shown(name) };
        document.refuse_other_platforms()?;
        for path in [&["annotations"][..], &["hooks"], &["linux"], &["linux", "sysctl"]] {
            document.expect(path, "a JSON object", Value::is_object)?;
        }
        document.check_annotations()?;
        document.check_hooks()?;
        document.check_namespaces()?;
        document.check_mounts()?;
        document.expect(&["hostname"], "text", Value::is_string)?;
        Ok(document)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at(&["annotations", key])?.as_str()
    }

    /// Whether any annotation is ours.
    pub fn asks_for_us(&self) -> bool {
        let annotations = self.at(&["annotations"]).and_then(Value::as_object);
        annotations.into_iter().flatten().any(|(key, _)| key.starts_with(PREFIX) && key != UNDO)
    }

    /// Whether its host name is a template's, and so was not chosen for this container.
    pub fn has_templates_hostname(&self) -> bool {
        self.at(&["hostname"]).and_then(Value::as_str).is_some_and(is_templates_hostname)
    }

    /// The host name that its annotation asks for. Without a UTS namespace of its own it can have none.
    ///
    /// # Errors
    /// [`Invalid`] where that is none.
    pub fn wanted_hostname(&self) -> Result<Option<HostName>, Invalid> {
        let wanted = self.annotation(Annotations::HOSTNAME).filter(|_| self.has_namespace("uts")).map(str::parse);
        wanted.transpose().map_err(|error: Invalid| error.within(&format!("annotation {}", Annotations::HOSTNAME)))
    }

    /// The spec as JSON, laid out as it was read.
    pub fn to_json(&self) -> Vec<u8> {
        self.layout.print(&self.spec)
    }

    /// Makes the edit, after an earlier one is undone, and notes in the spec how to undo it.
    ///
    /// # Errors
    /// [`Invalid`] names what of the spec contradicts the edit; then nothing was changed.
    pub fn edit(&mut self, edit: &Edit) -> Result<(), Invalid> {
        let mut edited = self.clone();
        edited.undo()?;
        let mut changes = Vec::new();
        edited.apply(edit, &mut changes)?;
        if changes.is_empty() {
            *self = edited;
            return Ok(());
        }
        // The note's own home is part of the note.
        if edited.at(&["annotations"]).is_none() {
            edited.make(&["annotations"], Value::Object(Map::new()), &mut changes);
        }
        let note = serde_json::to_string(&changes)
            .map_err(|error| Invalid::new("config", &edited.name, format!("cannot be noted: {error}")))?;
        edited.set(&["annotations", UNDO], note.into(), &mut Vec::new());
        *self = edited;
        Ok(())
    }

    /// Makes the edit without a note, for a spec that is used once.
    ///
    /// # Errors
    /// As [`Document::edit`].
    pub fn edit_for_good(&mut self, edit: &Edit) -> Result<(), Invalid> {
        let mut edited = self.clone();
        edited.apply(edit, &mut Vec::new())?;
        *self = edited;
        Ok(())
    }

    /// Takes an edit back; what others changed since stays. False where there was none.
    ///
    /// # Errors
    /// When the note is damaged; then nothing was changed.
    pub fn undo(&mut self) -> Result<bool, Invalid> {
        let path = ["annotations", UNDO];
        let Some(note) = self.at(&path).and_then(Value::as_str) else { return Ok(false) };
        let changes: Vec<Change> = serde_json::from_str(note).map_err(|error| {
            let why = format!("is no note of ocinet's: {error}; take its changes out by hand");
            self.wrong(&format!("annotation {UNDO}"), note, why)
        })?;
        self.remove(&path);
        changes.into_iter().rev().for_each(|change| self.revert(change));
        Ok(true)
    }

    fn apply(&mut self, edit: &Edit, changes: &mut Vec<Change>) -> Result<(), Invalid> {
        if let Some(placement) = &edit.network {
            self.place(placement, changes)?;
        }
        for (key, value) in &edit.annotations {
            self.set(&["annotations", key], value.as_str().into(), changes);
        }
        if let Some(hostname) = &edit.hostname {
            self.set(&["hostname"], hostname.as_str().into(), changes);
        }
        for mount in &edit.mounts {
            self.mount(mount, changes);
        }
        if let Some(command) = &edit.hooks {
            self.hook(command, changes)?;
        }
        Ok(())
    }

    fn refuse_other_platforms(&self) -> Result<(), Invalid> {
        for (section, platform) in
            [("windows", "Windows"), ("solaris", "Solaris"), ("zos", "z/OS"), ("vm", "a virtual machine")]
        {
            if self.spec.contains_key(section) {
                let why = format!("is a spec for {platform}, whose network ocinet cannot wire");
                return Err(Invalid::new("config", &self.name, why));
            }
        }
        Ok(())
    }

    fn check_annotations(&self) -> Result<(), Invalid> {
        let annotations = self.at(&["annotations"]).and_then(Value::as_object);
        match annotations.into_iter().flatten().find(|(_, value)| !value.is_string()) {
            Some((key, value)) => Err(self.misshapen(&format!("annotation {}", shown(key)), value, "text")),
            None => Ok(()),
        }
    }

    /// What is at `path`, if anything, is of a kind.
    fn expect(&self, path: &[&str], kind: &str, is_kind: fn(&Value) -> bool) -> Result<(), Invalid> {
        match self.at(path) {
            Some(value) if !is_kind(value) => Err(self.misshapen(&path.join("."), value, kind)),
            _ => Ok(()),
        }
    }

    /// A complaint about a field of the spec.
    fn wrong(&self, field: &str, value: impl std::fmt::Display, why: impl Into<String>) -> Invalid {
        Invalid::new(format!("config {}: {field}", self.name), value, why)
    }

    fn misshapen(&self, field: &str, value: &Value, kind: &str) -> Invalid {
        self.wrong(field, value, format!("is not {kind}"))
    }
}

/// A name that others gave, on one line and of bounded length.
fn shown(name: &str) -> String {
    if name.len() > 200 || name.contains(char::is_control) { quoted(name) } else { name.to_owned() }
}
