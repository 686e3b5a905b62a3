//! Failures as `make oracle` printed them. Those of the engine were mended since. In one a rule is broken on purpose: it
//! shows that printed tests compile and fail.

use pagestone_tests::oracle::prelude::*;

#[test]
fn a_full_region_takes_a_punch() {
    use Op::*;
    use Step::*;
    let case = Case::Alone(
        Setup {
            medium: Medium::Image,
            class: Durability::CacheLine,
            recorded: true,
            frames_max: Some(130),
            broken: None,
        },
        vec![Fill { object: 0 }, Do(Punch(0, 0, 4097))],
    );
    replay(&case).unwrap();
}

#[test]
fn a_full_region_takes_a_cut_of_a_pinned_page() {
    use Op::*;
    use Step::*;
    let case = Case::Alone(
        Setup {
            medium: Medium::Image,
            class: Durability::CacheLine,
            recorded: true,
            frames_max: Some(130),
            broken: None,
        },
        vec![PinMut { object: 0, page: 23 }, Fill { object: 0 }, Do(SetLen(0, 0))],
    );
    replay(&case).unwrap();
}

#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn found_by_the_oracle() {
    let mut ground = Ground::new(Setup {
        medium: Medium::Image,
        class: Durability::Fdatasync,
        recorded: true,
        frames_max: None,
        broken: Some(Rule::GrowthTail),
    });
    let store = ground.open().unwrap();
    let o1 = store.create(name(0, 0)).unwrap();
    o1.append(&bytes(0, 8569)).unwrap();
    o1.set_len(1).unwrap();
    o1.write_at(2, &bytes(0, 1)).unwrap();
    assert_eq!(byte(&o1, 1), 0x00); // it shows 0x08; 1 bytes in a row differ
}
