//! The C ABI from outside: header, snapshot, installed libraries, users' programs, C tests, examples, manual.

mod abi;
mod build;
mod consumers;
mod examples;
mod header;
mod interface;
mod run;
