//! The libraries of a configuration, and all that they bring.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use crtmp_media::ChainRow;
use crtmp_plugin::foreign::FilterEntry;

use super::KeptLibrary;
use crate::{
    chains::Catalogue,
    config::{Application, ConfigError, Configuration, Diff, find_library},
    plugins::Library,
};

/// What the libraries of a configuration bring.
#[derive(Clone)]
pub(super) struct Libraries {
    by_application: HashMap<String, Library>,
    /// The files that `plugins` means, in its order.
    plugins: Vec<PathBuf>,
    filters: HashMap<String, FilterEntry>,
    /// The layers and chains of the program, of the libraries, and of the configuration.
    pub(super) catalogue: Arc<Catalogue>,
}

impl Libraries {
    /// Loads them all and checks what needs to be known of them: chains and filters. What `loadApplication` has
    /// loaded, `kept`, does not need its file any more.
    ///
    /// # Errors
    ///
    /// Every library that cannot be loaded, every name that is there twice, every chain or filter that is not there.
    pub(super) fn load(
        configuration: &Configuration,
        program: &Catalogue,
        program_folder: Option<&Path>,
        kept: &[KeptLibrary],
    ) -> Result<Self, Vec<ConfigError>> {
        let mut loading = Loading {
            libraries: Self {
                by_application: HashMap::new(),
                plugins: Vec::new(),
                filters: HashMap::new(),
                catalogue: Arc::default(),
            },
            catalogue: program.clone(),
            seen: BTreeSet::new(),
            errors: Vec::new(),
        };
        for (index, file) in configuration.plugins.iter().enumerate() {
            let library = loading.plugin(&format!("configuration.plugins[{}]", index + 1), file);
            loading.libraries.plugins.extend(library.map(|library| library.path().to_owned()));
        }
        for (index, application) in configuration.applications.list.iter().enumerate() {
            let kept = kept.iter().find(|kept| kept.name == application.name);
            match kept.and_then(|kept| Library::loaded(&kept.library)) {
                Some(library) => loading.take_application(index, application, library),
                None => loading.application(configuration, index, program_folder),
            }
        }
        loading.finish(configuration)
    }

    /// Adds to the difference of two configurations what is no difference of them: the same name may mean another
    /// file since these libraries were loaded, by a link that leads elsewhere or a file that came to a place which is
    /// looked at earlier.
    pub(super) fn add_replaced(&self, now: &Self, new: &Configuration, diff: &mut Diff) {
        let path = |libraries: &Self, name: &str| {
            libraries.by_application.get(name).map(|library| library.path().to_owned())
        };
        let plugins = self.plugins != now.plugins;
        diff.chains |= plugins;
        for application in &new.applications.list {
            let named = |other: &Application| other.name == application.name;
            if diff.added_applications.iter().chain(&diff.changed_applications).any(named) {
                continue;
            }
            let refiltered = plugins && !application.filters.is_empty();
            if refiltered || path(self, &application.name) != path(now, &application.name) {
                diff.retuned_applications.retain(|name| *name != application.name);
                diff.changed_applications.push(application.clone());
            }
        }
    }

    /// The files that have been replaced since they were loaded, each once.
    pub(super) fn replaced(&self) -> BTreeSet<PathBuf> {
        let plugins = self.plugins.iter().filter_map(|path| Library::loaded(path));
        let all = self.by_application.values().cloned().chain(plugins);
        all.filter(Library::is_replaced).map(|library| library.path().to_owned()).collect()
    }

    /// The library of an application.
    pub(super) fn of(&self, application: &Application) -> Option<&Library> {
        self.by_application.get(&application.name)
    }

    /// The filters that an application lists, first to last.
    pub(super) fn filters(&self, application: &Application) -> Vec<FilterEntry> {
        application.filters.iter().filter_map(|name| self.filters.get(name)).cloned().collect()
    }
}

struct Loading {
    libraries: Libraries,
    catalogue: Catalogue,
    /// What they bring is taken once, however many applications name them.
    seen: BTreeSet<PathBuf>,
    errors: Vec<ConfigError>,
}

impl Loading {
    fn plugin(&mut self, path: &str, file: &Path) -> Option<Library> {
        match Library::load(file) {
            Ok(library) => {
                self.take(path, &library);
                Some(library)
            }
            Err(error) => {
                self.errors.push(ConfigError::new(path, error.to_string(), "a plugin of this server"));
                None
            }
        }
    }

    fn application(&mut self, configuration: &Configuration, index: usize, program_folder: Option<&Path>) {
        let path = format!("configuration.applications[{}]", index + 1);
        let application = &configuration.applications.list[index];
        match find_library(&configuration.applications, index, program_folder) {
            Ok(file) => {
                if let Some(library) = self.plugin(&path, &file) {
                    self.libraries.by_application.insert(application.name.clone(), library);
                }
            }
            Err(error) => self.errors.push(*error),
        }
    }

    fn take_application(&mut self, index: usize, application: &Application, library: Library) {
        self.take(&format!("configuration.applications[{}]", index + 1), &library);
        self.libraries.by_application.insert(application.name.clone(), library);
    }

    fn take(&mut self, path: &str, library: &Library) {
        if !self.seen.insert(library.path().to_owned()) {
            return;
        }
        let mut wrong = Vec::new();
        for row in library.layers() {
            wrong.extend(self.catalogue.add_layer(row).err());
        }
        for row in library.chains() {
            wrong.extend(self.catalogue.add_chain(row.clone()).err());
        }
        for filter in library.filters() {
            if self.libraries.filters.insert(filter.name().to_owned(), filter.clone()).is_some() {
                wrong.push(format!("there are two filters of the name {:?}", filter.name()));
            }
        }
        let library = library.path().display();
        let error = |text| ConfigError::new(path, format!("library {library}: {text}"), "names of its own");
        self.errors.extend(wrong.into_iter().map(error));
    }

    fn finish(mut self, configuration: &Configuration) -> Result<Libraries, Vec<ConfigError>> {
        for (name, layers) in &configuration.chains {
            if let Err(text) = self.catalogue.add_chain(ChainRow::new(name.clone(), layers.iter().cloned())) {
                let path = format!("configuration.chains.{name}");
                self.errors.push(ConfigError::new(path, text, "layers that fit, from bytes to the server"));
            }
        }
        self.errors.extend(self.catalogue.check(configuration));
        for (index, application) in configuration.applications.list.iter().enumerate() {
            let path = format!("configuration.applications[{}]", index + 1);
            for (number, name) in application.filters.iter().enumerate() {
                if !self.libraries.filters.contains_key(name) {
                    let path = format!("{path}.filters[{}]", number + 1);
                    self.errors.push(ConfigError::new(
                        path,
                        format!("{name:?}"),
                        "a filter that a plugin brings",
                    ));
                }
            }
            for name in application.filter_settings.keys() {
                if !application.filters.contains(name) {
                    let path = format!("{path}.filterSettings.{name}");
                    self.errors.push(ConfigError::new(path, "settings", "a filter that `filters` lists"));
                }
            }
        }
        self.libraries.catalogue = Arc::new(self.catalogue);
        if self.errors.is_empty() { Ok(self.libraries) } else { Err(self.errors) }
    }
}
