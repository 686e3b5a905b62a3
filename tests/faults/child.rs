//! Children: this program once more, as a process that may be killed, limited or stopped.

use crate::script::script;
use crate::store::{Player, options};
use pagestone::units::Durability;
use pagestone_kit::child::{self, Role, say};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// A path that does not exist. A child looks for it when the script begins, so that a trace shows the place.
pub const BEGIN: &str = "/pagestone-faults-begin";
/// A child that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(100);

type Act = fn(&Role);

/// The roles of children.
const ROLES: &[(&str, Act)] = &[
    ("script", |role| play(&role.place)),
    ("make", |role| crate::inject::make(&role.place, &role.about)),
    ("change", |role| crate::blocks::change(&role.place)),
    ("hold", |role| crate::time::hold(&role.place)),
    ("life", |role| crate::ending::life(&role.place)),
    ("batches", |role| crate::ending::batches(&role.place, &role.about)),
    ("look", |role| crate::ending::look(&role.place, &role.about)),
    ("cut", |role| crate::file::in_child(&role.about, &role.place)),
    ("limited", |role| crate::limits::in_child(&role.about, &role.place)),
    ("large-batch", |role| crate::limits::batch_under_a_limit(&role.about, &role.place)),
    ("locked", |role| crate::limits::lock(&role.place, &role.about)),
    ("working-set", |role| crate::limits::work(&role.place, &role.about)),
];

pub fn run(role: &Role) {
    match ROLES.iter().find(|known| known.0 == role.name) {
        Some((_, act)) => act(role),
        None => panic!("no such role: {role:?}"),
    }
}

/// How a child ended, and what it printed.
pub struct Ended {
    pub status: ExitStatus,
    pub said: Vec<String>,
    pub complained: String,
}

/// Runs a child to its end. A child that hangs is killed; then `None`.
pub fn finish(mut command: Command) -> Option<Ended> {
    let ended = child::finish(&mut command, LIMIT)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&ended.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    Some(Ended { status: ended.status, said, complained: text(&ended.stderr) })
}

/// Plays the script and prints a line for each operation that has returned. After the first error it prints that, and ends.
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
