//! This program once more, as a process that may be killed, limited or stopped.

use crate::script::script;
use crate::store::{Player, options};
use pagestone::units::Durability;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// First argument of a child.
pub const VERB: &str = "child";
/// What a child looks for when it begins, so that its trace shows where. There is no such file.
pub const BEGIN: &str = "/pagestone-faults-begin";
/// A child that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(100);

/// What a child can be; it gets the arguments behind its name.
type Role = (&'static str, fn(&[String]));

const ROLES: &[Role] = &[
    ("script", |args| play(Path::new(&args[0]))),
    ("make", |args| crate::inject::make(Path::new(&args[0]), &args[1])),
    ("change", |args| crate::blocks::change(Path::new(&args[0]))),
    ("hold", |args| crate::time::hold(Path::new(&args[0]))),
    ("life", |args| crate::ending::life(Path::new(&args[0]))),
    ("batches", |args| crate::ending::batches(Path::new(&args[0]), &args[1])),
    ("look", |args| crate::ending::look(Path::new(&args[0]), &args[1])),
    ("cut", |args| crate::file::in_child(&args[0], Path::new(&args[1]))),
    ("limited", |args| crate::limits::in_child(&args[0], &args[1], Path::new(&args[2]))),
    ("large-batch", |args| crate::limits::batch_under_a_limit(&args[0], Path::new(&args[1]))),
    ("locked", |args| crate::limits::lock(Path::new(&args[0]), &args[1])),
    ("working-set", |args| crate::limits::work(Path::new(&args[0]), &args[1])),
];

pub fn run(args: &[String]) -> ExitCode {
    match args
        .split_first()
        .and_then(|(name, rest)| Some((ROLES.iter().find(|role| role.0 == name)?.1, rest)))
    {
        Some((role, rest)) => role(rest),
        None => panic!("no such role: {args:?}"),
    }
    ExitCode::SUCCESS
}

/// This program in a role.
pub fn command(role: &str, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(VERB).arg(role).args(args);
    command
}

/// As [`command`], run by another program, which gets `options` first.
pub fn command_under(program: &str, options: &[&str], role: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(options).arg(std::env::current_exe().expect("this program has a path"));
    command.arg(VERB).arg(role).args(args);
    command
}

/// How a child ended, and what it said.
pub struct Ended {
    pub status: ExitStatus,
    pub said: Vec<String>,
    pub complained: String,
}

/// Runs a child to its end; one that hangs is killed, and `None`.
pub fn finish(mut command: Command) -> Option<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child can be started");
    let out = child.stdout.take().map(|out| std::thread::spawn(move || lines(out)));
    let errors = child.stderr.take().map(|out| std::thread::spawn(move || lines(out).join("\n")));
    let status = wait(&mut child);
    let said = out.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let complained = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    status.map(|status| Ended { status, said, complained })
}

fn lines(from: impl Read) -> Vec<String> {
    BufReader::new(from).lines().map_while(Result::ok).collect()
}

/// Waits for the child's end, not for ever.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Says something at once: the next moment may be the last.
pub fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").and_then(|()| out.flush()).expect("somebody listens");
}

/// Plays the script and says of each operation that it returned. After the first error it says what it was, and leaves.
fn play(path: &Path) {
    let _ = std::fs::metadata(BEGIN);
    let mut player = Player::new(options(Durability::Fdatasync), path);
    for (number, op) in script().iter().enumerate() {
        if let Err(error) = player.play(number, op) {
            say(&format!("error {} {error}", if player.poisoned() { "final" } else { "local" }));
            break;
        }
        say(&format!("ok {number}"));
    }
    player.leave();
    say("left");
}
