//! A test program of cargo's, run in the guest: cargo starts this as its runner.

use crate::machine::{Ended, Machine};
use crate::plan::Medium;
use std::path::Path;

/// Runs `command`, a program and its arguments, with its temporary files on an ext4 that is mounted with DAX.
pub fn in_guest(command: &[String]) -> Result<bool, String> {
    let [program, arguments @ ..] = command else { return Err("no program".into()) };
    let program = Path::new(program);
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    // Cargo puts the program into `deps`. CARGO_TARGET_TMPDIR, which the tests were built with, is `tmp`, two folders up.
    let Some(target) = program.ancestors().nth(3) else {
        return Err(format!("{program:?}: no target folder"));
    };
    let task = format!(
        "{prepare} || exit 1
        mkdir -p /mnt/tmp '{target}'
        ln -s /mnt/tmp '{target}/tmp'
        export TMPDIR=/mnt/tmp
        {name} {arguments}",
        prepare = Medium::Ext4.prepare(),
        target = target.display(),
        arguments = arguments.join(" "),
    );
    let machine = Machine::new("nvdimm", &[program])?;
    for _ in 0..3 {
        match machine.run(&task, |line| println!("{line}"))? {
            Ended::EmulatorDied(how) => println!("{how}: once more"),
            ended => return Ok(ended == Ended::Well),
        }
    }
    Err("the emulator dies by itself".into())
}
