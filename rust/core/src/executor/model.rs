//! Models of the protocol in `SLEEP.md`: every schedule that is tried must let every task run.
//!
//! A lost wake-up shows as a deadlock, which the model checker reports with the schedule. The
//! operations of the queues are single steps for the checker, as they are for the threads: a task
//! is in a queue or with a thread, never on the way.

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use super::{Executor, Host, Lane, Size, Tasks, Worker};

const SCHEDULES: usize = 3000;

type Task = Box<dyn FnOnce() + Send>;

/// Runs tasks that are closures, on threads of the checker.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<Vec<thread::JoinHandle<()>>>>);

impl Threads {
    fn start(&self, worker: Option<Worker<Task>>) {
        if let Some(mut worker) = worker {
            let handle = thread::spawn(move || worker.run());
            self.0.lock().unwrap().push(handle);
        }
    }

    fn join(&self) {
        loop {
            let handle = self.0.lock().unwrap().pop();
            match handle {
                Some(handle) => handle.join().unwrap(),
                None => return,
            }
        }
    }
}

impl Host<Task> for Threads {
    fn run(&self, tasks: &mut Tasks<'_, Task>) {
        while let Some(task) = tasks.next() {
            task();
        }
    }

    fn abandon(&self, _: Vec<Task>) {}

    fn spawn(&self, worker: Worker<Task>) {
        self.start(Some(worker));
    }
}

/// A count that one can wait for.
#[derive(Default)]
struct Count(Mutex<usize>, Condvar);

impl Count {
    fn add(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    fn wait(&self, wanted: usize) {
        let mut count = self.0.lock().unwrap();
        while *count < wanted {
            count = self.1.wait(count).unwrap();
        }
    }
}

struct Model {
    executor: Executor<Task>,
    threads: Threads,
    done: Count,
}

impl Model {
    fn new(limit: usize, capacity: usize) -> Arc<Self> {
        let threads = Threads::default();
        let size = Size {
            limit,
            capacity,
            bound: None,
            local_queues: true,
        };
        Arc::new(Self {
            executor: Executor::new(size, threads.clone()).unwrap(),
            threads,
            done: Count::default(),
        })
    }

    fn submit(&self, task: impl FnOnce() + Send + 'static) {
        match self.executor.submit(Box::new(task), 0, false) {
            Ok(worker) => self.threads.start(worker),
            Err((_, error)) => panic!("{error}"),
        }
    }

    fn want_workers(&self) {
        while let Some(worker) = self.executor.want_worker() {
            self.threads.start(Some(worker));
        }
    }

    fn end(&self) {
        assert!(self.executor.shutdown(false).is_empty());
        self.threads.join();
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(model, SCHEDULES, 3);
}

#[test]
fn every_task_runs_without_a_shutdown_to_wake_the_workers() {
    explore(|| {
        let model = Model::new(2, 2);
        let submit = |model: Arc<Model>| {
            for _ in 0..3 {
                let inner = Arc::clone(&model);
                model.submit(move || inner.done.add());
            }
        };
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || submit(model))
        };
        submit(Arc::clone(&model));
        other.join().unwrap();
        model.done.wait(6);
        model.end();
    });
}

#[test]
fn tasks_that_wait_for_each_other_run_together() {
    explore(|| {
        let model = Model::new(2, 2);
        for _ in 0..2 {
            let met = Arc::new(Count::default());
            for _ in 0..2 {
                let (inner, met) = (Arc::clone(&model), Arc::clone(&met));
                model.submit(move || {
                    met.add();
                    met.wait(2);
                    inner.done.add();
                });
            }
        }
        model.done.wait(4);
        model.end();
    });
}

#[test]
fn a_changing_limit_loses_no_task() {
    explore(|| {
        let model = Model::new(2, 2);
        let changer = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                for limit in [1, 2, 1] {
                    model.executor.set_limit(limit);
                    model.want_workers();
                }
            })
        };
        for _ in 0..4 {
            let inner = Arc::clone(&model);
            model.submit(move || inner.done.add());
        }
        changer.join().unwrap();
        model.done.wait(4);
        model.end();
    });
}

#[test]
fn another_worker_stands_in_for_a_blocked_one() {
    explore(|| {
        let model = Model::new(1, 2);
        let released = Arc::new(Count::default());
        let (inner, gate) = (Arc::clone(&model), Arc::clone(&released));
        model.submit(move || {
            inner.executor.block();
            inner.want_workers();
            gate.wait(1);
            inner.executor.unblock();
            inner.done.add();
        });
        let inner = Arc::clone(&model);
        model.submit(move || {
            released.add();
            inner.done.add();
        });
        model.done.wait(2);
        model.end();
    });
}

#[test]
fn tasks_of_a_lane_run_in_order_and_never_together() {
    explore(|| {
        let model = Model::new(2, 2);
        let lane: Arc<Lane<Task>> = Arc::default();
        let inside = Arc::new(AtomicUsize::new(0));
        for number in 0..3 {
            let (inner, inside) = (Arc::clone(&model), Arc::clone(&inside));
            let task: Task = Box::new(move || {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                assert_eq!(*inner.done.0.lock().unwrap(), number);
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                inner.done.add();
            });
            match model.executor.submit_to(&lane, task, 0, false) {
                Ok(worker) => model.threads.start(worker),
                Err((_, error)) => panic!("{error}"),
            }
        }
        model.done.wait(3);
        model.end();
    });
}

#[test]
fn a_shutdown_runs_what_was_accepted() {
    explore(|| {
        let model = Model::new(2, 2);
        for _ in 0..3 {
            let inner = Arc::clone(&model);
            model.submit(move || inner.done.add());
        }
        model.end();
        assert_eq!(*model.done.0.lock().unwrap(), 3);
    });
}
