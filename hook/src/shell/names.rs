//! The name server's namespace and ports as commands.

use std::path::Path;

use super::{endpoint_step, sandbox_step, word};
use crate::driver::{NamesPort, names_namespace as steps};

/// Makes the namespace and binds it to `path`.
pub fn names_namespace(path: &Path) -> Vec<String> {
    let folder = path.parent().unwrap_or(path);
    let (folder, path) = (word(&folder.to_string_lossy()), word(&path.to_string_lossy()));
    let mut lines = vec![format!("mkdir -p -m 700 {folder}; : >{path}"), format!("unshare --net={path} true")];
    lines.extend(steps().iter().flat_map(sandbox_step).map(|line| format!("nsenter --net={path} {line}")));
    lines
}

/// Makes the port of a network in the namespace at `path`.
pub fn names_port(path: &Path, port: &NamesPort) -> Vec<String> {
    let path = word(&path.to_string_lossy());
    let inside = port.inside.iter().flat_map(sandbox_step).map(|line| format!("nsenter --net={path} {line}"));
    let mut lines = endpoint_step(&port.port, &path);
    lines.extend(inside);
    lines
}
