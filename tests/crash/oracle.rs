//! The oracle, tested with made-up views of a store: lawful ones pass, and each kind of damage is named.

use pagestone_explorer::Crash;
use pagestone_tests::crash::oracle::{Oracle, View, label};
use pagestone_tests::crash::script::{Fill, Op, Script, Shape};
use pagestone_workload::pattern::words;
use std::collections::{BTreeMap, HashMap};

/// A made-up store of plain bytes: the state after some operations of each thread.
#[derive(Clone, Default)]
struct Plain(BTreeMap<String, (u64, Vec<u8>)>);

impl Plain {
    fn after(script: &Script, counts: &[usize]) -> Self {
        let mut out = BTreeMap::new();
        for (part, &count) in script.parts.iter().zip(counts) {
            for (name, &(object, size)) in &part.names[count] {
                let mut bytes = vec![0; size as usize];
                for v in script.objects[object as usize].versions.iter().filter(|v| v.op < count) {
                    let range = v.range.start.min(size)..v.range.end.min(size);
                    let new = match v.fill {
                        Fill::Pattern(op) => words(object, op, range.clone()),
                        _ => vec![0; (range.end - range.start) as usize],
                    };
                    bytes[range.start as usize..range.end as usize].copy_from_slice(&new);
                }
                out.insert(name.clone(), (u64::from(object), bytes));
            }
        }
        Self(out)
    }
}

impl View for Plain {
    fn list(&mut self) -> Result<Vec<(String, u64, u64)>, String> {
        Ok(self.0.iter().map(|(n, (id, bytes))| (n.clone(), bytes.len() as u64, *id)).collect())
    }
    fn read(&mut self, name: &str, _: u64) -> Result<Vec<u8>, String> {
        Ok(self.0[name].1.clone())
    }
}

/// The marks of a run in which one thread after the other does its operations.
fn serial(script: &Script) -> Vec<u64> {
    let part =
        |t: usize| (0..script.parts[t].ops.len()).flat_map(move |i| [label(t, i, false), label(t, i, true)]);
    (0..script.parts.len()).flat_map(part).collect()
}

fn oracle(script: &Script) -> Oracle {
    let ids: HashMap<u16, u64> = (0..script.objects.len() as u16).map(|o| (o, u64::from(o))).collect();
    Oracle::new(script.clone(), &serial(script), ids, true)
}

fn small() -> Script {
    let mut script = Script::empty(1);
    script.push(0, Op::Create(0, "t0.a".into()));
    script.push(0, Op::Write(0, 0, 6000));
    script.push(0, Op::Sync(0));
    script.push(0, Op::SetLen(0, 100));
    script.push(0, Op::SetLen(0, 200));
    script
}

#[test]
fn every_prefix_since_the_last_sync_is_lawful_and_none_before() {
    for seed in 0..40 {
        let shape = Shape { threads: 1, ops: 60, objects: 4, pages: 6, sync_every: 6, batch_every: 8 };
        let script = Script::random(shape, seed);
        let mut oracle = oracle(&script);
        let ops = &script.parts[0].ops;
        let mut synced = 0;
        for (done, op) in ops.iter().enumerate() {
            match op {
                Op::Sync(_) | Op::SyncRange(..) | Op::SyncAll => synced = done,
                // A batch is durable when it returns.
                Op::Batch(_) => synced = done + 1,
                _ => {}
            }
            for count in synced..=done + 1 {
                let mut view = Plain::after(&script, &[count]);
                oracle.check(2 * done + 2, Crash::Power, &mut view).unwrap();
            }
            let mut view = Plain::after(&script, &[done + 1]);
            oracle.check(2 * done + 2, Crash::Death, &mut view).unwrap();
        }
    }
}

#[test]
fn half_a_batch_is_named_and_a_lost_one() {
    let mut script = small();
    script.push(0, Op::Batch(vec![(0, 0, 64), (0, 128, 64)]));
    let (none, all) = (Plain::after(&script, &[5]), Plain::after(&script, &[6]));
    let mut half = none.clone();
    half.0.get_mut("t0.a").unwrap().1[..64].copy_from_slice(&words(0, 5, 0..64));
    for crash in [Crash::Power, Crash::Death] {
        for mut lawful in [none.clone(), all.clone()] {
            oracle(&script).check(11, crash, &mut lawful).expect("it has begun and not returned");
        }
        let why = oracle(&script).check(11, crash, &mut half.clone()).unwrap_err();
        assert!(why.contains("half a batch"), "{why}");
        oracle(&script).check(12, crash, &mut all.clone()).expect("it has returned");
        for mut unlawful in [none.clone(), half.clone()] {
            oracle(&script).check(12, crash, &mut unlawful).expect_err("it has returned");
        }
    }
}

#[test]
fn a_lost_name_is_named() {
    let script = small();
    let mut view = Plain::after(&script, &[0]);
    let why = oracle(&script).check(6, Crash::Power, &mut view).unwrap_err();
    assert!(why.contains("fit no state"), "{why}");
    oracle(&script).check(5, Crash::Power, &mut view).expect("not yet acknowledged");
    oracle(&script).check(4, Crash::Death, &mut view).expect_err("it had returned");
}

#[test]
fn lost_foreign_and_misplaced_bytes_are_named() {
    let script = small();
    for (damage, word) in [([0; 8], "shows zeros"), ([0x77; 8], "FOREIGN")] {
        let mut view = Plain::after(&script, &[2]);
        view.0.get_mut("t0.a").unwrap().1[4096..4104].copy_from_slice(&damage);
        let why = oracle(&script).check(6, Crash::Power, &mut view).unwrap_err();
        assert!(why.contains("0x1000") && why.contains(word), "{why}");
    }
    let mut view = Plain::after(&script, &[2]);
    view.0.get_mut("t0.a").unwrap().1.swap(0, 8);
    oracle(&script).check(6, Crash::Power, &mut view).expect_err("bytes of another offset");
}

#[test]
fn truncated_bytes_do_not_come_back() {
    let script = small();
    let mut view = Plain::after(&script, &[5]);
    oracle(&script).check(10, Crash::Power, &mut view).unwrap();
    view.0.get_mut("t0.a").unwrap().1[104..112].copy_from_slice(&words(0, 1, 104..112));
    let why = oracle(&script).check(10, Crash::Power, &mut view).unwrap_err();
    assert!(why.contains("its own"), "{why}");
}

#[test]
fn what_one_thread_shows_binds_the_others() {
    let mut script = Script::empty(2);
    script.push(0, Op::Create(0, "t0.a".into()));
    script.push(1, Op::Create(1, "t1.a".into()));
    // Thread 1 began after thread 0 had returned. Its object without the other one is no prefix of the log.
    let mut oracle = oracle(&script);
    oracle.check(4, Crash::Power, &mut Plain::after(&script, &[1, 0])).unwrap();
    oracle.check(4, Crash::Power, &mut Plain::after(&script, &[1, 1])).unwrap();
    oracle.check(4, Crash::Power, &mut Plain::after(&script, &[0, 1])).expect_err("not a prefix");
}
