//! The second version of the application in `version1`.

#[path = "../../version1/src/versioned.rs"]
mod versioned;

crtmp_plugin::export_plugin!(name: "versioned", apps: [versioned::Versioned<2>]);
