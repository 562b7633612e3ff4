//! Dependencies point one way.

use crtmp_tests::{Launch, root};
use serde_json::Value;

/// What each crate of `core` may use of the workspace. `*` stands for every protocol.
const CORE: &[(&str, &[&str])] = &[
    ("crtmp-media", &[]),
    ("crtmp-plugin", &["crtmp-media"]),
    ("crtmp-relay", &["crtmp-media"]),
    ("crtmp-reactor", &["crtmp-media", "crtmp-relay"]),
    ("crtmp-host", &["crtmp-media", "crtmp-relay", "crtmp-reactor", "crtmp-plugin"]),
    ("crtmp-server", &["crtmp-host", "crtmp-registry", "crtmp-reactor", "crtmp-media"]),
    ("crtmp-registry", &["crtmp-media", "*"]),
];

/// What the crates that are of use without the server may need, features included: all of it small, and none of it
/// does I/O.
const LIBRARY: &[(&str, &[&str])] = &[
    ("crtmp-media", &["arrayvec", "serde"]),
    ("crtmp-rtmp", &["crtmp-media", "crypto-bigint", "hmac", "rc4", "sha2"]),
];

/// A package of the workspace.
struct Package {
    name: String,
    folder: String,
    uses: Vec<String>,
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    for (name, _) in CORE {
        assert!(packages.iter().any(|package| package.name == *name), "{name} is gone: change this test");
    }
    let mut wrong = Vec::new();
    for package in &packages {
        for used in &package.uses {
            let Some(used) = packages.iter().find(|other| other.name == *used) else { continue };
            if !allowed(package, used) {
                wrong.push(format!("{} may not use {}", package.name, used.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_library_needs_little() {
    let packages = packages();
    for (name, allowed) in LIBRARY {
        let package = packages.iter().find(|package| package.name == *name);
        let package = package.unwrap_or_else(|| panic!("{name} is gone: change this test"));
        let others: Vec<_> = package.uses.iter().filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(others.is_empty(), "{name} must do without {others:?}");
    }
}

#[test]
fn each_package_but_the_library_is_private_and_all_share_lints() {
    for manifest in crate::files("toml").iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = crate::read(manifest);
        if text.contains("[package]") && !manifest.starts_with("tests/fuzz") {
            assert!(text.contains("[lints]\nworkspace = true"), "{}", manifest.display());
            let library = LIBRARY.iter().any(|(name, _)| text.contains(&format!("name = \"{name}\"\n")));
            let publish = if library { "publish = true" } else { "publish.workspace = true" };
            assert!(text.contains(publish), "{}", manifest.display());
        }
    }
}

fn allowed(package: &Package, used: &Package) -> bool {
    if let Some((_, may)) = CORE.iter().find(|(name, _)| *name == package.name) {
        let protocol = used.folder.starts_with("protocols/");
        return may.iter().any(|name| *name == used.name || (*name == "*" && protocol));
    }
    match package.folder.split('/').next() {
        Some("protocols") => used.name == "crtmp-media",
        Some("applications") => used.name == "crtmp-plugin",
        Some("tests") if package.folder.starts_with("tests/plugins/") => used.name == "crtmp-plugin",
        Some("builders") => used.name == "crtmp-media" || used.folder.starts_with("protocols/"),
        Some("tests") => true,
        _ => false,
    }
}

/// The packages of the workspace and what they use outside of tests.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Launch::new(cargo).args("metadata --no-deps --format-version 1 --offline").run().success();
    let metadata: Value = serde_json::from_str(&metadata.stdout).expect("cargo writes JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let package = |value: &Value| {
        let dependencies = value["dependencies"].as_array().expect("a list");
        let used = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        let manifest = text(&value["manifest_path"]);
        let folder = std::path::Path::new(&manifest).parent().and_then(|path| path.strip_prefix(root()).ok());
        Package {
            name: text(&value["name"]),
            folder: folder.expect("below the root").to_string_lossy().into_owned(),
            uses: used.map(|dependency| text(&dependency["name"])).collect(),
        }
    };
    metadata["packages"].as_array().expect("a list").iter().map(package).collect()
}
