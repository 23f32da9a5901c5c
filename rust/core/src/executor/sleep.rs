//! Who sleeps, who looks for work, who is woken, who may be started. The protocol is told in
//! `SLEEP.md`; its words are used here.

use crossbeam_utils::CachePadded;

use super::sync::atomic::{fence, AtomicUsize, Ordering};
use super::sync::{Mutex, Parker, Unparker};

/// The threads of an executor, by what they may do.
struct Roster {
    /// Workers that sleep or are about to, newest last.
    sleepers: Vec<usize>,

    /// Places that have no thread, lowest last.
    vacant: Vec<usize>,

    /// Threads that were started, or are being started, and have not ended.
    live: usize,

    /// How many workers may be awake.
    limit: usize,

    /// Workers that announced to be blocked; each lets one more be awake.
    blocked: usize,

    /// Threads that shall end as soon as they have nothing to do.
    retiring: usize,
}

impl Roster {
    fn awake(&self) -> usize {
        self.live - self.sleepers.len()
    }

    fn allowed(&self) -> usize {
        self.limit + self.blocked
    }

    /// How many more workers may be awake.
    fn room(&self) -> usize {
        self.allowed().saturating_sub(self.awake())
    }
}

/// What a worker without work is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Look again: there was a reason not to sleep.
    Awake,
    /// Look again: it slept and was woken.
    Woken,
    /// End, and [`Sleep::vacate`] the place: there is one thread too many. The worker counts as
    /// searching until then.
    Retired,
}

/// How a push was taken care of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Somebody is looking, was woken, or will look when its task is done.
    Seen,
    /// A thread is to be started at this place, which counts as searching from now on.
    Start(usize),
}

pub(super) struct Sleep {
    roster: Mutex<Roster>,

    /// Sleepers that may be woken, readable without the lock.
    wakeable: CachePadded<AtomicUsize>,

    /// Threads that may be started, readable without the lock.
    startable: AtomicUsize,

    /// Workers that must go to sleep although there is work, readable without the lock.
    surplus: AtomicUsize,

    /// Workers that are awake, or being started, and have not found a task yet.
    searching: CachePadded<AtomicUsize>,

    parkers: Mutex<Vec<Option<Parker>>>,
    unparkers: Box<[Unparker]>,
}

impl Sleep {
    /// `capacity` places, of which at most `limit` are awake at a time.
    pub(super) fn new(capacity: usize, limit: usize) -> Self {
        let parkers: Vec<Parker> = (0..capacity).map(|_| Parker::new()).collect();
        let sleep = Self {
            roster: Mutex::new(Roster {
                sleepers: Vec::with_capacity(capacity),
                vacant: (0..capacity).rev().collect(),
                live: 0,
                limit,
                blocked: 0,
                retiring: 0,
            }),
            wakeable: CachePadded::new(AtomicUsize::new(0)),
            startable: AtomicUsize::new(0),
            surplus: AtomicUsize::new(0),
            searching: CachePadded::new(AtomicUsize::new(0)),
            unparkers: parkers.iter().map(|p| p.unparker().clone()).collect(),
            parkers: Mutex::new(parkers.into_iter().map(Some).collect()),
        };
        sleep.publish(&sleep.roster.lock());
        sleep
    }

    /// Make what the roster says readable without its lock, which the caller holds.
    fn publish(&self, roster: &Roster) {
        let room = roster.room();
        let wakeable = room.min(roster.sleepers.len());
        let startable = (room - wakeable).min(roster.vacant.len());
        let surplus = roster.awake().saturating_sub(roster.allowed());
        self.wakeable.store(wakeable, Ordering::SeqCst);
        self.startable.store(startable, Ordering::SeqCst);
        self.surplus.store(surplus, Ordering::SeqCst);
    }

    /// After a push: wake a sleeper or have a thread started, unless a searcher sees the push.
    ///
    /// `queued` counts the tasks of all queues; it is called only while a thread may be started.
    pub(super) fn notify(&self, queued: impl Fn() -> usize) -> Notice {
        fence(Ordering::SeqCst);
        let searching = self.searching.load(Ordering::SeqCst);
        let wakeable = self.wakeable.load(Ordering::SeqCst) > 0;
        if wakeable && (searching > 0 || self.wake_newest()) {
            return Notice::Seen;
        }
        if self.startable.load(Ordering::SeqCst) == 0 || queued() <= searching {
            return Notice::Seen;
        }
        self.claim_place().map_or(Notice::Seen, Notice::Start)
    }

    /// Take the newest sleeper off the list and count it as searching on its behalf.
    fn wake_newest(&self) -> bool {
        let index = {
            let mut roster = self.roster.lock();
            if roster.room() == 0 {
                return false;
            }
            let Some(index) = roster.sleepers.pop() else {
                return false;
            };
            self.searching.fetch_add(1, Ordering::SeqCst);
            self.publish(&roster);
            index
        };
        self.unparkers[index].unpark();
        true
    }

    fn claim_place(&self) -> Option<usize> {
        let mut roster = self.roster.lock();
        if roster.room() <= roster.sleepers.len() {
            return None;
        }
        let index = roster.vacant.pop()?;
        roster.live += 1;
        self.searching.fetch_add(1, Ordering::SeqCst);
        self.publish(&roster);
        Some(index)
    }

