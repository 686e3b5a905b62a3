//! The guest as the host sees it: a process that is started, listened to, and killed, which is its power cut.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Bytes of the persistent memory; the guest sees a little less.
const MEMORY: u64 = 514 << 20;
/// Bytes of the disk beside it.
const DISK: u64 = 128 << 20;
/// No guest is silent for that long, on however busy a host, or something hangs.
const LIMIT: Duration = Duration::from_secs(1800);
/// What a guest says that has come to the end of its task.
const ENDED: &str = "@@ended ";

/// `guest.sh`, where the sources are.
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest.sh");

/// Fetches and builds what guests are booted from. `Err`: it cannot be had here.
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
    /// A new one. `kind` is what `guest.sh` calls its memory; `files` are laid into its `/bin`.
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
        let process = Command::new("sh")
            .args([GUEST, "boot"])
            .args([self.path("root"), self.path("pmem"), self.kind.into(), self.path("disk")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("starting the guest: {error}"))?;
        Ok(Running::new(process))
    }

    /// Runs `task` to its end; `each` hears every line of the console.
    pub fn run(&self, task: &str, mut each: impl FnMut(&str)) -> Result<Ended, String> {
        let mut running = self.boot(task)?;
        let mut status = None;
        while let Some(line) = running.line()? {
            status = line.strip_prefix(ENDED).map(|code| code.trim() == "0").or(status);
            each(&line);
        }
        Ok(match (running.killed_itself()?, status) {
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
    /// An assertion of QEMU's own, say: seldom, and nothing that the guest can do anything about.
    EmulatorDied(String),
}

/// A machine that is on. Its power goes when this is dropped.
pub struct Running {
    process: Child,
    console: Receiver<String>,
}

impl Running {
    fn new(mut process: Child) -> Self {
        let (say, console) = channel();
        let pipe = process.stdout.take();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe?);
            let mut line = Vec::new();
            // A line that the cut has torn was not said.
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line.ends_with(b"\n") {
                say.send(String::from_utf8_lossy(&line).trim_end().to_owned()).ok()?;
                line.clear();
            }
            Some(())
        });
        Self { process, console }
    }

    /// The next line of the console; `None` when the machine is off.
    pub fn line(&mut self) -> Result<Option<String>, String> {
        match self.console.recv_timeout(LIMIT) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the guest said nothing for {} s", LIMIT.as_secs()))
            }
        }
    }

    /// Of a machine that is off: how the emulator died, if it was by a signal that was not sent from here.
    pub fn killed_itself(&mut self) -> Result<Option<String>, String> {
        let status = self.process.wait().map_err(|error| format!("waiting for the guest: {error}"))?;
        Ok(status.signal().map(|signal| format!("the emulator died by itself (signal {signal})")))
    }

    /// Cuts the power: SIGKILL to the emulator, which gets no chance to do anything more.
    pub fn cut(mut self) -> Result<(), String> {
        self.process.kill().map_err(|error| format!("killing the guest: {error}"))?;
        self.process.wait().map_err(|error| format!("waiting for the guest: {error}"))?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
