//! The workload of the sweeps: a bit of everything, always the same, so that its n-th operation can be made to fail.

use crate::world::World;

pub const PAGE: u64 = 4096;

/// One operation. Objects are named by letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Create(&'static str),
    /// At, length.
    Write(&'static str, u64, u64),
    Append(&'static str, u64),
    /// Through a pin, one page: index, at, length.
    Store(&'static str, u64, usize, usize),
    SetLen(&'static str, u64),
    /// At, length.
    Punch(&'static str, u64, u64),
    /// At, length.
    Allocate(&'static str, u64, u64),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
    /// Keeps a page pinned until `Unpin`.
    Pin(&'static str, u64),
    Unpin,
    Sync(&'static str),
    /// Page, pages.
    SyncPages(&'static str, u64, u64),
    SyncAll,
    Check,
    /// Closes the store in order and opens it again.
    Reopen,
}

use Op::*;

/// Some sixty operations: a region that grows twice, a log that wraps, a cut and an unlink of pinned pages, a reopening.
pub fn script() -> Vec<Op> {
    let mut script = vec![
        Create("a"),
        Write("a", 0, 5 * PAGE),
        SyncAll,
        Write("a", 3 * PAGE - 100, 200),
        Create("b"),
        Append("b", 700),
        Append("b", 2 * PAGE),
        Sync("b"),
        Store("a", 1, 40, 300),
        SyncPages("a", 1, 1),
        SetLen("a", 2 * PAGE + 10),
        SetLen("a", 3 * PAGE),
        Write("a", 9 * PAGE, 50),
        Sync("a"),
        Create("c"),
        Allocate("c", 0, 80 * PAGE),
        Write("c", 0, 20 * PAGE),
        Pin("c", 3),
        SetLen("c", 2 * PAGE),
        Sync("c"),
        Unpin,
        Punch("a", PAGE, PAGE),
        Punch("a", 100, 200),
        Rename("b", "d"),
        Pin("c", 0),
        Unlink("c"),
        Check,
        SyncAll,
        Unpin,
        Create("e"),
        Rename("e", "d"),
    ];
    // Small changes until the log has wrapped.
    for round in 1..=30 {
        script.extend([SetLen("d", round * 8), Append("a", 10)]);
        if round % 10 == 0 {
            script.push(Sync("d"));
        }
    }
    script.extend([
        Write("d", 0, 90 * PAGE),
        SyncAll,
        Reopen,
        Write("a", 0, 100),
        Append("d", 3 * PAGE),
        Unlink("a"),
        Create("a"),
        Write("a", 5, 5 * PAGE),
        Sync("a"),
        Append("a", 100),
        Reopen,
        SetLen("d", 12),
        SyncAll,
    ]);
    script
}

/// The bytes that operation `number` of the script stores.
pub fn pattern(number: usize, len: u64) -> Vec<u8> {
    // Never 0: a hole is told from everything stored.
    (0..len).map(|at| ((number as u64 * 37 + at / 512) % 255) as u8 + 1).collect()
}

impl Op {
    /// Whether the operation makes sense: what an earlier one did not do, for want of space, a later one may lack.
    pub fn applies(&self, world: &World) -> bool {
        match *self {
            Create(name) => !world.has(name),
            Unpin | SyncAll | Check | Reopen => true,
            Store(name, page, ..) | Pin(name, page) => world.bytes(name).len() as u64 > page * PAGE,
            Write(name, ..)
            | SetLen(name, _)
            | Append(name, _)
            | Punch(name, ..)
            | Allocate(name, ..)
            | Rename(name, _)
            | Unlink(name)
            | Sync(name)
            | SyncPages(name, ..) => world.has(name),
        }
    }

    /// The world after this operation, the script's `number`-th.
    pub fn after(&self, world: &World, number: usize) -> World {
        let mut world = world.clone();
        match *self {
            Create(name) => world.create(name),
            Write(name, at, len) => write(&mut world, name, at, number, len),
            Append(name, len) => {
                let at = world.bytes(name).len() as u64;
                write(&mut world, name, at, number, len);
            }
            Store(name, page, at, len) => {
                write(&mut world, name, page * PAGE + at as u64, number, len as u64)
            }
            SetLen(name, len) => world.edit(name, |bytes| bytes.resize(len as usize, 0)),
            Punch(name, at, len) => world.edit(name, |bytes| {
                let end = bytes.len().min((at + len) as usize);
                bytes[(at as usize).min(end)..end].fill(0);
            }),
            Rename(from, to) => {
                if let Some(id) = world.names.remove(from) {
                    world.names.insert(to.to_owned(), id);
                }
            }
            Unlink(name) => drop(world.names.remove(name)),
            Allocate(..) | Pin(..) | Unpin | Sync(_) | SyncPages(..) | SyncAll | Check | Reopen => {}
        }
        world
    }
}

fn write(world: &mut World, name: &str, at: u64, number: usize, len: u64) {
    world.edit(name, |bytes| {
        let end = (at + len) as usize;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(&pattern(number, len));
    });
}
