//! A descriptor that begins with something else.

use std::ptr;

use crtmp_plugin::abi::{ABI_MAJOR, ABI_MINOR, PluginTable, Str};

/// The descriptor.
#[unsafe(no_mangle)]
pub static CRTMP_PLUGIN_V1: PluginTable = PluginTable {
    magic: 0x0123_4567_89ab_cdef,
    size: size_of::<PluginTable>(),
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    name: Str::new("wrongmagic"),
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
