//! The border to plugins under valgrind: a driver in C calls every hook of a plugin in Rust, lends it memory that it takes
//! back at once, and demands that all is given back in the end.

use std::time::Duration;

use crtmp_tests::{Launch, folder_of_programs, root};

/// Valgrind is slow, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_plugin_keeps_no_lent_memory_and_leaks_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let driver = folder.path().join("driver");
    Launch::new("cc")
        .args("-std=c11 -g -Wall -Wextra -Werror -I")
        .arg(root().join("core/plugin/include"))
        .arg("-o")
        .arg(&driver)
        .arg(root().join("tests/plugins/everyhook/driver.c"))
        .args("-ldl")
        .within(PATIENCE)
        .run()
        .success();
    let library = folder_of_programs().join("libeveryhook.so");
    assert!(library.is_file(), "{} is missing: run `cargo xtask test`", library.display());
    let outcome = Launch::new("valgrind")
        .args("--error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite")
        .arg(&driver)
        .arg(&library)
        // One hook panics; nobody needs its stack, which takes long to print here.
        .env("RUST_BACKTRACE", "0")
        .within(PATIENCE)
        .run()
        .success();
    assert!(outcome.stdout.contains("all hooks were called"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ERROR SUMMARY: 0 errors"), "{}", outcome.stderr);
}
