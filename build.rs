//! Link settings of the module, and what the Lua that it is for can do.

/// What Lua versions can do, by the features that stand for them. `src/lua/` asks for these, never for a version, so that a
/// new version has its row here or doesn't compile.
const LUAS: [(&str, &[&str]); 5] = [
    ("LUA51", &[]),
    ("LUAJIT", &[]),
    ("LUA52", &["lua_metamethods"]),
    ("LUA53", &["lua_metamethods", "lua_integers"]),
    (
        "LUA54",
        &[
            "lua_metamethods",
            "lua_integers",
            "lua_string_addresses",
            "lua_user_values",
        ],
    ),
];

/// Each of them, and what it means.
const CAPABILITIES: [&str; 4] = [
    // Metamethods answer for `#`, `pairs` and elements of tables.
    "lua_metamethods",
    // Whole numbers are a type of their own.
    "lua_integers",
    // `lua_topointer` tells where a string is.
    "lua_string_addresses",
    // A userdata has as many user values as its maker asks for.
    "lua_user_values",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `lua_close` unmaps C modules; with threads still running in one that crashes the process.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    for capability in CAPABILITIES {
        println!("cargo:rustc-check-cfg=cfg({capability})");
    }
    for (name, _) in std::env::vars() {
        let Some(version) = name
            .strip_prefix("CARGO_FEATURE_")
            .filter(|feature| feature.starts_with("LUA"))
        else {
            continue;
        };
        let (_, capabilities) = LUAS
            .iter()
            .find(|(known, _)| *known == version)
            .unwrap_or_else(|| panic!("build.rs has no row that says what {version} can do"));
        for capability in *capabilities {
            println!("cargo:rustc-cfg={capability}");
        }
    }
}
