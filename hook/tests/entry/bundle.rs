use ocinet::decide::files::File;
use ocinet::input::{Bundle, NetworkNamespace};

/// A bundle's config.json.
pub fn bundle(bytes: &[u8]) {
    let bundle = match Bundle::parse(bytes, "/bundle/config.json") {
        Ok(bundle) => bundle,
        Err(error) => return super::one_line(&error),
    };
    assert!(bundle.root("/bundle").is_absolute());
    if let NetworkNamespace::At(path) = bundle.network_namespace() {
        assert!(!path.as_os_str().is_empty());
    }
    assert_ne!(bundle.mount_label(), Some(""));
    for file in File::ALL {
        let _ = bundle.mounts(&format!("/etc/{}", file.name()));
    }
}
