//! The region of a case's store, and what happens to it between lives.

use super::step::{Medium, Setup};
use crate::crash::life::{HOME, LOG_FRAMES, failed_lease, rebooted, snapshot};
use pagestone::media::rules::Rules;
use pagestone::persist::{FileOperation, Recorder};
use pagestone::region::Identity;
use pagestone::store::{Options, Store};
use pagestone::units::Durability;
use pagestone_explorer::Event;
use pagestone_explorer::explore::by_chance;
use pagestone_explorer::medium;
use pagestone_kit::disk::quick;
use std::path::PathBuf;
use std::sync::Arc;

/// A region through all its lives.
pub struct Ground {
    setup: Setup,
    folder: tempfile::TempDir,
    lives: u32,
    identity: Identity,
    recorder: Option<Arc<Recorder>>,
    /// What the medium may hold, if that is recorded.
    medium: Option<medium::Medium>,
}

impl Ground {
    /// A ground without a store.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let recorded = setup.recorded || setup.medium == Medium::Image;
        // The first life has the cells of the hardware. In later ones see `cell`.
        let cell = match setup.class {
            Durability::CacheLine => 64,
            _ => 512,
        };
        let medium = recorded.then(|| medium::Medium::new(&[], setup.class, cell));
        Self { setup, folder: quick(), lives: 0, identity: HOME, recorder: None, medium }
    }

    /// The file of this life.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.lives.to_string())
    }

    /// The options with which its store is opened.
    pub fn options(&self) -> Options {
        let mut options = Store::options()
            .create(true)
            .assume(self.setup.class)
            .log_frames(LOG_FRAMES)
            .identity(self.identity);
        if let Some(rule) = self.setup.broken {
            options = options.rules(Rules::default().breaking(rule));
        }
        if let Some(frames) = self.setup.frames_max {
            options = options.max_size(frames * 4096);
        }
        match &self.recorder {
            Some(recorder) => options.recorder(Arc::clone(recorder)),
            None => options,
        }
    }

    /// Opens the store, made the first time.
    ///
    /// # Errors
    /// The store's.
    pub fn open(&mut self) -> pagestone::Result<Store> {
        self.absorb();
        // Work that the last pins of a former life left is done when the next region is attached.
        let former = self.recorder.take();
        let image = self.image();
        self.recorder = self.medium.is_some().then(Recorder::new);
        let opened = match self.setup.medium {
            Medium::Memory => self.options().open_memory(1 << 20),
            Medium::Image => self.options().open_image(image),
            Medium::File => self.options().open(self.path()),
        };
        if let Some(former) = former {
            self.hear(&former.take());
        }
        self.absorb();
        opened
    }

    /// Opens the store for reading.
    ///
    /// # Errors
    /// The store's.
    pub fn open_to_read(&mut self) -> pagestone::Result<Store> {
        self.recorder = None;
        let options = self.options().create(false).read_only(true);
        match self.setup.medium {
            Medium::Image => options.open_image(self.image()),
            _ => options.open(self.path()),
        }
    }

    /// The bytes as this process sees them; none if they are not recorded.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.medium.as_ref().map_or_else(Vec::new, |medium| medium.current().0.to_vec())
    }

    /// Applies what was recorded since the last call.
    pub fn absorb(&mut self) {
        if let Some(recorder) = &self.recorder {
            let events = recorder.take();
            self.hear(&events);
        }
    }

    fn hear(&mut self, events: &[Event]) {
        if let Some(medium) = &mut self.medium {
            medium.play(events);
        }
    }

    /// Whether there can be a next life.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.setup.medium != Medium::Memory
    }

    /// Whether power can be lost, and file operations can fail.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.medium.is_some()
    }

    /// Makes the file operation of this kind fail that comes after `nth` others.
    pub fn fail_next(&self, sync: bool, nth: u64) {
        if let Some(recorder) = &self.recorder {
            let operation = if sync { FileOperation::Sync } else { FileOperation::WriteThrough };
            recorder.fail_next(operation, nth);
        }
    }

    /// The process dies now. What it does afterwards does not count: the next life begins with a copy.
    ///
    /// # Errors
    /// A store that went past the recorder, or no room for the copy.
    pub fn die(&mut self) -> Result<(), String> {
        self.absorb();
        self.recorder = None;
        if self.setup.medium == Medium::File {
            let bytes = std::fs::read(self.path()).map_err(|e| e.to_string())?;
            if let Some(medium) = &self.medium {
                compare(&bytes, medium.current().0)?;
            }
            self.begin_life(&bytes)?;
        }
        self.medium = self.medium.take().map(|medium| medium.outlive());
        Ok(())
    }

    /// The machine loses power: it leaves one of the images that are lawful now, chosen by `seed`. On a volatile medium,
    /// or where nothing is recorded, only the process dies.
    ///
    /// # Errors
    /// As [`Self::die`].
    pub fn lose_power(&mut self, seed: u64) -> Result<(), String> {
        self.absorb();
        if self.setup.class == Durability::Volatile || self.medium.is_none() {
            return self.die();
        }
        let image = self.survivors(seed);
        // Sometimes the next life opens a copy of the device on the same boot: it holds what a power loss would have left.
        self.identity = if seed % 8 == 0 { snapshot(self.identity) } else { rebooted(self.identity) };
        self.restart(image)
    }

    /// The process ends after a file operation has failed: the next opening drops what is in the page cache.
    ///
    /// # Errors
    /// As [`Self::die`].
    pub fn drop_cache(&mut self, seed: u64) -> Result<(), String> {
        self.absorb();
        let current = self.image();
        let Some(lease) = failed_lease(&current) else { return self.die() };
        let mut image = self.survivors(seed);
        image[lease.clone()].copy_from_slice(&current[lease]);
        self.restart(image)
    }

    fn restart(&mut self, image: Vec<u8>) -> Result<(), String> {
        self.recorder = None;
        self.begin_life(&image)?;
        self.medium = Some(medium::Medium::new(&image, self.setup.class, self.cell(u64::from(self.lives))));
        Ok(())
    }

    /// The bytes of a cell: in turns 8, which is harsher, or what the hardware has.
    fn cell(&self, n: u64) -> usize {
        match self.setup.class {
            _ if n % 2 == 1 => 8,
            Durability::CacheLine => 64,
            _ => 512,
        }
    }

    fn begin_life(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.lives += 1;
        match self.setup.medium {
            Medium::File => std::fs::write(self.path(), bytes).map_err(|e| e.to_string()),
            _ => Ok(()),
        }
    }

    /// One image that a power loss may leave.
    fn survivors(&self, seed: u64) -> Vec<u8> {
        self.medium.as_ref().map_or_else(Vec::new, |medium| by_chance(medium, seed))
    }
}

/// Asserts that the recorder has seen every store: its image is that of the file.
fn compare(file: &[u8], recorded: &[u8]) -> Result<(), String> {
    if file == recorded {
        return Ok(());
    }
    let at = file.iter().zip(recorded).position(|(a, b)| a != b);
    Err(format!(
        "a store went past the recorder: the file has {} bytes, the record {}; they differ at {at:x?}",
        file.len(),
        recorded.len()
    ))
}
