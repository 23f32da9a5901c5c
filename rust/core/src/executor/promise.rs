//! The state of one call, from its submission to its outcome.
//!
//! The lock of a promise is held for a few instructions only. Whatever has to be called, woken or
//! dropped because of a change is handed to whoever made the change.
//!
//! A promise may be given away: from then on its owner keeps the state under a lock of its own, and
//! every transition here is refused. Giving away and transitions exclude each other, so either a
//! transition is complete when the promise is given away, or it is made by the owner's rules.

use parking_lot::{Mutex, MutexGuard};

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits.
    Pending,
    /// A thread runs it.
    Running,
    /// It was cancelled.
    Cancelled,
    /// It was cancelled, and the thread that would have run it knows.
    Notified,
    /// It has an outcome.
    Finished,
}

impl Phase {
    /// Whether nothing will change any more for those who wait.
    #[must_use]
    pub fn is_done(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

struct Extras<L, W> {
    listeners: Vec<L>,
    waiters: Vec<W>,
}

struct Inner<C, V, L, W> {
    phase: Phase,
    given_away: bool,
    call: Option<C>,
    outcome: Option<V>,
    extras: Option<Box<Extras<L, W>>>,
}

/// A call `C` that will have an outcome `V`, with listeners `L` and waiters `W`.
pub struct Promise<C, V, L, W> {
    inner: Mutex<Inner<C, V, L, W>>,
}

/// What whoever ended a promise has to see to, with no lock held: first the waiters.
pub struct Aftermath<C, L, W> {
    /// Those who sleep until the promise is done.
    pub waiters: Vec<W>,
    /// Those to be told, in their order.
    pub listeners: Vec<L>,
    /// The call, if it did not run.
    pub call: Option<C>,
}

/// What [`Promise::begin`] found.
pub enum Begin<C> {
    /// The call, to be run now.
    Run(C),
    /// It was cancelled before.
    Cancelled,
    /// It has run or runs already.
    Gone,
    /// The promise was given away.
    GivenAway,
}

/// What became of a waiter or a listener.
pub enum Waiting<X> {
    /// It was added.
    Added,
    /// The promise is done; it comes back.
    Done(X),
    /// The promise was given away; it comes back.
    GivenAway(X),
}

impl<C, V, L, W> Default for Promise<C, V, L, W> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                phase: Phase::Pending,
                given_away: false,
                call: None,
                outcome: None,
                extras: None,
            }),
        }
    }
}

impl<C, V, L, W> Inner<C, V, L, W> {
    fn extras(&mut self) -> &mut Extras<L, W> {
        self.extras.get_or_insert_with(|| {
            Box::new(Extras {
                listeners: Vec::new(),
                waiters: Vec::new(),
            })
        })
    }

    fn end(&mut self, phase: Phase) -> Aftermath<C, L, W> {
        self.phase = phase;
        let call = self.call.take();
        match self.extras.take() {
            None => Aftermath {
                waiters: Vec::new(),
                listeners: Vec::new(),
                call,
            },
            Some(extras) => Aftermath {
                waiters: extras.waiters,
                listeners: extras.listeners,
                call,
            },
        }
    }
}

