//! The host's side of the border: reads descriptors, makes instances and calls their hooks. Safe to use; the
//! server's host and the [fake host](crate::testing) are built on it.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::{fmt, ptr};

use crate::abi::{self, AppTable, PluginTable, Str};
use crate::app::{App, Hooks};
use crate::conn::{Message, Metadata, Play, PlayStart, Publish, PublishKind, RequestId, Stream};
pub use crate::context::Services;
use crate::context::{Context, copy_table, owned};
use crate::shim::Shim;

/// What a connection tells applications about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the method of `Conn` of the same name")]
pub struct ConnInfo {
    pub id: u64,
    pub application: String,
    pub peer: String,
    pub local: String,
    pub app: String,
    pub instance: String,
    pub query: String,
    pub tc_url: String,
    pub swf_url: String,
    pub page_url: String,
    pub flash_ver: String,
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// What a library brings, read from its descriptor.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Its applications.
    pub apps: Vec<AppEntry>,
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
    NoApps,
    Incomplete(String),
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
            Self::NoApps => f.write_str("it brings no application"),
            Self::Incomplete(name) => {
                write!(f, "its application `{name}` lacks a name, `create` or `destroy`")
            }
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
        // SAFETY: version and size say that these fields are there.
        let (name, version, tables, count) =
            unsafe { (owned((*table).name), owned((*table).version), (*table).apps, (*table).app_count) };
        let mut apps = Vec::new();
        for index in 0..count {
            // SAFETY: `apps` points to `app_count` pointers to tables.
            let app = unsafe { copy_table::<AppTable>(*tables.add(index)) };
            let entry = AppEntry::new(app);
            if entry.name.is_empty() || app.create.is_none() || app.destroy.is_none() {
                return Err(Unfit::Incomplete(entry.name));
            }
            apps.push(entry);
        }
        if apps.is_empty() {
            return Err(Unfit::NoApps);
        }
        Ok(Self { name, version, apps })
    }
}

/// The descriptor of version 1.0 ends here. What comes behind it one day is read only where the size covers it.
const SMALLEST_DESCRIPTOR: usize = offset_of!(PluginTable, app_count) + size_of::<usize>();

/// An application that a library brings: makes instances.
#[derive(Clone)]
pub struct AppEntry {
    name: String,
    table: AppTable,
}

impl AppEntry {
    fn new(table: AppTable) -> Self {
        Self { name: owned(table.name), table }
    }

    /// The entry of an application that is linked in.
    pub fn of<T: App>() -> Self {
        Self::new(Shim::<T>::TABLE)
    }

    /// The name that configurations use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hooks that it has.
    pub fn hooks(&self) -> Hooks {
        let table = &self.table;
        [
            (table.on_connect.is_some(), Hooks::CONNECT),
            (table.on_publish.is_some(), Hooks::PUBLISH),
            (table.on_play.is_some(), Hooks::PLAY),
            (table.on_message.is_some(), Hooks::MESSAGE),
            (table.on_metadata.is_some(), Hooks::METADATA),
            (table.on_unpublish.is_some(), Hooks::UNPUBLISH),
            (table.on_unplay.is_some(), Hooks::UNPLAY),
            (table.on_close.is_some(), Hooks::CLOSE),
            (table.on_cancel.is_some(), Hooks::CANCEL),
        ]
        .into_iter()
        .filter(|(present, _)| *present)
        .fold(Hooks::NONE, |hooks, (_, hook)| hooks.and(hook))
    }

    /// Whether it takes no connection of its own.
    pub fn selects(&self) -> bool {
        self.table.flags & abi::SELECTS != 0
    }

    /// Asks the application to look at settings, without an instance.
    pub fn validate(&self, services: impl Services, settings: &str) -> Result<(), Failure> {
        let Some(validate) = self.table.validate else { return Ok(()) };
        let context = Context::new(services);
        // SAFETY: `validate` uses the table during the call only.
        let status = unsafe { validate(context.table(), Str::new(settings)) };
        context.check(status)
    }

