//! Generates Rust from the interface; no `protoc` is needed.

use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=proto");
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    ttrpc_codegen::Codegen::new()
        .out_dir(&out)
        .include("proto")
        .input("proto/ocinet/network/v1/network.proto")
        .rust_protobuf()
        .customize(ttrpc_codegen::Customize { async_all: true, ..Default::default() })
        .run()
        .expect("the interface is one that can be generated");
    // The generated files begin with inner attributes, so they can only be modules of a file beside them; the
    // generator's own such file begins with one, too.
    let modules = "pub mod network;\npub mod network_ttrpc;\n";
    fs::write(Path::new(&out).join("modules.rs"), modules).expect("OUT_DIR can be written to");
}
