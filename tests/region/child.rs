//! Other processes: this test binary once more, in a role.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{self, Command, Stdio};

const ROLE: &str = "PAGESTONE_TEST_ROLE";
const FILE: &str = "PAGESTONE_TEST_FILE";
const READY: &str = "the role has begun";

/// A process in a role. Killed when dropped.
pub struct Child(process::Child);

impl Child {
    /// Starts a process in `role` on `path`, and waits until it has begun, or has ended well.
    pub fn start(role: &str, path: &Path) -> Self {
        Self::start_under(Command::new(std::env::current_exe().unwrap()), role, path)
    }

    /// As [`Self::start`], by a command that begins otherwise and ends with this program.
    pub fn start_under(mut command: Command, role: &str, path: &Path) -> Self {
        command.args(["--exact", "child::a_role_that_another_test_gives", "--nocapture"]);
        command.env(ROLE, role).env(FILE, path).stdout(Stdio::piped());
        let mut child = Self(command.spawn().unwrap());
        let output = BufReader::new(child.0.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap().contains(READY)), "the child failed: {role}");
        child
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends the process with no warning.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_role_that_another_test_gives() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(FILE)) else { return };
    let path = Path::new(&path);
    match role.as_str() {
        "owner" => {
            let region = crate::attach(path).unwrap();
            region.grow_to(1 << 20).unwrap();
            region.memory().store(4096, 42).unwrap();
            wait_for_death();
        }
        "reader" => {
            let options = pagestone::region::RegionOptions { read_only: true, ..Default::default() };
            let _region = crate::attach_with(path, options).unwrap();
            wait_for_death();
        }
        "large-owner" => {
            let _owns = crate::waiting::own_with_much_memory(path);
            wait_for_death();
        }
        "passer-by" => {
            println!("{READY}");
            crate::waiting::look_in_passing(path);
        }
        "unreadable-folder" => crate::naming::in_an_unreadable_folder(path),
        "unsynced-name" => crate::naming::that_cannot_be_synced(path),
        "folders-without-sync" => crate::naming::where_no_folder_can_be_synced(path),
        "unlockable" => crate::naming::that_cannot_be_locked(path),
        "nameless-boot" => crate::probe::without_random_numbers(path),
        "headless" => crate::claim::go_on_without_the_first_thread(path),
        "named" => {
            crate::claim::say_who_this_is(path);
            wait_for_death();
        }
        "interrupted" => crate::growth::with_long_calls_interrupted(path),
        "hog" => {
            let _files = crate::claim::open_many_files();
            wait_for_death();
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
            wait_for_death();
        }
        "forks-while-waiting" => {
            crate::waiting::fork_while_an_opening_waits(path);
            wait_for_death();
        }
        "attacher" => crate::scale::attach_the_largest(path),
        other => panic!("no such role: {other}"),
    }
    println!("{READY}");
}

pub fn wait_for_death() -> ! {
    println!("{READY}");
    loop {
        std::thread::park();
    }
}
