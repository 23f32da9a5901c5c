//! A queue of news that many threads fill and one at a time hands over.
//!
//! Whoever changes something puts the news in the outbox, under the lock that orders the changes,
//! and calls [`Outbox::deliver`] after that lock is released. If somebody is delivering already,
//! the news is left to them; so nobody waits, all news is handed over in the order in which it was
//! put in, and a receiver that causes more news gets it after it has returned.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// News on their way, each with its number.
pub struct Outbox<E> {
    mail: Mutex<Mail<E>>,

    /// The length of the queue, to be read without the lock.
    waiting: AtomicUsize,
}

struct Mail<E> {
    queue: VecDeque<E>,

    /// The number of the first in the queue.
    first: u64,

    /// The epoch of whoever is delivering.
    carrier: Option<u64>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        let mail = Mail {
            queue: VecDeque::new(),
            first: 0,
            carrier: None,
        };
        Self {
            mail: Mutex::new(mail),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl<E> Outbox<E> {
    /// Put news in.
    pub fn push(&self, news: E) {
        let mut mail = self.mail.lock();
        mail.queue.push_back(news);
        self.waiting.store(mail.queue.len(), Ordering::Relaxed);
    }

    /// The number that the next news will have.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        let mail = self.mail.lock();
        mail.first + mail.queue.len() as u64
    }

    /// Whether there is something to deliver; always right about what this thread put in.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Hand over everything, with its numbers, unless somebody of the same `epoch` is doing so.
    ///
    /// The epoch is the caller's count of how often all other threads vanished, as they do in the
    /// child of a fork.
    pub fn deliver(&self, epoch: u64, mut receive: impl FnMut(u64, E)) {
        let mut mail = self.mail.lock();
        if mail.carrier == Some(epoch) {
            return;
        }
        mail.carrier = Some(epoch);
        let mut round = Round { outbox: self };
        while let Some((number, news)) = round.next(mail) {
            receive(number, news);
            mail = self.mail.lock();
        }
        std::mem::forget(round);
    }
}

/// The delivery in progress; dropped early only if a receiver panics.
struct Round<'a, E> {
    outbox: &'a Outbox<E>,
}

impl<E> Round<'_, E> {
    /// Take the next news out, or end the delivery under the same lock.
    fn next(&mut self, mut mail: MutexGuard<'_, Mail<E>>) -> Option<(u64, E)> {
        let news = mail.queue.pop_front();
        self.outbox
            .waiting
            .store(mail.queue.len(), Ordering::Relaxed);
        if news.is_none() {
            mail.carrier = None;
        }
        let number = mail.first;
        news.map(|news| {
            mail.first += 1;
            (number, news)
        })
    }
}

impl<E> Drop for Round<'_, E> {
    fn drop(&mut self) {
        self.outbox.mail.lock().carrier = None;
    }
}
