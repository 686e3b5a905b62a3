//! The C ABI from outside: header, installed libraries, C tests, examples, manual.

mod build;
mod interface;
mod run;
