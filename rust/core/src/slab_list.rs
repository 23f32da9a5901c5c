//! Doubly linked lists whose links are indices into vectors, so that they need no pointers.
//!
//! [`Order`] is the algorithm, over anything that keeps a [`Link`] for each index. [`SlabList`] is
//! a slab whose occupied places are in such a list: an entry keeps its index while it is moved
//! about, until it is removed.

/// The place of an entry.
pub type Index = u32;

/// No place.
pub const NIL: Index = Index::MAX;

/// The neighbours of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    previous: Index,
    next: Index,
}

impl Link {
    /// The link of an entry that is in no list.
    pub const NONE: Self = Self {
        previous: NIL,
        next: NIL,
    };

    /// A link that no entry of a list has, to mark those outside.
    #[must_use]
    pub const fn marked() -> Self {
        Self {
            previous: NIL - 1,
            next: NIL - 1,
        }
    }
}

/// Something that keeps one link for each index.
pub trait Links {
    /// The link of an index.
    fn link(&mut self, index: Index) -> &mut Link;
}

/// The ends of a list whose links are kept elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    first: Index,
    last: Index,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            first: NIL,
            last: NIL,
        }
    }
}

impl Order {
    /// The first entry.
    #[must_use]
    pub fn first(&self) -> Option<Index> {
        (self.first != NIL).then_some(self.first)
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<Index> {
        (self.last != NIL).then_some(self.last)
    }

    /// Append an entry that is not in the list.
    #[inline]
    pub fn push_back(&mut self, links: &mut impl Links, index: Index) {
        *links.link(index) = Link {
            previous: self.last,
            next: NIL,
        };
        match self.last {
            NIL => self.first = index,
            last => links.link(last).next = index,
        }
        self.last = index;
    }

    /// Take an entry of the list out.
    #[inline]
    pub fn unlink(&mut self, links: &mut impl Links, index: Index) {
        let Link { previous, next } = std::mem::replace(links.link(index), Link::NONE);
        match previous {
            NIL => self.first = next,
            previous => links.link(previous).next = next,
        }
        match next {
            NIL => self.last = previous,
            next => links.link(next).previous = previous,
        }
    }

    /// Make an entry of the list the last one.
    #[inline]
    pub fn move_to_back(&mut self, links: &mut impl Links, index: Index) {
        if self.last != index {
            self.unlink(links, index);
            self.push_back(links, index);
        }
    }
}

struct Slot<T> {
    entry: Option<T>,
    /// In the list, or `next` alone in the chain of vacant slots.
    link: Link,
}

struct Slots<T>(Vec<Slot<T>>);

impl<T> Links for Slots<T> {
    fn link(&mut self, index: Index) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

/// A slab in the order in which its entries were last moved to the back.
pub struct SlabList<T> {
    slots: Slots<T>,
    order: Order,
    vacant: Index,
    len: usize,
}

impl<T> Default for SlabList<T> {
    fn default() -> Self {
        Self {
            slots: Slots(Vec::new()),
            order: Order::default(),
            vacant: NIL,
            len: 0,
        }
    }
}

impl<T> SlabList<T> {
    /// The largest number of entries.
    pub const MAX_LEN: usize = NIL as usize - 2;

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry at the front.
    #[must_use]
    pub fn front(&self) -> Option<Index> {
        self.order.first()
    }

    /// The entry of an index; `None` if the place is vacant.
    #[must_use]
    #[inline]
    pub fn get(&self, index: Index) -> Option<&T> {
        self.slots.0.get(index as usize)?.entry.as_ref()
    }

    /// The entry of an index; `None` if the place is vacant.
    #[inline]
    pub fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.slots.0.get_mut(index as usize)?.entry.as_mut()
    }

    /// Append an entry and return its index.
    ///
    /// # Panics
    /// If there are already [`SlabList::MAX_LEN`] entries.
    pub fn push_back(&mut self, entry: T) -> Index {
        assert!(self.len < Self::MAX_LEN, "a slab list is full");
        let index = self.vacant;
        let index = if index == NIL {
            self.grow();
            self.slots.0.push(Slot {
                entry: Some(entry),
                link: Link::NONE,
            });
            #[allow(clippy::cast_possible_truncation)] // below MAX_LEN
            let index = (self.slots.0.len() - 1) as Index;
            index
        } else {
            let slot = &mut self.slots.0[index as usize];
            self.vacant = slot.link.next;
            slot.entry = Some(entry);
            index
        };
        self.order.push_back(&mut self.slots, index);
        self.len += 1;
        index
    }

    /// Grow large slabs by a quarter: doubling would leave up to half of the memory unused.
    fn grow(&mut self) {
        let slots = &mut self.slots.0;
        if slots.len() == slots.capacity() && slots.len() >= 1 << 16 {
            slots.reserve_exact(slots.len() / 4);
        }
    }

    /// Take an entry out; `None` if the place is vacant.
    pub fn remove(&mut self, index: Index) -> Option<T> {
        let entry = self.slots.0.get_mut(index as usize)?.entry.take()?;
        self.order.unlink(&mut self.slots, index);
        self.slots.link(index).next = self.vacant;
        self.vacant = index;
        self.len -= 1;
        Some(entry)
    }

    /// Make an entry the last one.
    #[inline]
    pub fn move_to_back(&mut self, index: Index) {
        self.order.move_to_back(&mut self.slots, index);
    }

    /// All entries from front to back.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        let mut next = self.order.first;
        std::iter::from_fn(move || {
            let index = next;
            let slot = self.slots.0.get(index as usize)?;
            next = slot.link.next;
            Some((index, slot.entry.as_ref()?))
        })
    }

    /// Copy the list; every entry keeps its index.
    #[must_use]
    pub fn copy_with(&self, mut copy: impl FnMut(&T) -> T) -> Self {
        let slots = self.slots.0.iter().map(|slot| Slot {
            entry: slot.entry.as_ref().map(&mut copy),
            link: slot.link,
        });
        Self {
            slots: Slots(slots.collect()),
            ..*self
        }
    }

    /// Take all entries out, from front to back.
    pub fn drain(&mut self) -> Vec<T> {
        let mut taken = std::mem::take(self);
        let mut entries = Vec::with_capacity(taken.len);
        let mut next = taken.order.first;
        while let Some(slot) = taken.slots.0.get_mut(next as usize) {
            next = slot.link.next;
            entries.extend(slot.entry.take());
        }
        entries
    }
}
