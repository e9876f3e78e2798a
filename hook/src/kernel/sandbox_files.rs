use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::XattrFlags;

use super::error::{Doing, Error, Result};

/// Writes files into `directory`, which is made, each readable by everyone whatever the umask: a container's users are
/// not the host's. `label` is the SELinux label under which the container may read them.
///
/// # Errors
/// When the file system refuses, as when it is full.
pub fn write_files(directory: &Path, files: &[(&str, String)], label: Option<&str>) -> Result<()> {
    let what = || format!("make {}", directory.display());
    DirBuilder::new().mode(0o700).recursive(true).create(directory).doing(what)?;
    for (name, text) in files {
        let path = directory.join(name);
        let what = || format!("write {}", path.display());
        // In place: a file that is mounted somewhere would not follow a rename.
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(&path).doing(what)?;
        file.write_all(text.as_bytes()).doing(what)?;
        file.set_permissions(Permissions::from_mode(0o644)).doing(what)?;
        if let Some(label) = label {
            match rustix::fs::fsetxattr(&file, "security.selinux", label.as_bytes(), XattrFlags::empty()) {
                // A spec may carry a label onto a host without SELinux.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(Error::refused(format!("label {} {label}", path.display()), error)),
            }
        }
    }
    Ok(())
}

/// Removes `directory` if nothing is in it.
pub fn remove_if_empty(directory: &Path) {
    // Whatever is in it is somebody's, and says that it is wanted.
    let _ = fs::remove_dir(directory);
}

/// Removes `directory` with the files in it; none there is no error.
///
/// # Errors
/// When the file system refuses.
pub fn remove_files(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::refused(format!("remove {}", directory.display()), error))
        }
        _ => Ok(()),
    }
}
