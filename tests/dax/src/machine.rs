//! The guest as the host sees it: a process that is started, listened to, and killed. The kill is the power cut.

use pagestone_kit::child::Child;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of the persistent memory; the guest sees a little less.
const MEMORY: u64 = 514 << 20;
/// Bytes of the disk beside it.
const DISK: u64 = 128 << 20;
/// A guest that is silent for longer hangs, however busy the host is.
const LIMIT: Duration = Duration::from_secs(1800);
/// What a guest prints at the end of its task.
const ENDED: &str = "@@ended ";

/// `guest.sh`, where the sources are.
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest.sh");

/// Fetches and builds what guests are booted from. An error: that is not possible here.
pub fn set_up() -> Result<(), String> {
    let output =
        Command::new("sh").args([GUEST, "setup"]).output().map_err(|e| format!("starting sh: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("guest.sh failed without a word").to_owned())
}

/// A machine with its memory and its disk, on or off.
pub struct Machine {
    home: tempfile::TempDir,
    kind: &'static str,
}

impl Machine {
    /// Makes a machine. `kind` is what `guest.sh` calls its memory; `files` are copied into its `/bin`.
    pub fn new(kind: &'static str, files: &[&Path]) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("making a machine: {error}");
        let home = tempfile::tempdir().map_err(told)?;
        for (name, bytes) in [("pmem", MEMORY), ("disk", DISK)] {
            fs::File::create(home.path().join(name)).and_then(|file| file.set_len(bytes)).map_err(told)?;
        }
        let bin = home.path().join("root/bin");
        fs::create_dir_all(&bin).map_err(told)?;
        for file in files {
            let to = bin.join(file.file_name().unwrap_or_default());
            // Symbols would fill the guest's memory.
            let stripped = Command::new("strip").arg("-o").arg(&to).arg(file).status();
            if !stripped.is_ok_and(|status| status.success()) {
                fs::copy(file, &to).map_err(told)?;
            }
        }
        Ok(Self { home, kind })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Switches it on. `task` is a shell script.
    pub fn boot(&self, task: &str) -> Result<Running, String> {
        fs::write(self.path("root/task"), task).map_err(|error| format!("writing the task: {error}"))?;
        let parts = [self.path("root"), self.path("pmem"), self.kind.into(), self.path("disk")];
        let guest = Child::start(Command::new("sh").args([GUEST, "boot"]).args(parts));
        Ok(Running(guest.silent_for(LIMIT)))
    }

    /// Runs `task` to its end; `each` hears every line of the console.
    pub fn run(&self, task: &str, mut each: impl FnMut(&str)) -> Result<Ended, String> {
        let mut running = self.boot(task)?;
        let mut status = None;
        while let Some(line) = running.line() {
            status = line.strip_prefix(ENDED).map(|code| code.trim() == "0").or(status);
            each(&line);
        }
        Ok(match (running.killed_itself(), status) {
            (_, Some(true)) => Ended::Well,
            (_, Some(false)) => Ended::Badly,
            (Some(how), None) => Ended::EmulatorDied(how),
            (None, None) => Ended::GuestDied,
        })
    }
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    Well,
    Badly,
    /// A panic of its kernel.
    GuestDied,
    /// QEMU itself failed, by an assertion for instance. That is rare, and not caused by the guest.
    EmulatorDied(String),
}

/// A machine that is on. Its power goes when this is dropped.
pub struct Running(Child);

impl Running {
    /// The next line of the console; `None` when the machine is off.
    pub fn line(&mut self) -> Option<String> {
        self.0.line()
    }

    /// How the emulator of a machine that is off died, if that was by a signal not sent from here.
    pub fn killed_itself(&mut self) -> Option<String> {
        self.0.end().signal().map(|signal| format!("the emulator died by itself (signal {signal})"))
    }

    /// Cuts the power by SIGKILL to the emulator, which then does nothing more. A machine whose emulator died by itself
    /// just before has lost its power as well.
    pub fn cut(mut self) {
        let _ = self.0.kill();
    }
}
