//! Only `persist` makes bytes durable.

use crate::tree::Tree;
use crate::unsafety::has_word;

/// Words that flush, fence, or make a file durable.
const FORBIDDEN: &[&str] = &[
    "_mm_clflush",
    "_mm_clflushopt",
    "_mm_clwb",
    "_mm_sfence",
    "_mm_mfence",
    "_mm_stream_si64",
    "_mm_stream_si128",
    "_mm256_stream_si256",
    "_mm512_stream_si512",
    "asm",
    "fdatasync",
    "fsync",
    "sync_data",
    "sync_all",
    "pwritev2",
    "RWF_DSYNC",
    "msync",
];

/// Engine code outside `persist` that uses one of these words.
pub fn problems(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for source in &tree.sources {
        let Some(module) = source.engine_module().filter(|m| *m != "persist") else { continue };
        for (number, line) in source.numbered_before_tests() {
            let word = FORBIDDEN.iter().find(|w| has_word(&line.code, w));
            if let Some(word) = word {
                problems.push(format!(
                    "{}:{number}: `{word}` in `{module}`: only persist does that",
                    source.path
                ));
            }
        }
    }
    problems
}

#[test]
fn a_flush_past_the_door_is_found() {
    let of = |path, text| problems(&Tree::of(path, text));
    assert_eq!(of("engine/src/media/x.rs", "libc::fdatasync(fd)").len(), 1);
    assert_eq!(of("engine/src/region/x.rs", "_mm_sfence()").len(), 1);
    assert_eq!(of("engine/src/persist/x.rs", "_mm_sfence()"), [""; 0]);
    assert_eq!(of("engine/src/region/x.rs", "persist.sync_file() // one fdatasync"), [""; 0]);
}
