//! `pagestone create`.

use crate::args::Create;
use crate::failure::Failure;
use crate::{output, place};
use pagestone::Durability;

pub fn run(args: &Create) -> Result<u8, Failure> {
    let device = place::is_device(&args.region);
    if args.force && !device {
        let region = args.region.display();
        return Err(Failure::Other(format!(
            "--force is for devices, and {region} is not one; remove the file instead"
        )));
    }
    let there = args.region.symlink_metadata().is_ok();
    if !device && there && !place::is_blank(&args.region) {
        return Err(Failure::Other(format!(
            "{} exists already: choose another name, or remove it first",
            args.region.display()
        )));
    }
    if device && !args.force && place::options().read_only(true).open(&args.region).is_ok() {
        return Err(Failure::Other(format!(
            "{} already holds a region: --force replaces it, and its contents are lost",
            args.region.display()
        )));
    }
    let mut options = place::options().create(true).create_new(!there).overwrite(args.force);
    if let Some(class) = &args.require {
        let cache_line = Durability::CacheLine.to_string() == *class;
        options = options.require(if cache_line { Durability::CacheLine } else { Durability::Fdatasync });
    }
    let store = options.open(&args.region)?;
    let (region, info) = (args.region.display(), store.info());
    let synced = store.sync().map_err(Failure::from).and_then(|()| place::close(store));
    synced.map_err(|why| why.too_late(&format!("{region} is made, though perhaps not durable")))?;
    let durability = info.durability;
    output::print_done(&format!(
        "{region}: an empty region, durability {durability} on a {}\n",
        output::medium(&info)
    ))?;
    Ok(0)
}
