//! The plugin kit: everything an application needs, and the only crate of this workspace that it may depend on.
//!
//! An application decides who may connect, publish and play, answers commands of its own, and is told what
//! happens. It runs on a thread of its own: hooks take `&mut self`, may block, and delay nothing but their own
//! decisions; media flows elsewhere. A whole plugin:
//!
//! ```
//! use crtmp_plugin::{App, Conn, ConnId, Hooks, Host, Publish, Verdict, export_plugin};
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     publishers: usize,
//! }
//!
//! struct Limit {
//!     settings: Settings,
//!     live: std::collections::HashSet<ConnId>,
//! }
//!
//! impl App for Limit {
//!     const NAME: &'static str = "limit";
//!     const HOOKS: Hooks = Hooks::PUBLISH.and(Hooks::CLOSE);
//!     type Settings = Settings;
//!
//!     fn new(_host: Host, settings: Settings) -> Result<Self, String> {
//!         Ok(Self { settings, live: Default::default() })
//!     }
//!
//!     fn on_publish(&mut self, conn: &Conn<'_>, _request: Publish<'_>) -> Verdict {
//!         if self.live.len() >= self.settings.publishers {
//!             return Verdict::refuse("too many publishers");
//!         }
//!         self.live.insert(conn.id());
//!         Verdict::Accept
//!     }
//!
//!     fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
//!         self.live.remove(&conn.id());
//!     }
//! }
//!
//! export_plugin!(name: "limit", apps: [Limit]);
//! ```
//!
//! Build it as a `cdylib` and name it in the configuration; `docs/plugins.md` shows both. Test it without a
//! server: [`testing::FakeHost`].
//!
//! # Where to read on
//!
//! [`App`] lists the hooks; [`Host`] is what the server does for you. [`abi`] is the C contract below, [`foreign`]
//! the host's side of it. All `unsafe` code of the plugin system is in this crate, but for `dlopen` itself.

#[cfg(panic = "abort")]
compile_error!(
    "a plugin must be built with panic = \"unwind\": otherwise a panic in one hook ends the whole server"
);

pub mod abi;
mod answer;
mod app;
mod calls;
mod conn;
mod context;
mod filters;
pub mod foreign;
mod frames;
mod host;
pub mod layers;
mod links;
mod secrets;
mod settings;
mod shim;
pub mod testing;
pub mod values;

pub use answer::{Answer, Reply, Verdict};
pub use app::{App, Hooks, NoSettings};
pub use calls::{
    CallError, CallResult, Command, CommandCall, CommandReply, HttpAnswer, HttpRequest, ParamKind,
};
pub use conn::{
    AppPath, Conn, ConnId, Ended, Message, Metadata, Play, PlayStart, Pong, Publish, PublishKind,
    ReconnectRequest, RequestId, SharedObject, SharedWish, SourceId, Stream, TappedFrame, TimerId,
};
pub use context::Rights;
#[doc(hidden)]
pub use filters::FilterShim;
pub use filters::{Filter, Pass};
pub use frames::{Frame, KeptFrame, MediaKind, Role};
pub use host::{Gone, Host, Level, NotTaken};
#[doc(hidden)]
pub use layers::LayerShim;
pub use links::SCHEMES;
pub use links::{Connected, LinkError, Linked, Pull, Push};
pub use secrets::is_secret;
#[doc(hidden)]
pub use shim::Shim;

/// Exports to the server what a library brings: applications, layers, chains, filters; each list may be left out. Once
/// per library.
///
/// ```ignore
/// export_plugin!(name: "tickets", apps: [Tickets, TicketsAdmin]);
/// export_plugin!(name: "shout", layers: [Shout], chains: [chain("inboundShout", "shout")]);
/// ```
///
/// The version is that of the package.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:expr
        $(, apps: [$($app:ty),* $(,)?])?
        $(, layers: [$($layer:ty),* $(,)?])?
        $(, chains: [$($chain:expr),* $(,)?])?
        $(, filters: [$($filter:ty),* $(,)?])?
        $(,)?
    ) => {
        /// What this library brings; read by the server when it loads the library.
        #[unsafe(no_mangle)]
        pub static CRTMP_PLUGIN_V1: $crate::abi::PluginTable = {
            const APPS: &[&$crate::abi::AppTable] = &[$($(&$crate::Shim::<$app>::TABLE),*)?];
            const LAYERS: &[&$crate::abi::LayerTable] = &[$($(&$crate::LayerShim::<$layer>::TABLE),*)?];
            const CHAINS: &[&$crate::abi::ChainTable] = &[$($(&$chain),*)?];
            const FILTERS: &[&$crate::abi::FilterTable] = &[$($(&$crate::FilterShim::<$filter>::TABLE),*)?];
            $crate::abi::PluginTable {
                magic: $crate::abi::MAGIC,
                size: ::core::mem::size_of::<$crate::abi::PluginTable>(),
                abi_major: $crate::abi::ABI_MAJOR,
                abi_minor: $crate::abi::ABI_MINOR,
                name: $crate::abi::Str::new($name),
                version: $crate::abi::Str::new(::core::env!("CARGO_PKG_VERSION")),
                apps: APPS.as_ptr().cast(),
                app_count: APPS.len(),
                layers: LAYERS.as_ptr().cast(),
                layer_count: LAYERS.len(),
                chains: CHAINS.as_ptr().cast(),
                chain_count: CHAINS.len(),
                filters: FILTERS.as_ptr().cast(),
                filter_count: FILTERS.len(),
            }
        };
    };
}
