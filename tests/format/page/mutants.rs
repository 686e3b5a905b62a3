//! The page with one mistake in it is not believed, whichever row has it: else nothing here proves the row.

use super::judge;
use super::tables::{Page, Row};
use super::world::World;

/// Rows that could change places and mean the same in every region of today: an object has its own tree.
const ALIKE: &[(&str, &str, &str)] = &[("Object records", "number", "tree")];

/// What a mistake is called, and the page with it.
type Mutant = (String, Page);
/// What makes all mistakes of one kind.
type Mistakes = fn(&Page) -> Vec<Mutant>;

/// Where a field begins, or how long it is.
fn moved(page: &Page) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (structure, rows) in &page.rows {
        for (n, row) in rows.iter().enumerate() {
            for (offset, size) in
                [(row.offset + 8, row.size), (row.offset, row.size + 8), (row.offset, row.size / 2)]
            {
                let mut mutant = page.clone();
                let rows = mutant.rows.get_mut(structure).unwrap();
                (rows[n].offset, rows[n].size) = (offset, size);
                mutants.push((format!("{structure}: {} at {offset}, {size} bytes", row.name), mutant));
            }
        }
    }
    mutants
}

/// The border between two fields.
fn bordered(page: &Page) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (structure, rows) in &page.rows {
        for n in 1..rows.len() {
            for by in [1, 4, 8] {
                let mut mutant = page.clone();
                let rows = mutant.rows.get_mut(structure).unwrap();
                if rows[n].size <= by {
                    continue;
                }
                rows[n - 1].size += by;
                (rows[n].offset, rows[n].size) = (rows[n].offset + by, rows[n].size - by);
                mutants.push((format!("{structure}: {} begins {by} bytes later", rows[n].name), mutant));
            }
        }
    }
    for (word, parts) in &page.parts {
        for n in 1..parts.len() {
            let mut mutant = page.clone();
            let parts = mutant.parts.get_mut(word).unwrap();
            (parts[n - 1].bits.end, parts[n].bits.start) = (parts[n].bits.start + 1, parts[n].bits.start + 1);
            mutants.push((format!("{word}: {} begins a bit later", parts[n].name), mutant));
        }
    }
    mutants
}

fn reserved(name: &str) -> bool {
    name.starts_with("zero") || name.starts_with("line ")
}

/// Two fields of one size, each in the other's place.
fn swapped(page: &Page) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (structure, rows) in &page.rows {
        for (a, one) in rows.iter().enumerate() {
            for (b, other) in rows.iter().enumerate().skip(a + 1) {
                let alike = ALIKE.contains(&(structure, &one.name, &other.name));
                // What the root repeats of features is 0 in each.
                let features = |row: &Row| structure == "Root words" && row.name.ends_with("compat");
                let zero = |row: &Row| reserved(&row.name) || features(row);
                if one.size != other.size || zero(one) && zero(other) || alike {
                    continue;
                }
                let mut mutant = page.clone();
                let rows = mutant.rows.get_mut(structure).unwrap();
                (rows[a].name, rows[b].name) = (other.name.clone(), one.name.clone());
                mutants.push((format!("{structure}: {} and {} swapped", one.name, other.name), mutant));
            }
        }
    }
    mutants
}

/// A number, or a frame.
fn renumbered(page: &Page) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for name in page.values.keys() {
        let mut mutant = page.clone();
        *mutant.values.get_mut(name).unwrap() += 1;
        mutants.push((format!("{name} is one more"), mutant));
    }
    for name in page.frames.keys().filter(|name| !reserved(name)) {
        let mut mutant = page.clone();
        *mutant.frames.get_mut(name).unwrap() += 1;
        mutants.push((format!("{name} is in the next frame"), mutant));
    }
    mutants
}

#[test]
fn each_mistake_in_a_row_of_the_page_is_noticed() {
    let (page, world) = (Page::read(), World::new());
    judge(&page, &world).unwrap();
    let kinds: [(&str, Mistakes); 4] =
        [("moved", moved), ("bordered", bordered), ("swapped", swapped), ("renumbered", renumbered)];
    let mut missed = Vec::new();
    for (kind, mutants) in kinds {
        let mutants = mutants(&page);
        println!("{kind}: {} mistakes", mutants.len());
        assert!(mutants.len() > 20, "{kind}");
        let believed = |(_, page): &&Mutant| judge(page, &world).is_ok();
        missed.extend(mutants.iter().filter(believed).map(|(what, _)| what.clone()));
    }
    assert!(missed.is_empty(), "believed: {missed:#?}");
}
