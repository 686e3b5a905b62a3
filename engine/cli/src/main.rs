//! The `pagestone` command line: creates, inspects, fills and checks regions.
#![forbid(unsafe_code)]

mod access;
mod args;
mod check;
mod compact;
mod create;
mod demo;
mod export;
mod failure;
mod fresh;
mod import;
mod info;
mod ls;
mod moment;
mod output;
mod place;
mod progress;
mod repair;
mod rm;
mod sqlite;
mod stat;

use args::{Cli, Command};
use clap::Parser;
use failure::Failure;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // If standard error cannot be written, only the exit code remains.
            drop(writeln!(std::io::stderr(), "pagestone: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    place::open_as(cli.wait, cli.copy_on_write);
    match cli.command {
        Command::Create(a) => create::run(&a),
        Command::Info(a) => info::run(&a),
        Command::Ls(a) => ls::run(&a),
        Command::Stat(a) => stat::run(&a),
        Command::Check(a) => check::run(&a),
        Command::Import(a) => import::run(&a),
        Command::Export(a) => export::run(&a),
        Command::Rm(a) => rm::run(&a),
        Command::Compact(a) => compact::run(&a),
        Command::Demo(a) => demo::run(&a),
        Command::DemoWorker(a) => demo::worker::work(&a).map(|()| 0).map_err(Failure::Other),
    }
}
