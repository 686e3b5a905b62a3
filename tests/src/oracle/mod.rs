//! The whole store against a plain model: cases of steps, each answer compared.
//!
//! [`step`] says what a case consists of and draws it; the workload's [`Content`](pagestone_workload::content::Content),
//! [`history`] and [`objects`] are the model, [`hands`] a thread's real handles and pins beside it, [`ground`] where the
//! store lies, [`world`] a case at work, [`run`] shrinks a failure and prints it as [`code`].

mod adopt;
mod batch;
mod bytes;
pub mod code;
mod compare;
pub mod ground;
pub mod hands;
pub mod history;
mod naming;
pub mod objects;
pub mod outcome;
mod pinning;
pub mod prelude;
pub mod run;
pub mod scene;
pub mod step;
pub mod tally;
pub mod world;
