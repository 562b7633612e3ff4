//! A map for the few chunk streams and message streams of a connection.

/// A map that is searched from its beginning and takes no more memory than its entries: a connection has two
/// or three of what it is used for, and a server has tens of thousands of connections.
///
/// A limit must bound its entries: whoever fills it makes every search longer.
#[derive(Clone, Debug)]
pub(crate) struct Few<V> {
    entries: Vec<(u32, V)>,
}

impl<V> Few<V> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, key: u32) -> Option<&V> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut V> {
        self.entries.iter_mut().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: u32) -> bool {
        self.get(key).is_some()
    }

    /// Adds an entry whose key is not there yet.
    pub(crate) fn insert(&mut self, key: u32, value: V) -> &mut V {
        debug_assert!(!self.contains_key(key));
        if self.entries.len() < 8 {
            self.entries.reserve_exact(1);
        }
        self.entries.push((key, value));
        let last = self.entries.len() - 1;
        &mut self.entries[last].1
    }

    pub(crate) fn fetch(&self) {
        crtmp_media::ahead::fetch(self.entries.as_slice());
    }

    pub(crate) fn remove(&mut self, key: u32) {
        self.entries.retain(|(other, _)| *other != key);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_key_until_they_are_removed() {
        let mut few = Few::new();
        for key in [7, 3, 65_599] {
            *few.insert(key, 0) = key * 2;
        }
        assert_eq!((few.len(), few.get(3), few.get(4)), (3, Some(&6), None));
        *few.get_mut(7).unwrap() += 1;
        few.remove(3);
        few.remove(3);
        assert_eq!(few.iter().collect::<Vec<_>>(), [(7, &15), (65_599, &131_198)]);
        assert_eq!(few.values().sum::<u32>(), 131_213);
        assert!(few.contains_key(7) && !few.contains_key(3));
    }
}
