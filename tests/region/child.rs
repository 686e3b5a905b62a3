//! Other processes: this test program once more, in a role.

use pagestone_kit::child::{self, Child, again_as, say, wait_for_death};
use pagestone_kit::limit::Limit;
use pagestone_kit::skip::skipped;
use std::path::Path;
use std::process::Command;

const READY: &str = "the role has begun";

/// This program in a role.
pub fn command(role: &str, path: &Path) -> Command {
    again_as("child::a_role_that_another_test_gives", role, path)
}

/// Starts a process in `role` on `path`, and waits until the role has begun.
pub fn start(role: &str, path: &Path) -> Child {
    begun(&mut command(role, path))
}

/// As [`start`], by a command of the caller's.
pub fn begun(command: &mut Command) -> Child {
    let mut child = Child::start(command);
    child.hears(READY).unwrap_or_else(|| panic!("the child failed: {command:?}"));
    child
}

/// Lets this process have so many files open. Returns false, and says so aloud, if it may not.
pub fn may_open(what: &str, files: u64) -> bool {
    let limit = Limit::set(libc::RLIMIT_NOFILE, files);
    let refused = |_| skipped(what, "it needs the right to raise RLIMIT_NOFILE; run this test as root");
    limit.map(Limit::for_good).map_err(refused).is_ok()
}

/// The number of the process that a role on `path` has forked.
pub fn forked_by(path: &Path) -> libc::pid_t {
    std::fs::read_to_string(path.with_extension("child")).unwrap().parse().unwrap()
}

/// Kills that process, which must still live.
pub fn kill_forked(process: libc::pid_t) {
    // SAFETY: a plain call, for the process that a role has forked and that no other process waits for.
    let lived = unsafe { libc::kill(process, libc::SIGKILL) } == 0;
    assert!(lived, "the child ended too early to prove anything");
}

/// Prints that the role has begun, and waits for the end.
pub fn stay() -> ! {
    say(READY);
    wait_for_death()
}

#[test]
fn a_role_that_another_test_gives() {
    let Some(role) = child::role() else { return };
    let path = &*role.place;
    match &*role.name {
        "owner" => {
            let region = crate::attach(path).unwrap();
            region.grow_to(1 << 20).unwrap();
            region.memory().store(4096, 42).unwrap();
            stay();
        }
        "reader" => {
            let options = pagestone::region::RegionOptions { read_only: true, ..Default::default() };
            let _region = crate::attach_with(path, options).unwrap();
            stay();
        }
        "large-owner" => {
            let _owns = crate::waiting::own_with_much_memory(path);
            stay();
        }
        "looks" => {
            say(READY);
            crate::waiting::look_again_and_again(path);
        }
        "unreadable-folder" => crate::naming::in_an_unreadable_folder(path),
        "unsynced-name" => crate::naming::that_cannot_be_synced(path),
        "folders-without-sync" => crate::naming::where_no_folder_can_be_synced(path),
        "unlockable" => crate::naming::that_cannot_be_locked(path),
        "nameless-boot" => crate::probe::without_random_numbers(path),
        "headless" => crate::claim::go_on_without_the_first_thread(path),
        "named" => {
            crate::claim::say_who_this_is(path);
            stay();
        }
        "interrupted" => crate::growth::with_long_calls_interrupted(path),
        "hog" => {
            let _files = crate::claim::open_many_files();
            stay();
        }
        "refused" => crate::claim::refused_after_few_reads(path),
        "many-regions" => crate::scale::attach_very_many(),
        "few-addresses" => crate::scale::outgrow_few_addresses(),
        "dumped" => crate::scale::hold_little_that_is_dumped(),
        "forbidden" => crate::waiting::without_locks(path),
        "closed-standard-files" => crate::descriptors::without_standard_files(path),
        "limited" => crate::growth::beyond_the_file_size_limit(path),
        "parent" => {
            crate::claim::fork_with_a_region(path);
            stay();
        }
        "forks-while-waiting" => {
            crate::waiting::fork_while_an_opening_waits(path);
            stay();
        }
        "attacher" => crate::scale::attach_the_largest(path),
        other => panic!("no such role: {other}"),
    }
    say(READY);
}
