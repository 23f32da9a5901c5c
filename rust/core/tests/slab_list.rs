//! A slab list does what a vector of pairs does, and its indices stay.

use overdrive_core::slab_list::SlabList;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    Remove(usize),
    MoveToBack(usize),
    Change(usize, u32),
    Copy,
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = any::<usize>();
    let step = prop_oneof![
        6 => any::<u32>().prop_map(Step::Push),
        4 => place.prop_map(Step::Remove),
        4 => place.prop_map(Step::MoveToBack),
        2 => (place, any::<u32>()).prop_map(|(place, value)| Step::Change(place, value)),
        1 => Just(Step::Copy),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn every_step_has_the_result_it_has_on_a_vector(steps in steps()) {
        let mut list = SlabList::default();
        let mut model: Vec<(u32, u32)> = Vec::new();
        for step in steps {
            let at = |place: usize| (!model.is_empty()).then(|| place % model.len());
            match step {
                Step::Push(value) => {
                    let index = list.push_back(value);
                    prop_assert!(model.iter().all(|(taken, _)| *taken != index));
                    model.push((index, value));
                }
                Step::Remove(place) => if let Some(at) = at(place) {
                    let (index, value) = model.remove(at);
                    prop_assert_eq!(list.remove(index), Some(value));
                    prop_assert_eq!(list.remove(index), None);
                    prop_assert_eq!(list.get(index), None);
                }
                Step::MoveToBack(place) => if let Some(at) = at(place) {
                    let entry = model.remove(at);
                    list.move_to_back(entry.0);
                    model.push(entry);
                }
                Step::Change(place, value) => if let Some(at) = at(place) {
                    model[at].1 = value;
                    *list.get_mut(model[at].0).unwrap() = value;
                }
                Step::Copy => list = list.copy_with(|value| *value),
                Step::Drain => {
                    let values: Vec<u32> = model.drain(..).map(|(_, value)| value).collect();
                    prop_assert_eq!(list.drain(), values);
                }
            }
            let listed: Vec<(u32, u32)> = list.iter().map(|(index, value)| (index, *value)).collect();
            prop_assert_eq!(&listed, &model);
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.is_empty(), model.is_empty());
            prop_assert_eq!(list.front(), model.first().map(|(index, _)| *index));
        }
    }
}

#[test]
fn places_are_used_again() {
    let mut list = SlabList::default();
    for round in 0..100 {
        let (a, b) = (list.push_back(round), list.push_back(round));
        assert!(a < 2 && b < 2);
        list.remove(a);
        list.remove(b);
    }
    assert_eq!(list.remove(7), None);
}
