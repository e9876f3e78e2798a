//! The containerd shim: edits the bundle for ocinet, then hands over to the stock runc shim. Not yet written.