    /// Wake every sleeper, whatever the limit.
    pub(super) fn wake_all(&self) {
        let woken = {
            let mut roster = self.roster.lock();
            let woken = std::mem::take(&mut roster.sleepers);
            self.searching.fetch_add(woken.len(), Ordering::SeqCst);
            self.publish(&roster);
            woken
        };
        for index in woken {
            self.unparkers[index].unpark();
        }
    }

    /// A thread ended, or was never started, whose worker still counted as searching.
    ///
    /// What its place needs is there again. Nobody is started instead, since that may have failed.
    pub(super) fn leave(&self, index: usize, more: impl FnOnce() -> bool) {
        {
            let mut roster = self.roster.lock();
            roster.live -= 1;
            roster.vacant.push(index);
            self.publish(&roster);
        }
        self.pass_on(more);
    }

    /// After [`Rest::Retired`], when what the place needs is there again.
    pub(super) fn vacate(&self, index: usize, more: impl FnOnce() -> bool) {
        {
            let mut roster = self.roster.lock();
            roster.vacant.push(index);
            self.publish(&roster);
        }
        self.pass_on(more);
    }

    /// A searcher goes without a task. If it was the last one, another is woken to look again.
    fn pass_on(&self, more: impl FnOnce() -> bool) {
        if self.searching.fetch_sub(1, Ordering::SeqCst) == 1 {
            fence(Ordering::SeqCst);
            if more() {
                self.wake_newest();
            }
        }
    }

    /// Lend a place's parker to the thread that takes the place.
    pub(super) fn take_parker(&self, index: usize) -> Option<Parker> {
        self.parkers.lock()[index].take()
    }

    /// Give the parker back for the next thread at that place.
    pub(super) fn return_parker(&self, index: usize, parker: Parker) {
        self.parkers.lock()[index] = Some(parker);
    }

    /// A searcher found a task. If it was the last one, whatever is still queued is announced
    /// anew, for those who pushed it may have relied on this searcher.
    pub(super) fn found(&self, queued: impl Fn() -> usize) -> Notice {
        if self.searching.fetch_sub(1, Ordering::SeqCst) == 1 {
            fence(Ordering::SeqCst);
            if queued() > 0 {
                return self.notify(queued);
            }
        }
        Notice::Seen
    }

    /// A worker that had a task looks for the next one.
    pub(super) fn search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the caller, a worker that is awake, should go to rest although there is work.
    pub(super) fn is_surplus(&self) -> bool {
        self.surplus.load(Ordering::Relaxed) > 0
    }

    /// Sleep until woken, unless `more` says there is work or `stopped` that there will be none.
    ///
    /// The caller counts as searching before and after.
    pub(super) fn rest(
        &self,
        index: usize,
        parker: &Parker,
        more: impl Fn() -> bool,
        stopped: impl Fn() -> bool,
    ) -> Rest {
        let surplus = {
            let mut roster = self.roster.lock();
            let surplus = roster.awake() > roster.allowed();
            if roster.retiring > 0 || (surplus && stopped()) {
                roster.retiring = roster.retiring.saturating_sub(1);
                roster.live -= 1;
                self.publish(&roster);
                return Rest::Retired;
            }
            roster.sleepers.push(index);
            self.publish(&roster);
            self.searching.fetch_sub(1, Ordering::SeqCst);
            surplus
        };
        fence(Ordering::SeqCst);
        if stopped() || (more() && !surplus) {
            if self.withdraw(index) {
                return Rest::Awake;
            }
        } else if surplus && more() && self.searching.load(Ordering::SeqCst) == 0 {
            self.wake_newest();
        }
        parker.park();
        Rest::Woken
    }

    /// Leave the list of sleepers. `false` if somebody is already waking this worker.
    fn withdraw(&self, index: usize) -> bool {
        let mut roster = self.roster.lock();
        let Some(position) = roster.sleepers.iter().rposition(|&i| i == index) else {
            return false;
        };
        roster.sleepers.remove(position);
        self.searching.fetch_add(1, Ordering::SeqCst);
        self.publish(&roster);
        true
    }

    /// Let `limit` workers be awake; threads beyond it, and beyond those blocked, end.
    ///
    /// The caller then notifies as after a push, for there may be more room.
    pub(super) fn set_limit(&self, limit: usize) {
        let retired = {
            let mut roster = self.roster.lock();
            roster.limit = limit;
            roster.retiring = roster.live.saturating_sub(roster.allowed());
            let count = roster.retiring.min(roster.sleepers.len());
            let retired: Vec<usize> = roster.sleepers.drain(..count).collect();
            self.searching.fetch_add(retired.len(), Ordering::SeqCst);
            self.publish(&roster);
            retired
        };
        for index in retired {
            self.unparkers[index].unpark();
        }
    }

    /// A worker is going to be blocked, or no longer; see [`Sleep::set_limit`] for the caller.
    pub(super) fn set_blocked(&self, blocked: bool) {
        let mut roster = self.roster.lock();
        if blocked {
            roster.blocked += 1;
        } else {
            roster.blocked -= 1;
        }
        self.publish(&roster);
    }

    /// Threads, and of those the ones that sleep, and how many may be awake.
    pub(super) fn census(&self) -> (usize, usize, usize) {
        let roster = self.roster.lock();
        (roster.live, roster.sleepers.len(), roster.allowed())
    }
}
