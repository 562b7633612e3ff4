//! The corpora of fuzz targets as ordinary tests: every committed file, and every seed in many damaged forms.
//!
//! A protocol has its corpora in `testdata/corpus/<target>/`, and in its tests:
//!
//! ```text
//! fn corpus() -> Corpus { … }
//! crtmp_corpus::tests!(corpus);
//! ```

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

/// Places of a seed that are damaged, one after the other.
const PLACES: usize = 300;

/// Bits that are turned in each of them.
const BITS: [u8; 5] = [0x01, 0x02, 0x10, 0x40, 0x80];

/// A function that takes any bytes and panics if an invariant does not hold, with its name.
pub type Target = (&'static str, fn(&[u8]));

/// The corpora of a protocol.
#[derive(Debug)]
pub struct Corpus {
    /// The folder of the crate: `env!("CARGO_MANIFEST_DIR")`.
    pub package: &'static str,
    /// The targets.
    pub targets: Vec<Target>,
    /// What the committed files come from: target and name, with a slash between, and the bytes.
    pub seeds: Vec<(String, Vec<u8>)>,
    /// What is put between the bytes of a seed, besides bits that are turned.
    pub inserts: &'static [&'static [u8]],
}

impl Corpus {
    /// Runs each target over the files of its folder.
    ///
    /// # Panics
    ///
    /// If an invariant does not hold, or a target has no file.
    pub fn run_files(&self) {
        for (name, target) in &self.targets {
            let entries = fs::read_dir(self.path(name)).expect("each target has a folder");
            let files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
            assert!(!files.is_empty(), "no corpus for {name}");
            for file in files {
                target(&fs::read(file).expect("a file of the corpus"));
            }
        }
    }

    /// Runs each target over its seeds, cut off, with bits turned and with bytes put in.
    ///
    /// # Panics
    ///
    /// If an invariant does not hold.
    pub fn run_damaged(&self) {
        for (name, seed) in &self.seeds {
            let target = self.target_of(name);
            for at in (0..seed.len()).step_by((seed.len() / PLACES).max(1)) {
                target(&seed[..at]);
                for bit in BITS {
                    let mut damaged = seed.clone();
                    damaged[at] ^= bit;
                    target(&damaged);
                }
                for insert in self.inserts {
                    target(&[&seed[..at], insert, &seed[at..]].concat());
                }
            }
        }
    }

    /// Demands that the seeds stand in their files.
    ///
    /// # Panics
    ///
    /// If one does not.
    pub fn assert_committed(&self) {
        for (name, seed) in &self.seeds {
            let committed = fs::read(self.path(name)).is_ok_and(|bytes| bytes == *seed);
            assert!(committed, "{name} is out of date: run the ignored test `write_the_seeds`");
        }
    }

    /// Writes the seeds into their files.
    ///
    /// # Panics
    ///
    /// If one cannot be written.
    pub fn write(&self) {
        for (name, seed) in &self.seeds {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
            fs::write(path, seed).expect("the file is written");
        }
    }

    fn target_of(&self, name: &str) -> fn(&[u8]) {
        let target = name.split('/').next().unwrap_or_default();
        let found = self.targets.iter().find(|(known, _)| *known == target);
        found.unwrap_or_else(|| panic!("{name} is for no target")).1
    }

    fn path(&self, name: &str) -> PathBuf {
        [self.package, "testdata/corpus", name].iter().collect()
    }
}

/// The tests of a [`Corpus`], which the function of this name makes.
#[macro_export]
macro_rules! tests {
    ($corpus:ident) => {
        #[test]
        fn every_corpus_file_keeps_the_invariants() {
            $corpus().run_files();
        }

        #[test]
        fn damaged_seeds_keep_the_invariants() {
            $corpus().run_damaged();
        }

        #[test]
        fn the_seeds_are_committed() {
            $corpus().assert_committed();
        }

        /// Writes the seeds: `cargo test -p <package> -- --ignored write_the_seeds`.
        #[test]
        #[ignore = "writes into the source tree"]
        fn write_the_seeds() {
            $corpus().write();
        }
    };
}
