//! After a repair everything is there, except for what the table names as lost; and the repair reports each loss.

use super::cells::{DAMAGES, Damage, Plant, plants};
use super::judge::{change, findings, pages};
use super::world::{World, open, repair};
use super::{Said, cell};
use crate::page::tables::Page;
use pagestone::Error;
use pagestone::store::Store;
use pagestone_workload::PAGE;

/// Faults after a repair of this damage.
fn problems(world: &World, plant: &Plant, damage: Damage, cell: &str) -> Vec<String> {
    let Some(damaged) = plant.plant(world, damage) else { return Vec::new() };
    let mut wrong = Vec::new();
    let planned = match repair(&damaged, true) {
        Ok((planned, _)) => planned,
        Err(error) => return vec![format!("a look at what a repair would do fails: {error}")],
    };
    let (done, image) = match repair(&damaged, false) {
        Ok(done) => done,
        Err(error) => return vec![format!("the repair fails: {error}")],
    };
    if done.repairs.len() != planned.repairs.len() {
        wrong.push(format!("it does {:?} and said {:?}", done.repairs, planned.repairs));
    }
    if !done.left.is_empty() {
        wrong.push(format!("it leaves {:?}", done.left));
    }
    if done.repairs.is_empty() && cell.contains('`') {
        wrong.push("nothing is repaired".to_owned());
    }
    match repair(&image, false) {
        Ok((again, _)) if again.repairs.is_empty() && again.left.is_empty() => {}
        Ok((again, _)) => wrong.push(format!("a second repair does {:?}", again.repairs)),
        Err(error) => wrong.push(format!("a second repair fails: {error}")),
    }
    let store = open(&image).unwrap();
    let found = findings(&store);
    if !found.is_empty() {
        wrong.push(format!("check finds {found:?}"));
    }
    wrong.extend(content(&store, world, plant, damage));
    let mut said = Said::default();
    change(&store, &mut said);
    if !said.uses.is_empty() || store.stats().set_aside != 0 {
        wrong.push(format!("changes meet {:?}, {} set aside", said.uses, store.stats().set_aside));
    }
    wrong
}

/// Whether all is there, or is reported as lost.
fn content(store: &Store, world: &World, plant: &Plant, damage: Damage) -> Vec<String> {
    let mut wrong = Vec::new();
    let counts = store.check().unwrap().counts;
    let model = &world.model;
    for name in model.names.keys() {
        let expected = model.of(name).expect("a name has an object");
        let may_go = plant.may_lose(damage).contains(name);
        let object = match store.open(name) {
            Ok(object) => object,
            Err(Error::NotFound { .. }) if may_go => continue,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        if object.len() != expected.len && !may_go {
            wrong.push(format!("{name} has {} bytes and not {}", object.len(), expected.len));
        }
        for (page, result) in pages(&object, expected) {
            let may_go = plant.may_lose_page(damage, name, page);
            match result {
                Ok(true) => {}
                Err(Error::Corrupt { .. }) if may_go => {}
                // A node or a record is in an old state: its object is flagged.
                Ok(false) if may_go && damage == Damage::Stale && counts.damaged > 0 => {}
                other => wrong.push(format!("page {page} of {name}: {other:?}")),
            }
        }
    }
    let known = |name: &str| {
        let former = damage == Damage::Stale && plant.structure == "record frame";
        let found = name.starts_with("lost+found-") && (counts.damaged > 0 || !plant.lost.is_empty());
        model.names.contains_key(name) || found || former
    };
    for entry in store.list().unwrap() {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if !known(&name) {
            wrong.push(format!("there is an object {name} of {} pages", entry.len.div_ceil(PAGE)));
        }
    }
    wrong
}

#[test]
fn each_cell_of_the_table_of_damage_is_repaired_and_nothing_else_is_lost() {
    let (page, world) = (Page::read(), World::new());
    let mut wrong = Vec::new();
    for plant in plants(&world) {
        for damage in DAMAGES {
            let cell = cell(&page, plant.structure, damage);
            if cell == "-" {
                continue;
            }
            for problem in problems(&world, &plant, damage, cell) {
                wrong.push(format!("{}, {damage:?} (frames {:?}): {problem}", plant.structure, plant.frames));
            }
        }
    }
    assert!(wrong.is_empty(), "{} problems:\n  {}", wrong.len(), wrong.join("\n  "));
}
