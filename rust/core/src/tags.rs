//! Names that entries share, so that they can be removed together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::slab_list::Index;

/// The tags of entries that are named by index.
#[derive(Clone, Default)]
pub struct Tags {
    of_entry: HashMap<Index, Box<[Arc<str>]>>,
    of_tag: HashMap<Arc<str>, HashSet<Index>>,
}

impl Tags {
    /// Give an entry tags in place of those it has.
    pub fn set(&mut self, index: Index, tags: &[Box<str>]) {
        self.remove(index);
        if tags.is_empty() {
            return;
        }
        let shared: Box<[Arc<str>]> = tags.iter().map(|tag| self.share(tag)).collect();
        for tag in &shared {
            self.of_tag
                .entry(Arc::clone(tag))
                .or_default()
                .insert(index);
        }
        self.of_entry.insert(index, shared);
    }

    fn share(&self, tag: &str) -> Arc<str> {
        match self.of_tag.get_key_value(tag) {
            Some((known, _)) => Arc::clone(known),
            None => tag.into(),
        }
    }

    /// Forget the tags of an entry.
    pub fn remove(&mut self, index: Index) {
        for tag in self.of_entry.remove(&index).into_iter().flatten() {
            if let Some(entries) = self.of_tag.get_mut(&tag) {
                entries.remove(&index);
                if entries.is_empty() {
                    self.of_tag.remove(&tag);
                }
            }
        }
    }

    /// The tags of an entry.
    pub fn get(&self, index: Index) -> impl Iterator<Item = &str> {
        self.of_entry
            .get(&index)
            .into_iter()
            .flat_map(|tags| tags.iter().map(AsRef::as_ref))
    }

    /// The entries that have a tag.
    #[must_use]
    pub fn entries(&self, tag: &str) -> Vec<Index> {
        self.of_tag
            .get(tag)
            .map(|entries| entries.iter().copied().collect())
            .unwrap_or_default()
    }
}
