//! The queue is a `VecDeque` under a lock, and loses nothing among threads.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use overdrive_core::queue::Queue;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    PushMany(Vec<u8>),
    Pop,
    Steal,
    StealMany(usize),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Push),
        2 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Step::PushMany),
        3 => Just(Step::Pop),
        3 => Just(Step::Steal),
        1 => (0_usize..6).prop_map(Step::StealMany),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_step_has_the_result_it_has_on_a_deque(steps in steps()) {
        let queue: Queue<u8> = Queue::default();
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Step::Push(item) => {
                    queue.push(item);
                    model.push_back(item);
                }
                Step::PushMany(items) => {
                    model.extend(items.iter().copied());
                    queue.push_many(items);
                }
                Step::Pop => prop_assert_eq!(queue.pop(), model.pop_back()),
                Step::Steal => prop_assert_eq!(queue.steal(), model.pop_front()),
                Step::StealMany(most) => {
                    let most_there = most.min(model.len());
                    let stolen: Vec<u8> = model.drain(..most_there).collect();
                    prop_assert_eq!(queue.steal_many(most), stolen);
                }
                Step::Clear => prop_assert_eq!(queue.clear(), std::mem::take(&mut model)),
            }
            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
        }
        let mut seen = Vec::new();
        let visited: Result<(), ()> = queue.try_visit(|item| { seen.push(*item); Ok(()) });
        prop_assert_eq!(visited, Ok(()));
        prop_assert_eq!(seen, Vec::from(model.clone()));
        prop_assert_eq!(queue.try_clear(), model);
    }
}

#[test]
fn each_item_is_taken_once_by_owner_or_thieves() {
    const ITEMS: u32 = if cfg!(miri) { 60 } else { 6000 };
    let queue: Queue<u32> = Queue::default();
    let taken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for item in 0..ITEMS {
                queue.push(item);
                if item % 3 == 0 {
                    taken.lock().unwrap().extend(queue.pop());
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ITEMS / 8 {
                    taken.lock().unwrap().extend(queue.steal());
                    taken.lock().unwrap().extend(queue.steal_many(2));
                }
            });
        }
    });
    let mut all = taken.into_inner().unwrap();
    all.extend(queue.clear());
    all.sort_unstable();
    assert_eq!(all, (0..ITEMS).collect::<Vec<_>>());
}
