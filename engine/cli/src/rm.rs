//! `pagestone rm`.

use crate::args::Rm;
use crate::failure::Failure;
use crate::place::{self, Place};

pub fn run(args: &Rm) -> Result<u8, Failure> {
    let places: Vec<_> = args.places.iter().map(|p| Place::parse(p)).collect();
    for p in &places {
        if p.object.is_none() {
            return Err(Failure::Other(format!(
                "{}: say which object, as REGION:OBJECT",
                p.region.display()
            )));
        }
    }
    for Place { region, object } in &places {
        let store = place::change(region, args.opening)?;
        store.unlink(object.as_deref().unwrap_or_default())?;
        store.sync()?;
        place::close(store)?;
    }
    Ok(0)
}
