//! A library that is no plugin.

/// Something to export.
#[unsafe(no_mangle)]
pub extern "C" fn nosymbol_answer() -> i32 {
    42
}
