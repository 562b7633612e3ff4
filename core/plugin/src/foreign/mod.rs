//! The host's side of the border: reads descriptors, makes instances and calls their hooks. Safe to use; the
//! server's host and the [fake host](crate::testing) are built on it.

#[cfg(test)]
mod border;
mod filter;
mod instance;
mod layer;

use std::ffi::c_void;
use std::fmt;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use crtmp_media::{ChainRow, Codec, Frame, LayerRow, Limits, MediaKind, Role, Slice, tag};

pub use self::filter::{FilterEntry, ForeignFilter, Passed};
pub use self::instance::{AppEntry, Instance, Outcome, SourceState, What};
use crate::abi::{self, ChainTable, LayerTable, PluginTable};
pub use crate::context::Services;
use crate::context::{Table, copy_table, owned};

/// What a connection tells applications about itself.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each field is the method of `Conn` of the same name")]
pub struct ConnInfo {
    pub id: u64,
    pub application: String,
    pub chain: String,
    pub peer: String,
    pub local: String,
    pub app: String,
    pub instance: String,
    pub query: String,
    pub tc_url: String,
    pub swf_url: String,
    pub page_url: String,
    pub agent: String,
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The place for a pointer of the application's.
    pub user: UserPlace,
}

/// A place for a pointer of an application's own; all clones are the same place.
#[derive(Clone, Debug, Default)]
pub struct UserPlace(Arc<AtomicPtr<c_void>>);

impl UserPlace {
    fn as_ptr(&self) -> *mut *mut c_void {
        self.0.as_ptr()
    }
}

/// What a library brings, read from its descriptor.
#[derive(Clone)]
pub struct Descriptor {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Its applications.
    pub apps: Vec<AppEntry>,
    /// Its filters.
    pub filters: Vec<FilterEntry>,
    layers: Vec<LayerTable>,
    chains: Vec<ChainRow>,
}

/// Why a descriptor is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each says it")]
pub enum Unfit {
    Magic(u64),
    Size(usize),
    Major(u32),
    Minor(u32),
    Nothing,
    Incomplete(&'static str, String),
    Layer(String, String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = (abi::ABI_MAJOR, abi::ABI_MINOR);
        match self {
            Self::Magic(found) => {
                write!(f, "its descriptor begins with {found:#018x} instead of {:#018x}", abi::MAGIC)
            }
            Self::Size(size) => write!(f, "its descriptor has {size} bytes, too few for any version"),
            Self::Major(found) => write!(f, "it was built for plugin ABI {found}, this server has {major}"),
            Self::Minor(found) => {
                write!(f, "it was built for plugin ABI {major}.{found}, this server has {major}.{minor}")
            }
            Self::Nothing => f.write_str("it brings no application, layer, chain or filter"),
            Self::Incomplete(what, name) => {
                write!(f, "its {what} `{name}` lacks a name, `create`, `destroy` or what else it needs")
            }
            Self::Layer(name, fault) => write!(f, "its layer `{name}`: {fault}"),
        }
    }
}

impl Descriptor {
    /// Checks and reads what a library exports.
    ///
    /// # Safety
    /// `table` points to at least the magic number, and, if that is right, to a descriptor as [`abi`] describes it
    /// that stays unchanged for ever.
    pub unsafe fn read(table: *const PluginTable) -> Result<Self, Unfit> {
        // The first four fields are the same in all versions, for ever; nothing else is touched before they fit.
        // SAFETY: the caller vouches for the magic number ...
        let magic = unsafe { (&raw const (*table).magic).read_unaligned() };
        if magic != abi::MAGIC {
            return Err(Unfit::Magic(magic));
        }
        // SAFETY: ... which vouches for the next three.
        let (size, major, minor) = unsafe { ((*table).size, (*table).abi_major, (*table).abi_minor) };
        if major != abi::ABI_MAJOR {
            return Err(Unfit::Major(major));
        }
        if minor > abi::ABI_MINOR {
            return Err(Unfit::Minor(minor));
        }
        if size < SMALLEST_DESCRIPTOR {
            return Err(Unfit::Size(size));
        }
        // Field by field: a reference would claim fields that an older plugin does not have.
        // SAFETY: version and size say that these fields are there, and each list is as long as its count says.
        unsafe {
            let apps = list(&raw const (*table).apps, (*table).app_count, AppEntry::new);
            let layers = list(&raw const (*table).layers, (*table).layer_count, |layer: LayerTable| layer);
            let chains = list(&raw const (*table).chains, (*table).chain_count, chain);
            let filters = list(&raw const (*table).filters, (*table).filter_count, FilterEntry::new);
            let (name, version) = (owned((*table).name), owned((*table).version));
            Self { name, version, apps, filters, layers, chains }.checked()
        }
    }

