//! A load is current exactly if nothing that concerns it happened since it began.

use overdrive_core::loads::{Loads, Ticket, MAX_EVENTS};
use proptest::prelude::*;

const TAGS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Key(u32),
    Tag(usize),
    All,
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    End(usize),
    Happen(Event),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = prop_oneof![
        6 => (0..4_u32).prop_map(Event::Key),
        3 => (0..TAGS.len()).prop_map(Event::Tag),
        1 => Just(Event::All),
    ];
    let step = prop_oneof![
        3 => Just(Step::Begin),
        2 => any::<usize>().prop_map(Step::End),
        4 => event.prop_map(Step::Happen),
    ];
    prop::collection::vec(step, 0..100)
}

fn happen(loads: &mut Loads, event: Event) {
    match event {
        Event::Key(hash) => loads.change_key(hash),
        Event::Tag(tag) => loads.change_tag(TAGS[tag]),
        Event::All => loads.change_all(),
    }
}

fn is_current(loads: &Loads, ticket: Ticket, key: u32, tags: &[usize]) -> bool {
    loads.is_current(ticket, key, tags.iter().map(|tag| TAGS[*tag]))
}

proptest! {
    #[test]
    fn every_ticket_is_as_good_as_the_whole_history_says(steps in steps()) {
        let mut loads = Loads::default();
        let mut history: Vec<Event> = Vec::new();
        // Each with the length of the history when it began.
        let mut running: Vec<(Ticket, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin => running.push((loads.begin(), history.len())),
                Step::End(place) if !running.is_empty() => {
                    running.remove(place % running.len());
                    loads.end();
                }
                Step::End(_) => {}
                Step::Happen(event) => {
                    happen(&mut loads, event);
                    history.push(event);
                }
            }
            for (ticket, began) in &running {
                let since = &history[*began..];
                for key in 0..5 {
                    for tags in [&[][..], &[0], &[1, 2]] {
                        let concerned = since.iter().any(|event| match event {
                            Event::Key(changed) => *changed == key,
                            Event::Tag(tag) => tags.contains(tag),
                            Event::All => true,
                        });
                        prop_assert_eq!(is_current(&loads, *ticket, key, tags), !concerned);
                    }
                }
                prop_assert_eq!(Ticket::from_number(ticket.number()), *ticket);
            }
        }
    }
}

#[test]
fn more_events_than_are_told_apart_count_for_everything() {
    for many in [true, false] {
        let mut loads = Loads::default();
        let ticket = loads.begin();
        for i in 0..u32::try_from(MAX_EVENTS).unwrap() + u32::from(many) {
            loads.change_key(i);
        }
        assert_eq!(is_current(&loads, ticket, u32::MAX, &[]), !many);
        let later = loads.begin();
        assert!(is_current(&loads, later, 0, &[]));
        loads.change_key(0);
        assert!(!is_current(&loads, later, 0, &[]));
    }
}

#[test]
fn an_end_too_many_is_harmless() {
    let mut loads = Loads::default();
    loads.end();
    let ticket = loads.begin();
    loads.change_tag("a");
    assert!(!is_current(&loads, ticket, 1, &[0]));
}
