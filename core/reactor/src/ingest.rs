//! Ingest points: the secret names that publishers must use, and the public ones under which their streams appear.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The ingest points of the server. Touched when somebody publishes, never for a frame.
pub struct IngestPoints {
    most: usize,
    public_names: Mutex<BTreeMap<String, String>>,
}

impl IngestPoints {
    /// None yet; `most` there may be.
    pub fn new(most: usize) -> Self {
        Self { most, public_names: Mutex::default() }
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// If there are as many as there may be, or the private name is taken. The text does not name it.
    pub fn add(&self, private: &str, public: &str) -> Result<(), String> {
        let mut names = self.names();
        if names.contains_key(private) {
            return Err("there is an ingest point with this private name already; remove it first".to_owned());
        }
        if names.len() >= self.most {
            return Err(format!("there are {} ingest points already (limits.ingestPoints)", self.most));
        }
        names.insert(private.to_owned(), public.to_owned());
        Ok(())
    }

    /// Removes one; gives its public name. A publisher that has come by it stays.
    pub fn remove(&self, private: &str) -> Option<String> {
        self.names().remove(private)
    }

    /// The public name.
    pub fn find(&self, private: &str) -> Option<String> {
        self.names().get(private).cloned()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.public_names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_bounded_and_removed_and_errors_keep_the_secret() {
        let points = IngestPoints::new(2);
        assert_eq!(points.add("secret", "cam"), Ok(()));
        assert!(!points.add("secret", "other").unwrap_err().contains("\"secret\""));
        assert_eq!(points.add("second", "cam"), Ok(()));
        assert!(points.add("third", "x").unwrap_err().contains("limits.ingestPoints"));
        assert_eq!(points.find("secret").as_deref(), Some("cam"));
        assert_eq!(points.find("cam"), None);
        assert_eq!(points.remove("secret").as_deref(), Some("cam"));
        assert_eq!(points.remove("secret"), None);
        assert_eq!(points.add("third", "x"), Ok(()));
        assert!(IngestPoints::new(0).add("a", "b").is_err());
    }
}