impl<C, V, L, W> Promise<C, V, L, W> {
    fn own(&self) -> Option<MutexGuard<'_, Inner<C, V, L, W>>> {
        let inner = self.inner.lock();
        (!inner.given_away).then_some(inner)
    }

    /// Give a new promise the call that it is about.
    pub fn prepare(&self, call: C) {
        self.inner.lock().call = Some(call);
    }

    /// Read the phase and the outcome; `None` if the promise was given away.
    pub fn look<R>(&self, read: impl FnOnce(Phase, Option<&V>) -> R) -> Option<R> {
        self.own()
            .map(|inner| read(inner.phase, inner.outcome.as_ref()))
    }

    /// Take the call in order to run it, if `allowed`.
    pub fn begin(&self, allowed: impl FnOnce(&C) -> bool) -> Begin<C> {
        let Some(mut inner) = self.own() else {
            return Begin::GivenAway;
        };
        match inner.phase {
            Phase::Pending => match inner.call.take_if(|call| allowed(call)) {
                Some(call) => {
                    inner.phase = Phase::Running;
                    Begin::Run(call)
                }
                None => Begin::Gone,
            },
            Phase::Cancelled => {
                inner.phase = Phase::Notified;
                Begin::Cancelled
            }
            _ => Begin::Gone,
        }
    }

    /// Say that the call runs, without taking it: whether it does, or `None` if that is an error or
    /// the promise was given away.
    pub fn announce(&self) -> Option<bool> {
        let mut inner = self.own()?;
        match inner.phase {
            Phase::Pending => {
                inner.phase = Phase::Running;
                Some(true)
            }
            Phase::Cancelled => {
                inner.phase = Phase::Notified;
                Some(false)
            }
            _ => None,
        }
    }

    /// Set the outcome.
    ///
    /// # Errors
    /// The outcome comes back if the promise is done or was given away.
    pub fn finish(&self, outcome: V) -> Result<Aftermath<C, L, W>, V> {
        match self.own() {
            Some(mut inner) if !inner.phase.is_done() => {
                inner.outcome = Some(outcome);
                Ok(inner.end(Phase::Finished))
            }
            _ => Err(outcome),
        }
    }

    /// Cancel the call, if it is pending; otherwise tell the phase. `None` if given away.
    pub fn cancel(&self) -> Option<Result<Aftermath<C, L, W>, Phase>> {
        let mut inner = self.own()?;
        Some(match inner.phase {
            Phase::Pending => Ok(inner.end(Phase::Cancelled)),
            phase => Err(phase),
        })
    }

    /// Add a listener, unless the promise is done.
    pub fn listen(&self, listener: L) -> Waiting<L> {
        match self.own() {
            None => Waiting::GivenAway(listener),
            Some(inner) if inner.phase.is_done() => Waiting::Done(listener),
            Some(mut inner) => {
                inner.extras().listeners.push(listener);
                Waiting::Added
            }
        }
    }

    /// Add a waiter, unless the promise is done.
    pub fn wait(&self, waiter: W) -> Waiting<W> {
        match self.own() {
            None => Waiting::GivenAway(waiter),
            Some(inner) if inner.phase.is_done() => Waiting::Done(waiter),
            Some(mut inner) => {
                inner.extras().waiters.push(waiter);
                Waiting::Added
            }
        }
    }

    /// Take a waiter out again, if it is still there.
    pub fn stop_waiting(&self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let mut inner = self.inner.lock();
        let waiters = &mut inner.extras.as_mut()?.waiters;
        let position = waiters.iter().position(is_it)?;
        Some(waiters.swap_remove(position))
    }

    /// Give the promise away: its listeners, and its waiters, who have to look again.
    ///
    /// `None` if that was done before.
    pub fn give_away(&self) -> Option<(Vec<L>, Vec<W>)> {
        let mut inner = self.own()?;
        inner.given_away = true;
        Some(match inner.extras.take() {
            None => (Vec::new(), Vec::new()),
            Some(extras) => (extras.listeners, extras.waiters),
        })
    }

    /// Whether the promise was given away.
    pub fn is_given_away(&self) -> bool {
        self.inner.lock().given_away
    }

    /// For the owner of a promise that was given away: read the state.
    pub fn read<R>(&self, read: impl FnOnce(Phase, Option<&V>) -> R) -> R {
        let inner = self.inner.lock();
        read(inner.phase, inner.outcome.as_ref())
    }

    /// For the owner: set the phase.
    pub fn set_phase(&self, phase: Phase) {
        self.inner.lock().phase = phase;
    }

    /// For the owner: replace the outcome. The old one is returned, to be dropped by the caller.
    #[must_use = "drop the old outcome after the call"]
    pub fn set_outcome(&self, outcome: Option<V>) -> Option<V> {
        std::mem::replace(&mut self.inner.lock().outcome, outcome)
    }

    /// For the owner: take the call out.
    pub fn take_call(&self) -> Option<C> {
        self.inner.lock().call.take()
    }

    /// Ask about the call, if it waits.
    pub fn ask<R>(&self, ask: impl FnOnce(&C) -> R) -> Option<R> {
        self.inner.lock().call.as_ref().map(ask)
    }

    /// Show what the promise holds, unless it is in use.
    ///
    /// # Errors
    /// Those of the visitors.
    pub fn visit<E>(
        &self,
        call: impl FnOnce(&C) -> Result<(), E>,
        outcome: impl FnOnce(&V) -> Result<(), E>,
        listener: impl Fn(&L) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        inner.call.as_ref().map_or(Ok(()), call)?;
        inner.outcome.as_ref().map_or(Ok(()), outcome)?;
        inner.extras.as_ref().map_or(Ok(()), |extras| {
            extras.listeners.iter().try_for_each(listener)
        })
    }

    /// Take out everything that the promise holds, to be dropped by the caller.
    pub fn clear(&self) -> (Option<C>, Option<V>, Vec<L>) {
        let mut inner = self.inner.lock();
        let listeners = inner
            .extras
            .as_mut()
            .map(|extras| std::mem::take(&mut extras.listeners));
        (
            inner.call.take(),
            inner.outcome.take(),
            listeners.unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Simple = Promise<&'static str, u32, char, char>;

    fn prepared() -> Simple {
        let promise = Simple::default();
        promise.prepare("call");
        promise
    }

    #[test]
    fn a_call_runs_once_and_its_outcome_reaches_all() {
        let promise = prepared();
        assert!(matches!(promise.listen('a'), Waiting::Added));
        assert!(matches!(promise.wait('w'), Waiting::Added));
        assert!(matches!(promise.begin(|_| true), Begin::Run("call")));
        assert!(matches!(promise.begin(|_| true), Begin::Gone));
        let after = promise.finish(7).unwrap();
        assert_eq!((after.listeners, after.waiters), (vec!['a'], vec!['w']));
        assert_eq!(promise.look(|_, outcome| outcome.copied()), Some(Some(7)));
        assert!(matches!(promise.listen('b'), Waiting::Done('b')));
        assert!(promise.finish(8).is_err());
    }

    #[test]
    fn only_a_pending_call_can_be_cancelled() {
        let promise = prepared();
        let after = promise.cancel().unwrap();
        assert!(after.is_ok_and(|after| after.call == Some("call")));
        assert!(matches!(promise.cancel(), Some(Err(Phase::Cancelled))));
        assert!(matches!(promise.begin(|_| true), Begin::Cancelled));
        let running = prepared();
        assert!(matches!(running.begin(|_| true), Begin::Run(_)));
        assert!(matches!(running.cancel(), Some(Err(Phase::Running))));
    }

    #[test]
    fn a_promise_that_was_given_away_refuses_transitions() {
        let promise = prepared();
        assert!(matches!(promise.wait('w'), Waiting::Added));
        let (_, waiters) = promise.give_away().unwrap();
        assert_eq!(waiters, ['w']);
        assert!(promise.give_away().is_none());
        assert!(matches!(promise.begin(|_| true), Begin::GivenAway));
        assert!(promise.finish(1).is_err());
        assert!(promise.cancel().is_none());
        promise.set_phase(Phase::Finished);
        assert_eq!(promise.set_outcome(Some(3)), None);
        assert_eq!(
            promise.read(|phase, value| (phase, value.copied())).1,
            Some(3)
        );
    }

    #[test]
    fn a_waiter_can_stop_waiting() {
        let promise = prepared();
        assert!(matches!(promise.wait('w'), Waiting::Added));
        assert_eq!(promise.stop_waiting(|w| *w == 'w'), Some('w'));
        assert_eq!(promise.stop_waiting(|w| *w == 'w'), None);
    }
}
