//! A reader-writer lock whose readers stay out of each other's way.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::lock_api::{GuardNoSend, RawRwLock};

/// Two readers wait for each other's cache line if their threads' numbers are equal modulo this.
const STRIPES: usize = 4;

type Stripe = parking_lot::RawRwLock;

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The stripe of this thread; threads get theirs in turn.
fn own_stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    STRIPE.get().unwrap_or_else(|| {
        let stripe = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
        STRIPE.set(Some(stripe));
        stripe
    })
}

/// Several locks, of which a reader takes the one of its thread, and a writer all, in their order.
///
/// Taking a lock writes to its cache line, also for reading. If all readers take the same one, that
/// line wanders from core to core, and two threads that only read get no more done than one. Here
/// readers write to lines of their own; writing costs as many locks as there are stripes.
pub struct StripedLock {
    stripes: [CachePadded<Stripe>; STRIPES],
}

impl StripedLock {
    fn own(&self) -> &Stripe {
        &self.stripes[own_stripe()]
    }
}

// SAFETY: a writer holds every stripe exclusively, so that it excludes other writers and the readers
// of each stripe. The guards stay on their thread, whose stripe never changes.
unsafe impl RawRwLock for StripedLock {
    #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
    const INIT: Self = Self {
        stripes: [const { CachePadded::new(Stripe::INIT) }; STRIPES],
    };

    type GuardMarker = GuardNoSend;

    fn lock_shared(&self) {
        self.own().lock_shared();
    }

    fn try_lock_shared(&self) -> bool {
        self.own().try_lock_shared()
    }

    unsafe fn unlock_shared(&self) {
        // SAFETY: the caller holds the lock for reading, which is the stripe of this thread.
        unsafe { self.own().unlock_shared() }
    }

    fn lock_exclusive(&self) {
        for stripe in &self.stripes {
            stripe.lock_exclusive();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        let busy = self.stripes.iter().position(|s| !s.try_lock_exclusive());
        if let Some(busy) = busy {
            for stripe in &self.stripes[..busy] {
                // SAFETY: those before the busy one were taken just now.
                unsafe { stripe.unlock_exclusive() }
            }
        }
        busy.is_none()
    }

    unsafe fn unlock_exclusive(&self) {
        for stripe in &self.stripes {
            // SAFETY: the caller holds the lock for writing, which is every stripe.
            unsafe { stripe.unlock_exclusive() }
        }
    }
}
