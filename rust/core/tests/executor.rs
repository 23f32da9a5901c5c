//! The executor as its hosts see it, on real threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use overdrive_core::executor::{Executor, Host, Lane, Size, Tasks, Worker};
use overdrive_core::Error;

type Task = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
struct Threads {
    handles: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
    fails_to_start: bool,
    abandoned: Arc<AtomicUsize>,
}

impl Threads {
    fn start(&self, worker: Option<Worker<Task>>) {
        if let Some(mut worker) = worker {
            let handle = thread::spawn(move || worker.run());
            self.handles.lock().unwrap().push(handle);
        }
    }

    fn join(&self) {
        loop {
            let handle = self.handles.lock().unwrap().pop();
            match handle {
                Some(handle) => handle.join().unwrap(),
                None => return,
            }
        }
    }
}

impl Host<Task> for Threads {
    fn start(&self) -> bool {
        !self.fails_to_start
    }

    fn run(&self, tasks: &mut Tasks<'_, Task>) {
        while let Some(task) = tasks.next() {
            tasks.note_begin(1, 0);
            task();
            tasks.note_end(1, 1);
        }
    }

    fn abandon(&self, tasks: Vec<Task>) {
        self.abandoned.fetch_add(tasks.len(), Ordering::SeqCst);
    }

    fn spawn(&self, worker: Worker<Task>) {
        self.start(Some(worker));
    }
}

struct Pool {
    executor: Executor<Task>,
    threads: Threads,
}

fn pool(limit: usize, bound: Option<usize>) -> Pool {
    let threads = Threads::default();
    let size = Size {
        limit,
        capacity: 2 * limit,
        bound,
        local_queues: true,
    };
    Pool {
        executor: Executor::new(size, threads.clone()).unwrap(),
        threads,
    }
}

impl Pool {
    fn try_submit(&self, priority: i32, task: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        match self.executor.submit(Box::new(task), priority, false) {
            Ok(worker) => {
                self.threads.start(worker);
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }

    fn submit(&self, task: impl FnOnce() + Send + 'static) {
        self.try_submit(0, task).unwrap();
    }

    fn end(&self) {
        assert!(self.executor.shutdown(false).is_empty());
        self.threads.join();
    }
}

/// Opens once.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0 .0.lock().unwrap();
        while !*open {
            open = self.0 .1.wait(open).unwrap();
        }
    }
}

/// Occupy the only worker until the returned gate is opened.
fn occupy(pool: &Pool) -> Gate {
    let (begun, release) = (Gate::default(), Gate::default());
    let (inner, until) = (begun.clone(), release.clone());
    pool.submit(move || {
        inner.open();
        until.wait();
    });
    begun.wait();
    release
}

#[test]
fn tasks_from_outside_begin_oldest_first() {
    let pool = pool(1, None);
    let release = occupy(&pool);
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    for number in 0..200 {
        let order = Arc::clone(&order);
        pool.submit(move || order.lock().unwrap().push(number));
    }
    release.open();
    pool.end();
    assert_eq!(*order.lock().unwrap(), (0..200).collect::<Vec<_>>());
    assert_eq!(pool.executor.stats().started, 201);
}

#[test]
fn higher_priorities_begin_first_and_lower_ones_are_not_starved() {
    let pool = pool(1, None);
    let release = occupy(&pool);
    let order: Arc<Mutex<Vec<i32>>> = Arc::default();
    for number in 0..300 {
        let order = Arc::clone(&order);
        let priority = [-1, 0, 1][number % 3];
        let push = move || order.lock().unwrap().push(priority);
        pool.try_submit(priority, push).unwrap();
    }
    release.open();
    pool.end();
    let order = order.lock().unwrap();
    let urgent = order.iter().take(110).filter(|p| **p == 1).count();
    assert_eq!(urgent, 100, "all urgent tasks are among the first");
    assert!(order[..110].contains(&-1), "one of low priority is let in");
    assert_eq!(pool.executor.stats().priorities[&1].tasks, 100);
}

#[test]
fn a_full_queue_refuses_unless_forced() {
    let pool = pool(1, Some(2));
    let release = occupy(&pool);
    pool.submit(|| ());
    pool.submit(|| ());
    assert_eq!(pool.try_submit(0, || ()), Err(Error::Full));
    assert!(pool.executor.submit(Box::new(|| ()), 0, true).is_ok());
    release.open();
    pool.end();
    assert_eq!(pool.executor.stats().started, 4);
}

