//! Link settings of the module.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `lua_close` unmaps C modules; with threads still running in one that crashes the process.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
