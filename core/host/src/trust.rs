//! What the layers of connections that the server makes have prepared, above all whom TLS trusts: once for all connections
//! with the same chain and keys.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crtmp_media::Term;
use serde_json::{Map, Value};
use slog::Logger;

use crate::{
    chains::{Catalogue, Preparations},
    config::ConfigError,
    outside::with_outside,
};

/// Different keys that are remembered; beyond that they are all read again.
const KEPT: usize = 1024;

/// What has been prepared; clones are the same.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Inner>);

struct Inner {
    log: Logger,
    /// Where relative names of files start.
    folder: PathBuf,
    known: Mutex<HashMap<(String, String), Preparations>>,
}

impl Trust {
    pub(crate) fn new(log: Logger, folder: PathBuf) -> Self {
        Self(Arc::new(Inner { log, folder, known: Mutex::default() }))
    }

    /// What connections of this chain with these keys share. Files are read the first time only.
    ///
    /// # Errors
    ///
    /// What is wrong with the keys, and what they name.
    pub(crate) fn get(
        &self,
        catalogue: &Catalogue,
        chain: &str,
        keys: &Map<String, Value>,
    ) -> Result<Preparations, String> {
        let name = (chain.to_owned(), Value::Object(keys.clone()).to_string());
        if let Some(known) = self.known().get(&name) {
            return Ok(known.clone());
        }
        let prepared = with_outside(&self.0.folder, |outside| catalogue.prepare("", chain, keys, outside))
            .map_err(|errors| in_words(&errors))?;
        if !prepared.is_empty() && keys.get("tlsVerify") == Some(&Value::Bool(false)) {
            slog::warn!(
                self.0.log,
                "tlsVerify = false: anybody may be at the far end of such a connection, and read and change what passes"
            );
        }
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(name, prepared.clone());
        Ok(prepared)
    }

    /// Reads everything again. What cannot be read, or does not fit, stays as it was.
    pub(crate) fn renew(&self) {
        let all: Vec<Preparations> = self.known().values().cloned().collect();
        for prepared in all.iter().flat_map(|prepared| prepared.iter()) {
            let renewed = with_outside(&self.0.folder, |outside| prepared.renew(outside));
            for unfit in renewed.err().into_iter().flatten() {
                slog::error!(self.0.log, "connections to others go on with what they had: {unfit}");
            }
        }
    }

    /// What of it holds for a time only.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.known()
            .values()
            .flat_map(|prepared| prepared.iter())
            .flat_map(|prepared| prepared.terms())
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), Preparations>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with keys that stand nowhere.
pub(crate) fn in_words(errors: &[ConfigError]) -> String {
    let texts = errors.iter().map(|error| error.to_string().trim_start_matches('.').to_owned());
    texts.collect::<Vec<_>>().join("; ")
}
