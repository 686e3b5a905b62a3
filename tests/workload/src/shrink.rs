//! Shrinks a failing list to a short one that still fails: parts are left out, first many at once, then one by one.

use std::time::{Duration, Instant};

/// A shrunk failure.
#[derive(Clone, Debug)]
pub struct Small<T> {
    /// What is left of the list.
    pub list: Vec<T>,
    /// The story of its failure.
    pub story: String,
    /// The number of runs that it took.
    pub runs: u32,
}

/// Shrinks `list`, whose failure is `story`, while there is time. `fails` runs a shorter list. If that fails, it returns
/// the new story and the part that was run: items that make no sense without the missing ones are left out too.
pub fn shrink<T: Clone>(
    list: Vec<T>,
    story: String,
    time: Duration,
    mut fails: impl FnMut(&[T]) -> Option<(Vec<T>, String)>,
) -> Small<T> {
    let end = Instant::now() + time;
    let mut size = list.len().div_ceil(2);
    let mut small = Small { list, story, runs: 0 };
    while size > 0 && Instant::now() < end {
        let (mut at, mut shrunk) = (0, false);
        // From the end: the last items are needed least often.
        while at < small.list.len() && Instant::now() < end {
            let to = small.list.len() - at;
            let mut fewer = small.list.clone();
            fewer.drain(to.saturating_sub(size)..to);
            small.runs += 1;
            match fails(&fewer) {
                Some(failure) => ((small.list, small.story), shrunk) = (failure, true),
                None => at += size,
            }
        }
        if !shrunk || size > 1 {
            size /= 2;
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_does_not_need_goes() {
        let needs = |list: &[u32]| {
            let first = list.iter().position(|&n| n == 7)?;
            let second = list.iter().rposition(|&n| n == 70)?;
            (first < second).then(|| (list.to_vec(), "7, then 70".to_owned()))
        };
        let small = shrink((0..100).collect(), String::new(), Duration::from_secs(20), needs);
        assert_eq!((small.list, &*small.story), (vec![7, 70], "7, then 70"));
    }

    #[test]
    fn what_makes_no_sense_without_the_rest_goes_with_it() {
        // Odd numbers need the even one before them.
        let run = |list: &[u32]| {
            let sense = |n: &&u32| **n % 2 == 0 || list.contains(&(**n - 1));
            let list: Vec<_> = list.iter().filter(sense).copied().collect();
            list.contains(&51).then(|| (list, String::new()))
        };
        let small = shrink((0..100).collect(), String::new(), Duration::from_secs(20), run);
        assert_eq!(small.list, [50, 51]);
    }
}
