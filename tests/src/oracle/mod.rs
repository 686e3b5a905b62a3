//! The whole store compared with a plain model. A case is a list of steps, and each answer is compared.
//!
//! [`step`] says what a case consists of, and draws cases. The model is the workload's
//! [`Content`](pagestone_workload::content::Content) with [`history`] and [`objects`]. Beside it, [`hands`] has the real
//! handles and pins of a thread, and [`ground`] the region. [`world`] runs a case. [`run`] shrinks a failure and prints
//! it as [`code`].

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
