//! Descriptors 0, 1 and 2 belong to the program, whether they are open or closed.

use crate::attach;
use crate::child;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::store::Store;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_program_without_standard_files_writes_its_messages_into_no_region() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    drop(Store::options().create(true).open(&path).unwrap());
    child::start("closed-standard-files", &path);
    drop(Store::options().open(&path).unwrap());
}

fn is_open(number: i32) -> bool {
    // SAFETY: a question about a number.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

fn close(number: i32) {
    // SAFETY: closes one of the three, which this process does not need.
    unsafe { libc::close(number) };
}

/// Runs in a process of its own, which has no other use for its standard files.
pub fn without_standard_files(path: &Path) {
    // SAFETY: a new number for the standard output, put back below.
    let kept = unsafe { libc::dup(1) };
    let mut failures = Vec::new();
    for closed in [[2].as_slice(), &[0], &[0, 1, 2]] {
        closed.iter().for_each(|number| close(*number));
        let memory = Region::attach(Source::Memory { bytes: 4096 }, &RegionOptions::default());
        let region = attach(path);
        for &number in closed {
            if is_open(number) {
                failures.push(format!("{number} is the library's"));
            }
            // SAFETY: some bytes of a constant, to a number that is closed.
            unsafe { libc::write(number, b"a message".as_ptr().cast(), 9) };
        }
        for attached in [memory, region] {
            attached.map_or_else(|error| failures.push(error.to_string()), |region| region.close());
        }
    }
    failures.extend(taken_for_a_moment(path));
    // The program's own files still get the lowest number.
    // SAFETY: a NUL-terminated path.
    if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } != 0 {
        failures.push("0 was not given back".to_owned());
    }
    // SAFETY: the standard output again, for what follows.
    unsafe { libc::dup2(kept, 1) };
    assert!(failures.is_empty(), "{failures:?}");
}

/// While threads open regions, another thread looks whether a number below 3 can be written at any moment.
fn taken_for_a_moment(path: &Path) -> Vec<String> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut taken = [false; 3];
            while !done.load(Ordering::Relaxed) {
                for (number, taken) in taken.iter_mut().enumerate() {
                    // SAFETY: no bytes, to a number that may be closed; nothing may be there to take them.
                    *taken |= unsafe { libc::write(number as i32, b"".as_ptr().cast(), 0) } == 0;
                }
            }
            taken
        });
        let openers: Vec<_> = (0..3)
            .map(|n| {
                let path = path.with_extension(n.to_string());
                scope.spawn(move || (0..100).for_each(|_| attach(&path).unwrap().close()))
            })
            .collect();
        let failed = openers.into_iter().filter_map(|opener| opener.join().err()).count();
        done.store(true, Ordering::Relaxed);
        let taken = watcher.join().unwrap();
        let moments = (0..3).filter(|number| taken[*number]);
        let mut failures: Vec<_> = moments.map(|number| format!("{number} was taken for a moment")).collect();
        if failed > 0 {
            failures.push(format!("{failed} threads could not open"));
        }
        failures
    })
}
