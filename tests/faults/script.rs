//! The workload of the sweeps: some of every operation, always the same, so that its n-th file operation can be made to
//! fail.

use pagestone_workload::Op;
pub use pagestone_workload::PAGE;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Do(Op),
    Check,
    /// Closes the store in order and opens it again.
    Reopen,
}

/// Some sixty operations: a region that grows twice, a log that wraps, a cut and an unlink of pinned pages, a reopening.
pub fn script() -> Vec<Step> {
    use Op::*;
    let [a, b, c, e, again] = [0, 1, 2, 3, 4];
    let create = |object, name: &str| Create(object, name.to_owned());
    let rename = |from: &str, to: &str| Rename(from.to_owned(), to.to_owned());
    let unlink = |name: &str| Unlink(name.to_owned(), false);
    let mut script: Vec<Step> = [
        create(a, "a"),
        Write(a, 0, 5 * PAGE),
        SyncAll,
        Write(a, 3 * PAGE - 100, 200),
        create(b, "b"),
        Append(b, 700),
        Append(b, 2 * PAGE),
        Sync(b),
        Touch(a, PAGE + 40, 300),
        SyncRange(a, PAGE, PAGE),
        SetLen(a, 2 * PAGE + 10),
        SetLen(a, 3 * PAGE),
        Write(a, 9 * PAGE, 50),
        Sync(a),
        create(c, "c"),
        Allocate(c, 0, 80 * PAGE),
        Write(c, 0, 20 * PAGE),
        Pin(c, 3),
        SetLen(c, 2 * PAGE),
        Sync(c),
        Unpin,
        Punch(a, PAGE, PAGE),
        Punch(a, 100, 200),
        rename("b", "d"),
        Pin(c, 0),
        unlink("c"),
    ]
    .map(Step::Do)
    .into();
    script.push(Step::Check);
    // `d` first names the object that was called `b`, and then another one.
    let d = e;
    script.extend([SyncAll, Unpin, create(e, "e"), rename("e", "d")].map(Step::Do));
    // Small changes until the log has wrapped.
    for round in 1..=30 {
        script.extend([SetLen(d, round * 8), Append(a, 10)].map(Step::Do));
        if round % 10 == 0 {
            script.push(Step::Do(Sync(d)));
        }
    }
    script.extend([Write(d, 0, 90 * PAGE), SyncAll].map(Step::Do));
    script.push(Step::Reopen);
    let last = [
        Write(a, 0, 100),
        Append(d, 3 * PAGE),
        unlink("a"),
        create(again, "a"),
        Write(again, 5, 5 * PAGE),
        Sync(again),
        Append(again, 100),
    ];
    script.extend(last.map(Step::Do));
    script.push(Step::Reopen);
    script.extend([SetLen(d, 12), SyncAll].map(Step::Do));
    script
}
