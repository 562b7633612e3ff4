//! Loads libraries that bring applications.
//!
//! A library is opened with all its symbols bound and kept to itself, and is **never unloaded**: threads,
//! thread-locals and descriptors of it may be in use for as long as the process lives. A new version is a new file:
//! what was loaded from a path is what the path means from then on, also where another file has taken its place.
//! Loading runs code of the library, so what is loaded is trusted like the server itself; the checks here find
//! mistakes, not attacks.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crtmp_media::{ChainRow, LayerRow};
use crtmp_plugin::Reply;
use crtmp_plugin::abi::{PluginTable, SYMBOL};
use crtmp_plugin::foreign::{AppEntry, Descriptor, FilterEntry, Unfit};
use crtmp_plugin::testing::FakeHost;
use libloading::os::unix;

/// `dlopen`'s "no delete": the system keeps the library, whoever closes it.
#[cfg(target_os = "linux")]
const RTLD_NODELETE: c_int = 0x1000;
#[cfg(target_vendor = "apple")]
const RTLD_NODELETE: c_int = 0x80;
/// Elsewhere the leaked handle does it alone.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
const RTLD_NODELETE: c_int = 0;

/// All that were loaded, by their full paths: systems differ in what they give for the same path a second time.
static LOADED: Mutex<BTreeMap<PathBuf, Library>> = Mutex::new(BTreeMap::new());

/// A loaded library.
#[derive(Clone, Debug)]
pub struct Library {
    path: PathBuf,
    /// What tells the file from another one of its name.
    mark: Option<Mark>,
    descriptor: Descriptor,
}

/// Device, number, size and time of change of a file.
type Mark = [i64; 5];

impl Library {
    /// Opens the library at `path` and reads what it brings; one that was loaded before is that.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        // A name without a slash would be looked for in the system's folders; a full one never is.
        let full = fs::canonicalize(path)
            .map_err(|error| LoadError::Missing { library: path.to_owned(), reason: error.to_string() })?;
        if let Some(library) = Self::loaded(&full) {
            return Ok(library);
        }
        let mark = mark(&full);
        let flags = unix::RTLD_NOW | unix::RTLD_LOCAL | RTLD_NODELETE;
        // SAFETY: this runs the library's initialisers: it is trusted, as the module's documentation says.
        let library = unsafe { unix::Library::open(Some(&full), flags) }
            .map_err(|error| LoadError::Open { library: full.clone(), reason: reason(&error) })?;
        // SAFETY: the symbol carries our name; `Descriptor::read` checks what it is before it believes more.
        let table = unsafe { library.get::<*const PluginTable>(SYMBOL) }
            .map(|symbol| *symbol)
            .map_err(|_| LoadError::NoSymbol { library: full.clone() })?;
        std::mem::forget(library);
        // SAFETY: a static of this name is a descriptor by the rules of the ABI, and lives for ever: see `forget`.
        match unsafe { Descriptor::read(table) } {
            Ok(descriptor) => {
                let library = Self { path: full.clone(), mark, descriptor };
                all_loaded().insert(full, library.clone());
                Ok(library)
            }
            Err(reason) => Err(LoadError::Unfit { library: full, reason }),
        }
    }

    /// What was loaded from this full path, whether or not there is a file any more.
    pub fn loaded(path: &Path) -> Option<Self> {
        all_loaded().get(path).cloned()
    }

    /// Whether there is another file at its path by now, which cannot be loaded any more.
    pub fn is_replaced(&self) -> bool {
        mark(&self.path).is_some_and(|now| Some(now) != self.mark)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the plugin.
    pub fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// Version of the plugin.
    pub fn version(&self) -> &str {
        &self.descriptor.version
    }

    /// All applications that it brings.
    pub fn apps(&self) -> &[AppEntry] {
        &self.descriptor.apps
    }

    /// The layers that it brings.
    pub fn layers(&self) -> Vec<LayerRow> {
        self.descriptor.layers()
    }

    /// The chains that it brings.
    pub fn chains(&self) -> &[ChainRow] {
        self.descriptor.chains()
    }

    /// The filters that it brings.
    pub fn filters(&self) -> &[FilterEntry] {
        &self.descriptor.filters
    }

    /// The application for a configuration block of this name. A library's only application serves any name, so
    /// that one library can be used by several blocks.
    pub fn app(&self, name: &str) -> Result<&AppEntry, LoadError> {
        match self.apps() {
            [only] => Ok(only),
            several => several.iter().find(|app| app.name() == name).ok_or_else(|| LoadError::NoApp {
                library: self.path.clone(),
                wanted: name.to_owned(),
                offered: several.iter().map(AppEntry::name).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let metadata = fs::metadata(file).ok()?;
    let [device, number, size] = [metadata.dev(), metadata.ino(), metadata.size()].map(u64::cast_signed);
    Some([device, number, size, metadata.mtime(), metadata.mtime_nsec()])
}

fn all_loaded() -> MutexGuard<'static, BTreeMap<PathBuf, Library>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the tests of a script with the application `vmapp` of `library`, without a server. Each test is a name, and a
/// text if it failed.
///
/// # Errors
///
/// Why they cannot be run.
pub fn test_script(library: &Path, script: &Path) -> Result<Vec<(String, Option<String>)>, String> {
    let library = Library::load(library).map_err(|error| error.to_string())?;
    let entry = library.app("vmapp").map_err(|error| error.to_string())?;
    let settings = serde_json::json!({ "script": script, "test": true }).to_string();
    let mut host = FakeHost::start(entry, &settings).map_err(|failure| failure.to_string())?;
    let Reply::Result(results) = host.command("runTests", &serde_json::json!({})) else {
        return Err("the library does not run tests of scripts".to_owned());
    };
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let results = results.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(results.iter().map(|test| (text(&test["name"]).unwrap_or_default(), text(&test["fault"]))).collect())
}

/// Why a library cannot be used. Each message names the library, the reason and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file.
    #[error("library {}: {reason}; build it, or correct `library`", library.display())]
    Missing {
        /// As configured.
        library: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The system cannot open it.
    #[error(
        "library {}: cannot be opened: {reason}; it must be a shared library for this system whose own \
         libraries are installed",
        library.display()
    )]
    Open {
        /// The file.
        library: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It is a library, but not a plugin.
    #[error(
        "library {}: does not export `{}`; it is no plugin of this server, or lacks `export_plugin!`",
        library.display(),
        symbol()
    )]
    NoSymbol {
        /// The file.
        library: PathBuf,
    },
    /// It is a plugin that this server cannot use.
    #[error("library {}: {reason}; {}", library.display(), remedy(reason))]
    Unfit {
        /// The file.
        library: PathBuf,
        /// What is wrong with it.
        reason: Unfit,
    },
    /// It does not bring the application.
    #[error(
        "library {}: brings no application `{wanted}`, only {offered}; correct the application's `name` or `library`",
        library.display()
    )]
    NoApp {
        /// The file.
        library: PathBuf,
        /// The application that was looked for.
        wanted: String,
        /// The applications that are there.
        offered: String,
    },
}

/// libloading keeps the interesting half of its message in the source.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn symbol() -> &'static str {
    std::str::from_utf8(SYMBOL).expect("a constant").trim_end_matches('\0')
}

fn remedy(reason: &Unfit) -> &'static str {
    match reason {
        Unfit::Major(_) => "rebuild the plugin with this server's `crtmp-plugin`",
        Unfit::Minor(_) => "update the server, or rebuild the plugin with an older `crtmp-plugin`",
        _ => "export the plugin with `export_plugin!`, or fill the descriptor as `crtmp_plugin.h` says",
    }
}
