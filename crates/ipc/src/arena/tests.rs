use super::outputs::RETURNED_AT_ONCE;
use super::*;
use crate::channel::Received;

fn budget(limit: u64) -> Arc<Budget> {
    Budget::new(Some(limit), || 0)
}

fn received(memory: &OwnedFd) -> Vec<Received> {
    let len = brigade_sys::socket::file_len(memory).unwrap() as usize;
    vec![Received::Memory(memory.try_clone().unwrap(), len)]
}

#[test]
fn an_input_is_seen_where_it_was_written() {
    let arena = Arena::new(budget(64 << 20));
    let mut regions = InputRegions::default();
    let mut slab = arena.take(5_000_000).unwrap();
    slab.fill(7);
    slab.truncate(4_000_000);
    let number = slab.region();
    regions.add(number, arena.share(number, received).unwrap());
    let bytes = Bytes::from_owner(Arc::new(slab));
    let Some(PayloadLocation::Slab { region, offset, len, .. }) = arena.location(&bytes) else {
        panic!("it is in the arena")
    };
    assert!(regions.has(region) && !regions.has(region + 1));
    assert!(regions.find(region, offset, len).is_none(), "it is not open yet");
    regions.open(region).unwrap();
    assert_eq!(regions.find(region, offset, len).unwrap(), &bytes[..]);
    assert!(regions.find(region, offset, u64::MAX).is_none());
    assert!(regions.find(region, offset + 1, 1).is_none());
    assert!(regions.find(region + 1, 0, 1).is_none());
    // Another pool's arena does not contain the bytes.
    assert!(Arena::new(budget(0)).location(&bytes).is_none());
}

#[test]
fn a_region_that_is_not_in_use_is_given_back_and_its_number_not_used_again() {
    let budget = budget(64 << 20);
    let arena = Arena::new(Arc::clone(&budget));
    let mut regions = InputRegions::default();
    let (first, second) = (arena.take(1000).unwrap(), arena.take(10_000_000).unwrap());
    let numbers = [first.region(), second.region()];
    for number in numbers {
        regions.add(number, arena.share(number, received).unwrap());
        regions.open(number).unwrap();
    }
    let before = budget.used();
    assert_eq!((arena.trim(), arena.gone(&numbers)), (0, Vec::new()));
    drop(second);
    assert!(arena.trim() >= 10_000_000);
    assert_eq!(arena.gone(&numbers), [numbers[1]]);
    assert!(budget.used() < before && budget.used() > 0);
    assert!(arena.share(numbers[1], received).is_none());
    regions.forget(&arena.gone(&numbers));
    assert!(regions.has(numbers[0]) && !regions.has(numbers[1]));
    let third = arena.take(10_000_000).unwrap();
    assert!(!numbers.contains(&third.region()));
    // A slab keeps its memory, and its share of the budget, after its arena is gone.
    drop((arena, third));
    assert!(budget.used() > 0);
    assert_eq!(first.len(), 1000);
    drop(first);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_output_is_lent_and_its_slab_used_again() {
    let budget = budget(64 << 20);
    let outputs = Outputs::new(Arc::clone(&budget));
    let mut allocator = OutputAllocator::default();
    assert!(allocator.take(100).is_none());
    assert!(allocator.add(received(&outputs.grow(3_000_000).unwrap())));
    let mut locations = Vec::new();
    for round in 0..100_u8 {
        let mut slab = allocator.take(3_000_000).unwrap();
        assert!(slab.bytes_mut().iter().all(|&byte| byte == round), "what was there before");
        slab.bytes_mut().fill(round + 1);
        let location = allocator.loan(slab);
        locations.push(location.clone());
        let bytes = outputs.find(location).unwrap();
        assert!(bytes.iter().all(|&byte| byte == round + 1));
        assert!(allocator.take(3_000_000).is_none(), "the region holds one");
        drop(bytes);
        allocator.reclaim(&outputs.returned());
        // Numbers that are not on loan change nothing.
        allocator.reclaim(&[0, 7, u32::MAX]);
    }
    assert!(locations.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(budget.used() > 0);
    drop(outputs);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_many_jobs_gave_back_is_returned_at_once_and_never_lost() {
    let outputs = Outputs::new(budget(64 << 20));
    outputs.grow(1000).unwrap();
    let leases = (0..1000).map(|slab| PayloadLocation::Slab { region: 0, offset: 0, len: 8, slab });
    drop(leases.map(|location| outputs.find(location).unwrap()).collect::<Vec<_>>());
    let mut first = outputs.returned();
    assert_eq!(first.len(), RETURNED_AT_ONCE);
    outputs.not_returned(&first.split_off(10));
    first.extend(outputs.more_returned());
    first.sort_unstable();
    assert_eq!(first, (0..1000).collect::<Vec<_>>());
    assert!(outputs.returned().is_empty());
}

#[test]
fn impossible_locations_are_not_found() {
    let outputs = Outputs::new(budget(64 << 20));
    outputs.grow(1000).unwrap();
    let location = |region, offset, len| PayloadLocation::Slab { region, offset, len, slab: 0 };
    assert!(outputs.find(location(0, 0, 1000)).is_some());
    for (region, offset, len) in
        [(1, 0, 1), (0, 1, 1), (0, 0, 1 << 40), (0, u64::MAX - 63, 64), (0, 64, u64::MAX)]
    {
        assert!(outputs.find(location(region, offset, len)).is_none());
    }
}

#[test]
fn a_budget_is_kept() {
    let budget = budget(2 << 20);
    let arena = Arena::new(Arc::clone(&budget));
    let first = arena.take(900_000).unwrap();
    let second = arena.take(900_000).unwrap();
    assert!(arena.take(900_000).is_none());
    drop((first, second));
    assert!(arena.take(900_000).is_some());
    assert!(arena.trim() > 0);
    drop(arena);
    assert_eq!(budget.used(), 0);
}