#[test]
fn lanes_take_turns() {
    let pool = pool(1, None);
    let release = occupy(&pool);
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let lanes: [Arc<Lane<Task>>; 2] = [Arc::default(), Arc::default()];
    for (number, lane) in lanes.iter().enumerate() {
        for _ in 0..10 {
            let order = Arc::clone(&order);
            let task: Task = Box::new(move || order.lock().unwrap().push(number));
            assert!(pool.executor.submit_to(lane, task, 0, false).is_ok());
        }
    }
    assert_eq!(pool.executor.queued(), 20);
    release.open();
    pool.end();
    assert_eq!(*order.lock().unwrap(), [0, 1].repeat(10));
    assert_eq!(lanes[0].totals().tasks, 10);
    assert!(lanes[0].close_if_idle());
    assert_eq!(pool.executor.queued(), 0);
}

#[test]
fn a_shutdown_gives_back_what_waits_in_queues_and_lanes() {
    let pool = pool(1, None);
    let release = occupy(&pool);
    let lane: Arc<Lane<Task>> = Arc::default();
    for _ in 0..3 {
        pool.submit(|| ());
        let task: Task = Box::new(|| ());
        assert!(pool.executor.submit_to(&lane, task, 0, false).is_ok());
    }
    assert_eq!(pool.executor.shutdown(true).len(), 6);
    assert_eq!(pool.try_submit(0, || ()), Err(Error::Shutdown));
    assert_eq!(pool.executor.queued(), 0);
    release.open();
    pool.threads.join();
}

#[test]
fn a_worker_that_cannot_be_prepared_breaks_the_executor() {
    let threads = Threads {
        fails_to_start: true,
        ..Threads::default()
    };
    let size = Size {
        limit: 1,
        capacity: 1,
        bound: None,
        local_queues: true,
    };
    let pool = Pool {
        executor: Executor::new(size, threads.clone()).unwrap(),
        threads,
    };
    pool.submit(|| ());
    pool.threads.join();
    assert_eq!(pool.threads.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(pool.try_submit(0, || ()), Err(Error::Broken));
    assert!(pool.executor.is_broken());
}

#[test]
fn threads_end_when_the_limit_is_lowered_and_come_back_when_it_is_raised() {
    let pool = pool(3, None);
    for limit in [3, 1, 3] {
        pool.executor.set_limit(limit);
        let (together, release) = (Arc::new(AtomicUsize::new(0)), Gate::default());
        for _ in 0..limit {
            let (together, gate, wanted) = (Arc::clone(&together), release.clone(), limit);
            pool.submit(move || {
                if together.fetch_add(1, Ordering::SeqCst) + 1 == wanted {
                    gate.open();
                }
                gate.wait();
            });
        }
        release.wait();
    }
    pool.executor.set_limit(1);
    while pool.executor.stats().workers > 1 {
        thread::yield_now();
    }
    pool.end();
}

#[test]
fn holding_tasks_leave_the_other_workers_free() {
    struct Held(Threads);
    impl Host<(bool, Task)> for Held {
        fn run(&self, tasks: &mut Tasks<'_, (bool, Task)>) {
            while let Some((_, task)) = tasks.next() {
                task();
            }
        }
        fn abandon(&self, _: Vec<(bool, Task)>) {}
        fn spawn(&self, mut worker: Worker<(bool, Task)>) {
            let handle = thread::spawn(move || worker.run());
            self.0.handles.lock().unwrap().push(handle);
        }
        fn holds(&self, task: &(bool, Task)) -> bool {
            task.0
        }
    }
    let threads = Threads::default();
    let size = Size {
        limit: 2,
        capacity: 2,
        bound: None,
        local_queues: true,
    };
    let executor = Executor::new(size, Held(threads.clone())).unwrap();
    executor.limit_holders(1);
    let (free_ran, most) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let now = Arc::new(AtomicUsize::new(0));
    let submit = |holds: bool, task: Task| match executor.submit((holds, task), 0, false) {
        Ok(Some(worker)) => Held(threads.clone()).spawn(worker),
        Ok(None) => {}
        Err((_, error)) => panic!("{error}"),
    };
    for _ in 0..5 {
        let (now, most, gate) = (Arc::clone(&now), Arc::clone(&most), free_ran.clone());
        submit(
            true,
            Box::new(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.wait();
                now.fetch_sub(1, Ordering::SeqCst);
            }),
        );
    }
    let gate = free_ran.clone();
    submit(false, Box::new(move || gate.open()));
    drop(executor);
    threads.join();
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
