//! A plugin that was built for another major version of the ABI.

use std::ptr;

use crtmp_plugin::abi::{ABI_MAJOR, ABI_MINOR, MAGIC, PluginTable, Str};

/// The descriptor.
#[unsafe(no_mangle)]
pub static CRTMP_PLUGIN_V1: PluginTable = PluginTable {
    magic: MAGIC,
    size: size_of::<PluginTable>(),
    abi_major: ABI_MAJOR + 1,
    abi_minor: ABI_MINOR,
    name: Str::new("wrongmajor"),
    version: Str::EMPTY,
    apps: ptr::null(),
    app_count: 0,
    layers: ptr::null(),
    layer_count: 0,
    chains: ptr::null(),
    chain_count: 0,
    filters: ptr::null(),
    filter_count: 0,
};
