//! An application that says which version of it one has to do with: the first one. The second is built from the same
//! source.

mod versioned;

crtmp_plugin::export_plugin!(name: "versioned", apps: [versioned::Versioned<1>]);
