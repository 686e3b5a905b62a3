//! From a wrong crash image to the one that lost the least and is still wrong.

use crate::explore::{Judge, Scene};
use std::ops::Range;

/// Open cells up to which an image is shrunk cell by cell.
const CELLS_SHRUNK: usize = 256;

/// The least loss that is still wrong. Lost stores are given back as long as the judge objects: frame by frame, then cell
/// by cell if there are few.
pub(crate) fn least(
    scene: &Scene<'_>,
    image: &mut [u8],
    mut pick: Vec<u32>,
    mut why: String,
    judge: &mut dyn Judge,
) -> (Vec<u32>, String) {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (i, cell) in scene.open.iter().enumerate() {
        match groups.last_mut() {
            Some(frame) if scene.open[frame.start].offset / 4096 == cell.offset / 4096 => frame.end = i + 1,
            _ => groups.push(i..i + 1),
        }
    }
    if scene.open.len() <= CELLS_SHRUNK {
        groups.extend((0..scene.open.len()).map(|i| i..i + 1));
    }
    for group in groups {
        let mut milder = pick.clone();
        group.for_each(|i| milder[i] = scene.open[i].stores);
        if milder == pick {
            continue;
        }
        if let Err(still) = scene.show(image, &milder, |state, _| judge.judge(state)) {
            (pick, why) = (milder, still);
        }
    }
    (pick, why)
}
