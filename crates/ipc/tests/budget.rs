//! An arena where there are hardly any descriptors left. Alone in its process, because
//! they are the process's.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use brigade_ipc::{Arena, Budget, Outputs};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all numbers below the highest that is in use, and gives the first that is free: the
/// limit is one of numbers.
fn first_free(taken: &mut Vec<File>) -> u64 {
    let names = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = names.filter_map(|name| name.file_name().to_str()?.parse::<i32>().ok());
    let highest = numbers.max().unwrap();
    loop {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        if number > highest {
            return number as u64;
        }
        taken.push(file);
    }
}

#[test]
fn what_cannot_be_made_is_not_paid_for() {
    let budget = Budget::new(Some(64 << 20), || 0);
    let usual = getrlimit(Resource::Nofile);
    let mut taken = Vec::new();
    let before = first_free(&mut taken);
    let (mut failed, mut made) = (0, 0);
    // Each time it fails one step further on.
    for more in 0..12 {
        let limit = Rlimit { current: Some(before + more), ..usual };
        setrlimit(Resource::Nofile, limit).unwrap();
        let arena = Arena::new(budget.clone());
        let is_made = arena.take(1000).is_some();
        assert_eq!(budget.used() > 0, is_made, "an input, with {more} descriptors more");
        drop(arena);
        let outputs = Outputs::new(budget.clone());
        let is_grown = outputs.grow(1000).is_some();
        assert_eq!(budget.used() > 0, is_grown, "an output, with {more} descriptors more");
        drop(outputs);
        assert_eq!(budget.used(), 0);
        setrlimit(Resource::Nofile, usual).unwrap();
        made += u32::from(is_made) + u32::from(is_grown);
        failed += u32::from(!is_made) + u32::from(!is_grown);
    }
    assert!(failed >= 2 && made > 2, "{failed} failed, {made} made");
}
