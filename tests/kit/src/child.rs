//! Child processes that work, print what they did, and are killed. A child is this program once more, in a role, or another
//! program.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const ROLE: &str = "PAGESTONE_TEST_ROLE";
const PLACE: &str = "PAGESTONE_TEST_PLACE";
/// A process that prints nothing for so long hangs, unless [`Child::silent_for`] says otherwise.
const SILENCE: Duration = Duration::from_secs(240);

/// The role in which a process was started.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its arguments; may be empty.
    pub about: String,
    /// The file or folder that it works on.
    pub place: PathBuf,
}

/// The role of this process, if it was started in one.
#[must_use]
pub fn role() -> Option<Role> {
    let role = std::env::var(ROLE).ok()?;
    // Ends a line that the test harness has begun.
    println!();
    let (name, about) = role.split_once(' ').unwrap_or((&role, ""));
    let place = std::env::var_os(PLACE).unwrap_or_default().into();
    Some(Role { name: name.to_owned(), about: about.to_owned(), place })
}

/// A command that runs this program in a role: the role's name and, behind a blank, its arguments.
///
/// # Panics
/// The program has no path.
#[must_use]
pub fn again(role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    play(&mut command, role, place);
    command
}

/// Gives the program of `command` a role.
pub fn play<'c>(command: &'c mut Command, role: &str, place: &Path) -> &'c mut Command {
    command.env(ROLE, role).env(PLACE, place)
}

/// As [`again`], for a program with the usual test harness: the test named `test` asks for its [`role`].
#[must_use]
pub fn again_as(test: &str, role: &str, place: &Path) -> Command {
    let mut command = again(role, place);
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// The command, run by another program, which gets `options` first.
#[must_use]
pub fn under(program: &str, options: &[impl AsRef<OsStr>], command: &Command) -> Command {
    let mut whole = Command::new(program);
    whole.args(options).arg(command.get_program()).args(command.get_args());
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole
}

/// Prints a line for the process that listens, at once and by one write: this process may be killed at any moment.
///
/// # Panics
/// When no process listens any more.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()).expect("there is a listener");
}

/// Waits for a death that comes from outside.
pub fn wait_for_death() -> ! {
    loop {
        std::thread::park();
    }
}

/// A process whose output is read. It is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    silence: Duration,
}

impl Child {
    /// Starts it.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = process.stdin.take();
        let (say, lines) = mpsc::channel();
        if let Some(out) = process.stdout.take() {
            std::thread::spawn(move || hear(out, |line| say.send(line).is_ok()));
        }
        Self { process, input, lines, silence: SILENCE }
    }

    /// Allows it to be silent for so long.
    #[must_use]
    pub fn silent_for(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its next line; `None` when it has closed its output.
    ///
    /// # Panics
    /// When it hangs.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(self.silence) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("it says nothing for {:?}: {:?}", self.silence, self.process)
            }
        }
    }

    /// Its next line with this beginning; `None` if there will be none.
    pub fn hears(&mut self, start: &str) -> Option<String> {
        std::iter::from_fn(|| self.line()).find(|line| line.starts_with(start))
    }

    /// All lines up to its end.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it does not read.
    pub fn tell(&mut self, line: &str) {
        let told = self.input.as_mut().map(|input| writeln!(input, "{line}").and_then(|()| input.flush()));
        told.expect("it has an input").expect("it listens");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain call; the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.id() as libc::pid_t, signal) };
    }

    /// Kills it by SIGKILL, so that it cannot tidy up.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&mut self) -> Result<(), String> {
        let status = self.process.kill().and_then(|()| self.process.wait());
        match status {
            Ok(status) if status.signal() == Some(libc::SIGKILL) => Ok(()),
            other => Err(format!("ended by itself: {other:?}")),
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn end(&mut self) -> ExitStatus {
        self.input = None;
        self.process.wait().expect("it ends")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls `each` for every whole line that is not empty. A line that a kill has torn does not count.
fn hear(from: impl Read, mut each: impl FnMut(String) -> bool) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line.ends_with(b"\n") {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !text.is_empty() && !each(text) {
            return;
        }
        line.clear();
    }
}

/// Runs a process to its end, and collects what it prints. If it takes longer than `limit`, it is killed; then `None`.
///
/// # Panics
/// When it cannot be started.
pub fn finish(command: &mut Command, limit: Duration) -> Option<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, errors) = (collect(process.stdout.take()), collect(process.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        match process.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(1)),
            _ => break None,
        }
    };
    if status.is_none() {
        let _ = process.kill();
        let _ = process.wait();
    }
    let [stdout, stderr] = [out, errors].map(|thread| thread.join().unwrap_or_default());
    status.map(|status| Output { status, stdout, stderr })
}

fn collect(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_played_by_this_program() {
        let Some(role) = role() else { return };
        say(&format!("{} with {:?} at {}", role.name, role.about, role.place.display()));
        match &*role.name {
            "waits" => wait_for_death(),
            "echoes" => say(&std::io::stdin().lines().next().expect("a line").expect("a text")),
            _ => std::process::exit(7),
        }
    }

    fn start(role: &str) -> Child {
        Child::start(&mut again_as("child::tests::a_role_is_played_by_this_program", role, Path::new("here")))
    }

    #[test]
    fn a_child_in_a_role_is_heard_told_and_killed() {
        let mut waits = start("waits for 2");
        assert_eq!(waits.hears("waits").as_deref(), Some(r#"waits with "for 2" at here"#));
        assert_eq!((waits.kill(), waits.line()), (Ok(()), None));
        let mut echoes = start("echoes");
        echoes.tell("what was told");
        assert_eq!(echoes.hears("what").as_deref(), Some("what was told"));
        assert!(echoes.end().success());
    }

    #[test]
    fn a_death_that_is_not_the_kill_is_told() {
        let mut leaves = start("leaves");
        leaves.rest();
        assert!(leaves.kill().is_err_and(|how| how.contains("by itself")));
    }

    #[test]
    fn a_line_that_was_torn_was_not_said() {
        let mut said = Vec::new();
        hear(&b"begin 12\n\nack 12\nack 1"[..], |line| {
            said.push(line);
            true
        });
        assert_eq!(said, ["begin 12", "ack 12"]);
    }

    #[test]
    fn what_hangs_is_killed() {
        let run = |seconds| finish(Command::new("sleep").arg(seconds), Duration::from_millis(300));
        assert!(run("0").is_some_and(|output| output.status.success()));
        assert!(run("60").is_none());
    }

    #[test]
    fn another_program_runs_a_role() {
        let role = again_as("child::tests::a_role_is_played_by_this_program", "leaves", Path::new("here"));
        assert_eq!(Child::start(&mut under("env", &["A=1"], &role)).end().code(), Some(7));
    }
}
