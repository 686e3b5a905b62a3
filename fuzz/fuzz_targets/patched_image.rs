//! A valid region with words overwritten anywhere: opening, checking and using it gives errors, never undefined
//! behaviour, a panic or a hang.
//!
//! Input: groups of ten bytes, a word number (u16, little-endian, scaled over the image) and the word's new value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagestone::store::{Options, Store};
use std::sync::OnceLock;

fn valid_image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("pagestone-fuzz-{}", std::process::id()));
        let store = Options::new().create(true).log_frames(4).open(&directory).expect("a fresh region");
        for n in 0..5 {
            let object = store.create(format!("object {n}")).expect("a fresh name");
            object.write_at(n * 9000, &[n as u8 + 1; 5000]).expect("room");
        }
        store.sync().expect("a working disk");
        drop(store);
        let bytes = std::fs::read(&directory).expect("the region's file");
        std::fs::remove_file(&directory).expect("the region's file");
        bytes
    })
}

fuzz_target!(|patches: &[u8]| {
    let mut image = valid_image().to_vec();
    let words = image.len() / 8;
    for patch in patches.chunks_exact(10) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) * words / 65536 * 8;
        image[at..at + 8].copy_from_slice(&patch[2..]);
    }
    let Ok(store) = Options::new().open_image(image) else { return };
    let _ = store.check();
    let _ = operate(&store);
});

fn operate(store: &Store) -> pagestone::Result {
    let mut buffer = [0; 6000];
    for entry in store.list()?.into_iter().take(16) {
        let object = store.open(&entry.name)?;
        let _ = object.read_at(entry.len.saturating_sub(3000), &mut buffer);
        let _ = object.write_at(100, &buffer);
        let _ = object.set_len(4000);
        let _ = store.unlink(&entry.name);
    }
    store.create("new")?.append(&buffer)?;
    store.sync()
}
