//! The page that describes the format, as a program: what its tables say is how a region is read here, and what is read is
//! compared with what the engine's own calls say.
//!
//! Nothing in this folder knows where a field lies. Offsets, sizes, bits and numbers come from `engine/docs/format.md`, which
//! is read while the test runs; the text of the page has the formulas.

mod checks;
mod facts;
mod mutants;
mod replay;
pub mod tables;
pub mod view;
pub mod walk;
mod world;

use tables::Page;
use view::View;
use world::World;

/// What went wrong, in words.
type Result<T = ()> = std::result::Result<T, String>;

/// Fails with these words unless both are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, and not {expected:?}")) }
}

/// Whether the page describes these regions.
fn judge(page: &Page, world: &World) -> Result {
    page.hangs_together()?;
    facts::constants(page)?;
    let failed = View::new(page, &world.failed)?;
    let lease = failed.sector("Lease", "lease", "lease magic")?;
    same("the state after a failure", failed.field("Lease", lease, "state")?, page.value("lease failed")?)?;
    for (name, image, facts) in world.images() {
        let judged = || -> Result {
            let mut image = image.clone();
            replay::replay(page, &mut image, facts)?;
            let view = View::new(page, &image)?;
            facts.compare(&view)
        };
        judged().map_err(|why| format!("{name}: {why}"))?;
    }
    features(page, world)
}

/// A feature that is not known keeps from an opening what its word says: nothing, writing, or all.
fn features(page: &Page, world: &World) -> Result {
    let (_, whole, _) = world.images().find(|(name, ..)| *name == "closed").ok_or("no such image")?;
    let row = |name| page.row("Superblock", name);
    for (name, expected) in [("compat", [true, true]), ("ro compat", [false, true]), ("incompat", [false; 2])]
    {
        let mut image = whole.clone();
        for copy in ["superblock A", "superblock B"] {
            let base = page.frame(copy)? * page.value("frame size")?;
            image[(base + row(name)?.offset) as usize] |= 4;
            let sum = (base + row("sum")?.offset) as usize;
            let value = checks::sum(&[base], &image[base as usize..sum]);
            image[sum..sum + 4].copy_from_slice(&value.to_le_bytes()[..4]);
        }
        let opens = [false, true].map(|read_only| world::opens(&image, read_only));
        same(&format!("whether a region with an unknown feature in {name} opens"), opens, expected)?;
    }
    Ok(())
}

#[test]
fn a_region_is_read_by_the_tables_of_the_page_alone() {
    judge(&Page::read(), &World::new()).unwrap();
}
