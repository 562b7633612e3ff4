//! The command line, as crtmpserver had it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

/// A media server that runs what a Lua script configures.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "crtmpserver", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Check the configuration, print it with all defaults, and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// Run the tests of an application in Lua (its functions `test_…`) instead of a server, and exit
    #[arg(long, conflicts_with_all = ["check", "daemon", "pid", "uid", "gid"])]
    pub(crate) test_app: bool,
    /// Go to the background, whatever the configuration says
    #[arg(long)]
    pub(crate) daemon: bool,
    /// Write the process id into this file, and remove it at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) pid: Option<PathBuf>,
    /// Become this user (name or number) once the ports are open
    #[arg(long, value_name = "USER")]
    pub(crate) uid: Option<String>,
    /// Become this group (name or number); without it, that of the user
    #[arg(long, value_name = "GROUP")]
    pub(crate) gid: Option<String>,
    /// Log to the console too, unless an appender does already
    #[arg(long)]
    pub(crate) use_implicit_console_appender: bool,
    /// The configuration: a Lua script (with --test-app: the application)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// A command line that starts no server: text to print and a code to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// What to print: on standard output if the code is 0, else on standard error.
    pub(crate) text: String,
    /// 0 for help and version, else 1.
    pub(crate) code: u8,
}

impl Cli {
    /// Reads a command line, the name of the program first.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit { text: error.to_string(), code: 0 },
            ErrorKind::MissingRequiredArgument => Exit {
                text: "error: no configuration is given\n\n\
                       Usage: crtmpserver [OPTIONS] <FILE>\n\n\
                       FILE is a Lua script, such as configs/crtmpserver.lua; --help lists the options.\n"
                    .into(),
                code: 1,
            },
            _ => Exit { text: error.to_string(), code: 1 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, Exit> {
        Cli::read(std::iter::once("crtmpserver").chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn every_option_can_stand_before_the_file() {
        let cli =
            read("--daemon --check --pid=a.pid --uid=www --gid=33 --use-implicit-console-appender c.lua");
        let expected = Cli {
            check: true,
            test_app: false,
            daemon: true,
            pid: Some("a.pid".into()),
            uid: Some("www".into()),
            gid: Some("33".into()),
            use_implicit_console_appender: true,
            file: "c.lua".into(),
        };
        assert_eq!(cli, Ok(expected));
    }

    #[test]
    fn help_and_version_are_no_failures() {
        for line in ["--help", "-h", "--version"] {
            let exit = read(line).unwrap_err();
            assert_eq!(exit.code, 0, "{line}");
            assert!(exit.text.contains("crtmpserver"), "{}", exit.text);
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_exits_with_1_and_a_hint() {
        for (line, hint) in [
            ("", "such as configs/crtmpserver.lua"),
            ("--daemon", "such as configs/crtmpserver.lua"),
            ("--demon c.lua", "--daemon"),
            ("c.lua d.lua", "d.lua"),
            ("--pid c.lua --pid d.lua e.lua", "--pid"),
        ] {
            let exit = read(line).unwrap_err();
            assert_eq!(exit.code, 1, "{line}");
            assert!(exit.text.contains(hint), "{line}: {}", exit.text);
        }
    }
}
