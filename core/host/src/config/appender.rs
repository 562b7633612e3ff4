//! Where log lines go.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One entry of `logAppenders`: a destination of log lines and the levels that reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Appender {
    /// A name for the reader of the file; the server does not use it.
    #[serde(default)]
    pub name: Option<String>,
    /// What kind of destination it is.
    #[serde(rename = "type")]
    pub kind: AppenderKind,
    /// The least urgent level that is written: 0 FATAL, 1 ERROR, 2 WARNING, 3 INFO, 4 DEBUG, 5 FINE, 6 FINEST.
    #[serde(default = "Appender::default_level")]
    pub level: u8,
    /// If not 0: only lines of exactly this level are written, whatever `level` says.
    #[serde(default)]
    pub specific_level: u8,
    /// Whether line breaks inside a message are written as `\n`, so that each message is one line.
    /// Otherwise the further lines of a message are indented, so that none can pass for a message of its own.
    #[serde(default)]
    pub single_line: bool,
    /// The file, for `file` (needed) and `json` (else standard output). A relative path starts at the folder
    /// in which the server was started.
    #[serde(default)]
    pub file_name: Option<PathBuf>,
    /// What ends a line in a file, 1 to 8 bytes.
    #[serde(default)]
    pub new_line_characters: Option<String>,
    /// Bytes after which the file is renamed to `<fileName>.1` and begun anew; without it, never.
    #[serde(default)]
    pub file_length: Option<u64>,
    /// How many renamed files (`.1`, `.2`, …) are kept.
    #[serde(default)]
    pub file_history_size: Option<u32>,
}

impl Appender {
    /// The range of `level` and `specificLevel`.
    pub const LEVEL: RangeInclusive<u64> = 0..=6;
    /// The range of `fileLength`, in bytes: 1 KiB to 1 TiB.
    pub const FILE_LENGTH: RangeInclusive<u64> = 1024..=1 << 40;
    /// The range of `fileHistorySize`, in files.
    pub const FILE_HISTORY_SIZE: RangeInclusive<u64> = 1..=1000;
    /// The range of the length of `newLineCharacters`, in bytes.
    pub const NEW_LINE_CHARACTERS: RangeInclusive<u64> = 1..=8;

    /// How many renamed files are kept when `fileHistorySize` is not given.
    pub const DEFAULT_HISTORY: u32 = 10;

    /// An appender of this kind with the default of every other key.
    pub fn new(kind: AppenderKind) -> Self {
        Self {
            name: None,
            kind,
            level: Self::default_level(),
            specific_level: 0,
            single_line: false,
            file_name: None,
            new_line_characters: None,
            file_length: None,
            file_history_size: None,
        }
    }

    /// Whether it writes to standard output, which a daemon has not.
    pub fn on_console(&self) -> bool {
        match self.kind {
            AppenderKind::Console | AppenderKind::ColoredConsole => true,
            AppenderKind::File => false,
            AppenderKind::Json => self.file_name.is_none(),
        }
    }

    /// Whether a line of `level` is written.
    pub fn takes(&self, level: u8) -> bool {
        if self.specific_level != 0 { level == self.specific_level } else { level <= self.level }
    }

    const fn default_level() -> u8 {
        3
    }
}

/// The kinds of log destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AppenderKind {
    /// Plain lines on standard output.
    Console,
    /// Lines on standard output, coloured by level.
    ColoredConsole,
    /// Lines in a file.
    File,
    /// One JSON object a line, in a file or on standard output.
    Json,
}
