//! A container's files and host name as commands.

use std::path::Path;

use super::{PID, fed, word};
use crate::model::HostName;

/// Sets the container's host name.
pub fn hostname(name: &HostName) -> String {
    format!("nsenter -t {PID} -u hostname {name}")
}

/// Makes the files `texts`, by name, in `directory` of the state directory, and mounts them over those in `/etc` of the
/// root file system `root`.
pub fn files(state_dir: &Path, directory: &Path, root: &Path, texts: &[(&str, String)]) -> Vec<String> {
    let path = |path: &Path| word(&path.to_string_lossy());
    let mut lines = vec![format!("mkdir -p -m 700 {}", path(state_dir)), format!("mkdir -p {}", path(directory))];
    for (name, text) in texts {
        let (source, target) = (path(&directory.join(name)), path(&root.join("etc").join(name)));
        lines.push(fed(&format!("cat > {source}"), text));
        lines.push(format!("[ -e {target} ] || install -D -m 644 /dev/null {target}"));
        lines.push(format!("nsenter -t {PID} -m mount -o bind,ro {source} {target}"));
    }
    lines
}
