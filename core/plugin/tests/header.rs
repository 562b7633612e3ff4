//! The C header: compiles as C and as C++ without a warning, and lays its tables out as Rust does.

use std::path::Path;
use std::process::Command;

use crtmp_plugin::abi::*;

/// Compiles a program text that includes the header; panics with what the compiler says.
fn compile(compiler: &str, language: &str, standard: &str, text: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source");
    std::fs::write(&source, text).expect("a temporary file");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let output = Command::new(compiler)
        .args(["-x", language, standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I"])
        .args([&include, &source])
        .output()
        .unwrap_or_else(|error| panic!("{compiler} must be installed: {error}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program of both languages: asserts sizes and numbers, and exports a plugin.
fn program() -> String {
    let mut text = String::from(
        "#include \"crtmp_plugin.h\"\n#include \"crtmp_plugin.h\"\n#ifndef __cplusplus\n\
         #define static_assert _Static_assert\n#endif\n",
    );
    macro_rules! sizes {
        ($($table:ident)+) => {
            $(text += &format!(
                "static_assert(sizeof(crtmp_{}) == {}, \"size\");\n", stringify!($table), size_of::<$table>()
            );)+
        };
    }
    macro_rules! numbers {
        ($($name:ident)+) => {
            $(text += &format!("static_assert(CRTMP_{} == {}, \"number\");\n", stringify!($name), $name);)+
        };
    }
    sizes!(Str PluginTable AppTable HostTable AnswerTable ConnTable ConnectRequest PublishRequest PlayRequest
        MessageRequest MetadataNotice StreamNotice CloseNotice CancelNotice PongNotice FrameNotice FrameTable
        StreamStateNotice SourceNotice TimerNotice CommandRequest ResultNotice LayerTable CxTable HeadTable
        EventTable OrderTable ChainTable FilterTable OutTable);
    numbers!(MAGIC ABI_MAJOR ABI_MINOR OK LATER FAILED PANICKED GONE INVALID FULL APP_SELECTS ANSWER_ERROR_VALUES
        EVENT_UNPUBLISH ORDER_CLOSE FILTER_REPLACE FRAME_DATA ROLE_SIDE PLAY_ANY RIGHTS_ALL RESULT_GONE);
    text += "static crtmp_AppTable table;\nCRTMP_EXPORT_PLUGIN(\"none\", \"0\", &table);\n";
    text
}

#[test]
fn it_is_c() {
    compile("cc", "c", "-std=c11", &program());
}

#[test]
fn it_is_cplusplus() {
    compile("g++", "c++", "-std=c++17", &program());
}