    /// Makes an instance, on the thread that will call it.
    pub fn create(&self, services: impl Services, settings: &str) -> Result<Instance, Failure> {
        // Leaked: threads of the application may use it after the instance has ended, even after `create` failed.
        let context: &'static Context = Box::leak(Box::new(Context::new(services)));
        let mut raw = ptr::null_mut();
        let create = self.table.create.expect("checked when the descriptor was read");
        // SAFETY: the context is never freed; `raw` is a place for the instance.
        let status = unsafe { create(context.table(), Str::new(settings), &raw mut raw) };
        context.check(status)?;
        Ok(Instance { table: self.table, raw, context, thread: PhantomData })
    }
}

impl fmt::Debug for AppEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppEntry").field("name", &self.name).field("hooks", &self.hooks()).finish()
    }
}

/// Why a call into an application failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It says so, with this reason.
    Error(String),
    /// It panicked, with this text.
    Panic(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(reason) => f.write_str(reason),
            Self::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}

/// How a hook ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; an answer, if it owed one, has gone to [`Services::respond`].
    Done,
    /// The answer comes later.
    Later,
}

/// An application at work. Its hooks are called from one thread; dropping it ends it.
pub struct Instance {
    table: AppTable,
    raw: *mut c_void,
    context: &'static Context,
    /// Not `Send`: made, called and ended on one thread.
    thread: PhantomData<*mut ()>,
}

impl Instance {
    /// Calls `on_connect`.
    pub fn connect(&mut self, conn: &ConnInfo, request: RequestId) -> Result<Outcome, Failure> {
        let what = abi::ConnectRequest { size: size_of::<abi::ConnectRequest>(), request: request.0 };
        self.call(self.table.on_connect, conn, &what)
    }

    /// Calls `on_publish`.
    pub fn publish(&mut self, conn: &ConnInfo, publish: &Publish<'_>) -> Result<Outcome, Failure> {
        let what = abi::PublishRequest {
            size: size_of::<abi::PublishRequest>(),
            request: publish.request.0,
            stream_id: publish.stream_id,
            kind: match publish.kind {
                PublishKind::Live => abi::PUBLISH_LIVE,
                PublishKind::Record => abi::PUBLISH_RECORD,
                PublishKind::Append => abi::PUBLISH_APPEND,
            },
            name: Str::new(publish.name),
            query: Str::new(publish.query),
        };
        self.call(self.table.on_publish, conn, &what)
    }

    /// Calls `on_play`.
    pub fn play(&mut self, conn: &ConnInfo, play: &Play<'_>) -> Result<Outcome, Failure> {
        let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let what = abi::PlayRequest {
            size: size_of::<abi::PlayRequest>(),
            request: play.request.0,
            stream_id: play.stream_id,
            reset: play.reset.into(),
            name: Str::new(play.name),
            query: Str::new(play.query),
            start_ms: match play.start {
                PlayStart::Any => abi::PLAY_ANY,
                PlayStart::Live => abi::PLAY_LIVE,
                PlayStart::At(time) => millis(time),
            },
            duration_ms: play.duration.map_or(-1, millis),
        };
        self.call(self.table.on_play, conn, &what)
    }

    /// Calls `on_message`.
    pub fn message(&mut self, conn: &ConnInfo, message: &Message<'_>) -> Result<Outcome, Failure> {
        let what = abi::MessageRequest {
            size: size_of::<abi::MessageRequest>(),
            request: message.request.0,
            stream_id: message.stream_id,
            wants_reply: message.wants_reply.into(),
            name: Str::new(message.name),
            args: Str::new(message.args_json),
        };
        self.call(self.table.on_message, conn, &what)
    }

    /// Calls `on_metadata`.
    pub fn metadata(&mut self, conn: &ConnInfo, metadata: &Metadata<'_>) -> Result<Outcome, Failure> {
        let what = abi::MetadataNotice {
            size: size_of::<abi::MetadataNotice>(),
            stream_id: metadata.stream_id,
            reserved: 0,
            name: Str::new(metadata.name),
            values: Str::new(metadata.values_json),
        };
        self.call(self.table.on_metadata, conn, &what)
    }

