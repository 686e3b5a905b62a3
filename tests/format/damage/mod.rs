//! Damage: each cell of the table on the page of the format is planted, and must have the consequences that the page names.

mod cells;
mod judge;
mod repaired;
mod sweep;
mod world;

use crate::page::tables::Page;
use cells::{DAMAGES, Damage, Plant, plants};
use judge::{Said, ask};
use std::collections::BTreeSet;
use world::World;

/// The page's words for a cell.
fn cell<'a>(page: &'a Page, structure: &str, damage: Damage) -> &'a str {
    let row = page.damage.get(structure).unwrap_or_else(|| panic!("the page has no row for {structure}"));
    &row[damage as usize]
}

/// Contradictions between the results and the page's cell.
fn contradictions(cell: &str, plant: &Plant, damage: Damage, said: &Said) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, holds: bool| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let refused = said.refused;
    expect("it is refused", refused.is_some() == cell.contains("refused"));
    if let Some((what, at)) = refused {
        expect("the refusal names the structure and the place", what == plant.what && plant.holds(at));
        return wrong;
    }
    let named: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    for name in &named {
        let here = said.found.iter().find(|(found, _)| found == name);
        expect(&format!("check says {name}"), here.is_some());
        if let Some((_, at)) = here {
            // Damage that is noticed by a contradiction with another structure may be reported at that structure's place.
            let elsewhere = cell.contains("unnoticed") || *name == "group-tally" || *name == "root-copy";
            expect(&format!("{name} has its place"), elsewhere || plant.holds(*at));
        }
    }
    expect("check says nothing", !named.is_empty() || said.found.is_empty());
    let used = said.uses.iter().any(|(what, at)| *what == plant.what && plant.holds(*at));
    // A stale structure may contradict itself.
    expect(
        "a use of it is an error that names it",
        used == cell.contains("use,") || cell.contains("unnoticed"),
    );
    let strange = |(name, page): &&(String, u64)| !plant.may_lose_page(damage, name, *page);
    expect("what is not damaged can be read", !said.failed.iter().any(|failed| strange(&failed)));
    // A record leads to those after it in its chain.
    let leads_on = ["directory node", "record frame"].contains(&plant.structure);
    expect("what is not damaged can be opened", leads_on || said.unopened.is_empty());
    expect("something is set aside", cell.contains("aside") == (said.aside > 0) || !cell.contains("aside"));
    if !cell.contains("unnoticed") {
        expect("nothing else is wrong", said.wrong.is_empty());
        let others = said.uses.iter().filter(|(what, at)| !(*what == plant.what && plant.holds(*at)));
        expect("nothing else is an error", others.count() == 0);
    }
    wrong
}

#[test]
fn each_cell_of_the_table_of_damage_is_noticed_as_it_says() {
    let (page, world) = (Page::read(), World::new());
    let whole = ask(&world.new, &world.model);
    assert!(!whole.anything() && whole.uses.is_empty() && whole.wrong.is_empty(), "{whole:?}");
    let (mut wrong, mut planted) = (Vec::new(), BTreeSet::new());
    for plant in plants(&world) {
        for damage in DAMAGES {
            let cell = cell(&page, plant.structure, damage);
            if cell == "-" {
                continue;
            }
            let Some(image) = plant.plant(&world, damage) else { continue };
            planted.insert((plant.structure, damage as usize));
            let said = ask(&image, &world.model);
            for problem in contradictions(cell, &plant, damage, &said) {
                wrong.push(format!(
                    "{}, {damage:?} (frames {:?}): not so: {problem}. The page: {cell}\n      {said:?}",
                    plant.structure, plant.frames
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} contradictions:\n  {}", wrong.len(), wrong.join("\n  "));
    let rows = page.damage.iter().filter(|(row, _)| *row != "page of an object");
    let cells = rows.flat_map(|(row, cells)| (0..3).map(move |n| (row.as_str(), n, cells[n].as_str())));
    let missing: Vec<_> =
        cells.filter(|(row, n, cell)| *cell != "-" && !planted.contains(&(row, *n))).collect();
    assert!(missing.is_empty(), "nothing is planted for {missing:?}");
}

#[test]
fn the_log_ends_at_a_damaged_record_and_nothing_before_it_is_lost() {
    let (page, world) = (Page::read(), World::new());
    let [first, frames] = [page.frame("log").unwrap(), 4].map(|n| n as usize * 4096);
    let log = first..first + frames;
    let late = |image: &[u8]| {
        let store = world::open(image).unwrap();
        assert!(store.check().unwrap().is_clean());
        let mut said = Said::default();
        judge::read(&store, &world.model, &mut said);
        assert!(said.failed.is_empty(), "{said:?}");
        let strange = said.wrong.iter().filter(|what| !what.starts_with("late ")).count();
        assert_eq!(strange, 0, "{said:?}");
        let late = (0..3).filter(|n| store.exists(format!("late {n}")).unwrap().is_some());
        (late.collect::<Vec<_>>(), store.recovery().dropped)
    };
    assert_eq!(late(&world.killed), (vec![0, 1, 2], 0));
    // The name is in the record that makes the object.
    let at = log.clone().find(|at| world.killed[*at..].starts_with(b"late 1")).expect("a record");
    let mut flipped = world.killed.clone();
    flipped[at] ^= 1;
    assert_eq!(late(&flipped), (vec![0], 1), "one is damaged, and the one behind it is dropped");
    let mut zeroed = world.killed.clone();
    zeroed[log].fill(0);
    assert_eq!(late(&zeroed).0, []);
}