    fn checked(self) -> Result<Self, Unfit> {
        if let Some(app) = self.apps.iter().find(|app| !app.is_complete()) {
            return Err(Unfit::Incomplete("application", app.name().to_owned()));
        }
        if let Some(filter) = self.filters.iter().find(|filter| !filter.is_complete()) {
            return Err(Unfit::Incomplete("filter", filter.name().to_owned()));
        }
        for layer in &self.layers {
            let complete = layer.create.is_some() && layer.destroy.is_some() && layer.on_data.is_some();
            if !complete || layer.name.len == 0 {
                return Err(Unfit::Incomplete("layer", owned(layer.name)));
            }
            layer::row(layer).map_err(|fault| Unfit::Layer(owned(layer.name), fault))?;
        }
        if self.apps.is_empty() && self.filters.is_empty() && self.layers.is_empty() && self.chains.is_empty()
        {
            return Err(Unfit::Nothing);
        }
        Ok(self)
    }

    /// The layers that the library brings, as rows of a catalogue.
    pub fn layers(&self) -> Vec<LayerRow> {
        // They were looked at when the descriptor was read.
        self.layers.iter().filter_map(|layer| layer::row(layer).ok()).collect()
    }

    /// The chains that the library brings.
    pub fn chains(&self) -> &[ChainRow] {
        &self.chains
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("name", &self.name)
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

fn chain(table: ChainTable) -> ChainRow {
    let layers = owned(table.layers);
    ChainRow::new(owned(table.name), layers.split_whitespace().map(str::to_owned))
}

/// Copies a list of tables; null is an empty one.
///
/// # Safety
/// `first` is readable and points to `count` pointers to tables that begin with their size; both may be null.
unsafe fn list<T: Table, R>(first: *const *const *const T, count: usize, read: impl Fn(T) -> R) -> Vec<R> {
    // SAFETY: see above.
    unsafe {
        let first = *first;
        let count = if first.is_null() { 0 } else { count };
        (0..count).map(|index| read(copy_table(*first.add(index)))).collect()
    }
}

/// The descriptor of version 1.0 ends here. What comes behind it one day is read only where the size covers it.
const SMALLEST_DESCRIPTOR: usize = offset_of!(PluginTable, filter_count) + size_of::<usize>();

/// A frame as any peer sends it: the header of its tag says what it is. None: it is broken, or larger than
/// `messageSize`.
pub fn read_frame(kind: MediaKind, dts: i64, body: &[u8], limits: &Limits) -> Option<Frame> {
    if body.len() > limits.message_size {
        return None;
    }
    let header = match kind {
        MediaKind::Audio => tag::audio(body, limits).ok()?,
        MediaKind::Video => tag::video(body, limits).ok()?,
        MediaKind::Data => tag::TagHeader {
            codec: Codec::None,
            role: if body.get(1..).is_some_and(|rest| rest.starts_with(b"\0\x0aonMetaData")) {
                Role::Info
            } else {
                Role::Side
            },
            track: 0,
            cts: 0,
            data_at: 0,
            nanos: 0,
            several: false,
        },
    };
    let tag::TagHeader { codec, role, track, cts, data_at, .. } = header;
    let body = Slice::behind_room(ROOM, body);
    Some(Frame { kind, role, codec, track, dts, cts, body, data_at })
}

/// Bytes that stay free before the body of a frame, for the header of a packet.
const ROOM: usize = 16;

/// Why a call into an application failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It says so, with this reason.
    Error(String),
    /// It panicked, with this text.
    Panic(String),
}

impl Failure {
    /// Reads the status of a call that gave this reason.
    pub(crate) fn of(status: i32, reason: String) -> Result<(), Self> {
        match status {
            abi::OK => Ok(()),
            abi::PANICKED => Err(Self::Panic(reason)),
            abi::FAILED if !reason.is_empty() => Err(Self::Error(reason)),
            status => Err(Self::Error(format!("status {status} without a reason"))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(reason) => f.write_str(reason),
            Self::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hooks;
    use crate::abi::{ABI_MAJOR, ABI_MINOR, AppTable, HostTable, MAGIC, Str};

    fn descriptor(apps: &'static [&'static AppTable]) -> PluginTable {
        PluginTable {
            magic: MAGIC,
            size: size_of::<PluginTable>(),
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            name: Str::new("sample"),
            version: Str::new("1.2"),
            apps: apps.as_ptr().cast(),
            app_count: apps.len(),
            layers: std::ptr::null(),
            layer_count: 0,
            chains: std::ptr::null(),
            chain_count: 0,
            filters: std::ptr::null(),
            filter_count: 0,
        }
    }

    fn read(table: &PluginTable) -> Result<Descriptor, Unfit> {
        // SAFETY: the table is whole; what it lends is static.
        unsafe { Descriptor::read(table) }
    }

    unsafe extern "C" fn create(_: *const HostTable, _: Str, _: *mut *mut c_void) -> i32 {
        abi::OK
    }

    unsafe extern "C" fn destroy(_: *mut c_void) -> i32 {
        abi::OK
    }

    unsafe extern "C" fn on_publish(
        _: *mut c_void,
        _: *const abi::ConnTable,
        _: *const abi::PublishRequest,
    ) -> i32 {
        abi::OK
    }

    const EMPTY: AppTable = AppTable {
        size: size_of::<AppTable>(),
        name: Str::new("plain"),
        flags: 0,
        validate: None,
        create: Some(create),
        destroy: Some(destroy),
        on_accept: None,
        on_connect: None,
        on_publish: Some(on_publish),
        on_play: None,
        on_message: None,
        on_metadata: None,
        on_unpublish: None,
        on_unplay: None,
        on_close: None,
        on_cancel: None,
        on_pong: None,
        on_frame: None,
        on_stream: None,
        on_source: None,
        on_timer: None,
        on_command: None,
        on_result: None,
        on_shared_object: None,
    };

    #[test]
    fn a_descriptor_is_read() {
        let read = read(&descriptor(&[&EMPTY])).unwrap();
        assert_eq!((read.name.as_str(), read.version.as_str()), ("sample", "1.2"));
        assert_eq!(read.apps[0].name(), "plain");
        assert_eq!(read.apps[0].hooks(), Hooks::PUBLISH);
    }

    #[test]
    fn hooks_behind_an_older_tables_end_are_absent() {
        const OLD: AppTable = AppTable { size: offset_of!(AppTable, on_publish), ..EMPTY };
        let read = read(&descriptor(&[&OLD])).unwrap();
        assert_eq!(read.apps[0].hooks(), Hooks::NONE);
    }

    #[test]
    fn every_wrong_descriptor_has_its_own_reason() {
        let good = || descriptor(&[&EMPTY]);
        let cases = [
            (PluginTable { magic: 5, ..good() }, Unfit::Magic(5)),
            (PluginTable { abi_major: 9, ..good() }, Unfit::Major(9)),
            (PluginTable { abi_minor: ABI_MINOR + 1, ..good() }, Unfit::Minor(ABI_MINOR + 1)),
            (PluginTable { size: 8, ..good() }, Unfit::Size(8)),
            (descriptor(&[]), Unfit::Nothing),
            (
                descriptor(&[const { &AppTable { create: None, ..EMPTY } }]),
                Unfit::Incomplete("application", "plain".to_owned()),
            ),
        ];
        for (table, reason) in cases {
            assert_eq!(read(&table).unwrap_err(), reason);
        }
    }
}
