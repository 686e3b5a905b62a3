//! `pagestone create`.

use crate::args::Create;
use crate::failure::Failure;
use crate::{output, place};
use pagestone::store::Store;

pub fn run(args: &Create) -> Result<u8, Failure> {
    if args.region.symlink_metadata().is_ok() && !place::is_blank(&args.region) {
        return Err(Failure::Other(format!(
            "{} exists already: choose another name, or remove it first",
            args.region.display()
        )));
    }
    let store = Store::options().create(true).open(&args.region)?;
    store.sync()?;
    let durability = store.info().durability;
    place::close(store)?;
    output::print(&format!("{}: an empty region, durability {durability}\n", args.region.display()))?;
    Ok(0)
}
