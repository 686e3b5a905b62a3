//! The table of damage on the page of the format, and how each of its cells is planted.

use super::world::World;
use crate::page::tables::Page;
use crate::page::view::View;
use crate::page::walk::Found;
use std::ops::Range;

/// Bytes of a frame and of a sector.
const FRAME: u64 = 4096;
const SECTOR: u64 = 512;

/// What happens to a structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    Flip,
    Zeroed,
    Stale,
}

/// The columns of the table.
pub const DAMAGES: [Damage; 3] = [Damage::Flip, Damage::Zeroed, Damage::Stale];

/// Where a structure is.
#[derive(Clone, Debug)]
pub struct Plant {
    /// Its name in the table.
    pub structure: &'static str,
    /// The frames that are damaged at once.
    pub frames: Vec<u64>,
    /// A byte of it that has a meaning, from the beginning of its frame.
    pub byte: u64,
    /// Its name in errors.
    pub what: &'static str,
    /// Whether each frame held the same structure at the earlier moment too.
    has_former: bool,
    /// Names of objects that the damage may lose.
    pub lost: Vec<String>,
    /// Pages of an object that the damage may lose: all of them, or those below one word.
    pages: Vec<(String, [Range<u64>; 2])>,
}

impl Plant {
    fn of(structure: &'static str, what: &'static str, frames: &[u64], byte: u64) -> Self {
        let (frames, has_former) = (frames.to_vec(), true);
        Self { structure, frames, byte, what, has_former, lost: Vec::new(), pages: Vec::new() }
    }

    /// The region with this damage. `None` if the structure was not there before, or was the same.
    pub fn plant(&self, world: &World, damage: Damage) -> Option<Vec<u8>> {
        if damage == Damage::Stale && !self.has_former {
            return None;
        }
        let mut image = world.new.clone();
        for frame in &self.frames {
            let at = (frame * FRAME) as usize..((frame + 1) * FRAME) as usize;
            match damage {
                Damage::Flip => image[at.start + self.byte as usize] ^= 0x10,
                Damage::Zeroed => image[at].fill(0),
                Damage::Stale => {
                    if image[at.clone()] == world.old[at.clone()] {
                        return None;
                    }
                    image[at.clone()].copy_from_slice(&world.old[at]);
                }
            }
        }
        Some(image)
    }

    /// Names of objects that this damage may lose, whole or in part.
    pub fn may_lose(&self, damage: Damage) -> &[String] {
        // A bit belongs to one record.
        if damage == Damage::Flip { &self.lost[..self.lost.len().min(1)] } else { &self.lost }
    }

    /// Whether a page may be lost.
    pub fn may_lose_page(&self, damage: Damage, name: &str, page: u64) -> bool {
        let which = usize::from(damage == Damage::Flip);
        self.pages.iter().any(|(of, pages)| of == name && pages[which].contains(&page))
            || self.may_lose(damage).iter().any(|lost| lost == name)
    }

    /// Whether a place lies in a damaged frame.
    pub fn holds(&self, at: u64) -> bool {
        self.frames.contains(&(at / FRAME))
    }
}

/// Every structure of the table, at each of its places in the region.
pub fn plants(world: &World) -> Vec<Plant> {
    let page = Page::read();
    let view = View::new(&page, &world.new).expect("a whole region");
    let found = Found::of(&view).expect("a sound region");
    let former = View::new(&page, &world.old).and_then(|view| Found::of(&view)).expect("another one");
    let frame = |name: &str| page.frame(name).expect("a frame of the page");
    let mut plants = Vec::new();
    for (structure, what, a, b, byte) in [
        ("superblock", "superblock", "superblock A", "superblock B", 64),
        ("log header", "log header", "log header A", "log header B", 16),
        ("root", "root", "root A", "root B", 8),
    ] {
        let copies = [frame(a), frame(b)];
        let [one, both] = match structure {
            "superblock" => ["superblock, one copy", "superblock, both"],
            "log header" => ["log header, one copy", "log header, both"],
            _ => ["root, one copy", "root, both"],
        };
        plants.extend(copies.iter().map(|copy| Plant::of(one, what, &[*copy], byte)));
        plants.push(Plant::of(both, what, &copies, byte));
    }
    plants.push(Plant::of("lease", "lease", &[frame("lease")], SECTOR / 8));
    plants.push(Plant::of("cursor", "cursor", &[frame("cursor")], 7));
    let groups = "table of groups";
    plants.push(Plant::of("group root", groups, &[frame("group root")], 0));
    plants.push(Plant::of("group table", groups, &[frame("group table")], 0));
    plants.push(Plant::of("bitmap", "bitmap", &[frame("bitmap")], 200));
    nodes(&found, &former, &mut plants);
    records(&found, &former, &mut plants);
    plants.push(Plant::of("directory node", "directory", &[frame("directory")], word_of(&view, &found)));
    let busy = found.frames("a frame of the busy table");
    plants.extend(busy.iter().map(|table| Plant::of("busy table", "busy table", &[*table], 8)));
    plants
}

/// The nodes of maps. The pages below each may be lost.
fn nodes(found: &Found, former: &Found, plants: &mut Vec<Plant>) {
    for (frame, (number, first, level)) in &found.nodes {
        let Some((name, _)) = found.named.iter().find(|(_, object)| object.number == *number) else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        // The word of the first page that is mapped below.
        let object = &found.named[name.as_bytes()];
        let mapped = *object.pages.range(first..).next().expect("a node maps a page").0;
        let word = (mapped >> (9 * (level - 1))) % 512;
        let mut plant = Plant::of("map node", "object map", &[*frame], word * 8);
        plant.has_former = former.nodes.get(frame) == Some(&(*number, *first, *level));
        let (all, one) = (1 << (9 * level), 1 << (9 * (level - 1)));
        plant.pages = vec![(name, [*first..first + all, mapped / one * one..mapped / one * one + one])];
        plants.push(plant);
    }
}

/// The frames of records that hold a named object.
fn records(found: &Found, former: &Found, plants: &mut Vec<Plant>) {
    let before = former.frames("a frame of records");
    for frame in found.frames("a frame of records") {
        let inside = |number: &u64| found.records.get(number).is_some_and(|slot| slot / 8 == frame);
        let named = found.named.values().filter(|object| inside(&object.number));
        let slots: Vec<_> = named
            .map(|object| (found.records[&object.number], String::from_utf8_lossy(&object.name).into_owned()))
            .collect();
        if let Some((slot, _)) = slots.first() {
            let mut plant = Plant::of("record frame", "object record", &[frame], slot % 8 * 512 + 16);
            plant.has_former = before.contains(&frame);
            plant.lost = slots.iter().map(|(_, name)| name.clone()).collect();
            plants.push(plant);
        }
    }
}

/// The byte, in the root of the directory, of a word that names something.
fn word_of(view: &View<'_>, found: &Found) -> u64 {
    let words = view.words(view.root("directory").unwrap()).unwrap();
    assert!(!found.named.is_empty());
    let used = words.iter().position(|(at, word)| view.placed(*at, *word).unwrap() != 0);
    used.expect("a name") as u64 * 8
}