    /// Calls `on_unpublish`.
    pub fn unpublish(&mut self, conn: &ConnInfo, stream: &Stream<'_>) -> Result<Outcome, Failure> {
        self.call(self.table.on_unpublish, conn, &stream_notice(stream))
    }

    /// Calls `on_unplay`.
    pub fn unplay(&mut self, conn: &ConnInfo, stream: &Stream<'_>) -> Result<Outcome, Failure> {
        self.call(self.table.on_unplay, conn, &stream_notice(stream))
    }

    /// Calls `on_close`.
    pub fn close(&mut self, conn: &ConnInfo) -> Result<Outcome, Failure> {
        self.call(self.table.on_close, conn, &abi::CloseNotice { size: size_of::<abi::CloseNotice>() })
    }

    /// Calls `on_cancel`.
    pub fn cancel(&mut self, conn: &ConnInfo, request: RequestId) -> Result<Outcome, Failure> {
        let what = abi::CancelNotice { size: size_of::<abi::CancelNotice>(), request: request.0 };
        self.call(self.table.on_cancel, conn, &what)
    }

    /// Ends the instance; a panic on the way is reported, and the instance is gone all the same.
    pub fn destroy(self) -> Result<(), Failure> {
        let instance = ManuallyDrop::new(self);
        // SAFETY: `self` is consumed: no hook follows, and `drop` does not run.
        unsafe { instance.end() }
    }

    /// A hook that is absent has nothing to say.
    fn call<W>(&mut self, hook: Option<abi::Hook<W>>, conn: &ConnInfo, what: &W) -> Result<Outcome, Failure> {
        let Some(hook) = hook else { return Ok(Outcome::Done) };
        let extra =
            if conn.extra.is_empty() { "{}".to_owned() } else { serde_json::json!(conn.extra).to_string() };
        let conn = abi::ConnTable {
            size: size_of::<abi::ConnTable>(),
            id: conn.id,
            application: Str::new(&conn.application),
            peer: Str::new(&conn.peer),
            local: Str::new(&conn.local),
            app: Str::new(&conn.app),
            instance: Str::new(&conn.instance),
            query: Str::new(&conn.query),
            tc_url: Str::new(&conn.tc_url),
            swf_url: Str::new(&conn.swf_url),
            page_url: Str::new(&conn.page_url),
            flash_ver: Str::new(&conn.flash_ver),
            extra: Str::new(&extra),
        };
        // SAFETY: `raw` is alive and `&mut self` lends it to this call alone; both tables live in this frame.
        let status = unsafe { hook(self.raw, &raw const conn, what) };
        if status == abi::LATER {
            return Ok(Outcome::Later);
        }
        self.context.check(status).map(|()| Outcome::Done)
    }

    /// # Safety
    /// Once, and nothing after it.
    unsafe fn end(&self) -> Result<(), Failure> {
        let destroy = self.table.destroy.expect("checked when the descriptor was read");
        // SAFETY: the caller's promise.
        let status = unsafe { destroy(self.raw) };
        self.context.check(status)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: nothing comes after `drop`; `destroy` has not run, for it forgets the instance.
        let _ = unsafe { self.end() };
    }
}

fn stream_notice(stream: &Stream<'_>) -> abi::StreamNotice {
    let size = size_of::<abi::StreamNotice>();
    abi::StreamNotice { size, stream_id: stream.stream_id, reserved: 0, name: Str::new(stream.name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{ABI_MAJOR, ABI_MINOR, HostTable, MAGIC};

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
        validate: None,
        create: Some(create),
        destroy: Some(destroy),
        on_connect: None,
        on_publish: Some(on_publish),
        on_play: None,
        on_message: None,
        on_metadata: None,
        on_unpublish: None,
        on_unplay: None,
        on_close: None,
        on_cancel: None,
        flags: 0,
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
            (descriptor(&[]), Unfit::NoApps),
            (
                descriptor(&[const { &AppTable { create: None, ..EMPTY } }]),
                Unfit::Incomplete("plain".to_owned()),
            ),
        ];
        for (table, reason) in cases {
            assert_eq!(read(&table).unwrap_err(), reason);
        }
    }
}
