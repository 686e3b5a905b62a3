//! Steps on names.

use super::hands::Hands;
use super::objects::Uid;
use super::outcome::{Got, Kind, Verdict, ensure};
use super::scene::Scene;
use pagestone::Error;

impl Hands {
    pub(super) fn create(&mut self, scene: &Scene<'_>, n: u8) -> Verdict<Option<Uid>> {
        let expected = Self::bad(n).or(self.named(n).map(|_| Kind::Exists));
        let (var, spelled) = (self.code.variable('o'), self.spell(n));
        self.code.line(|| format!("let {var} = store.create({spelled})"));
        let got = scene.judge(&self.code, scene.store.create(self.name(n)), expected)?;
        self.note(&got);
        match got {
            Got::Done(object) => {
                let uid = self.model.create(n);
                self.keep(var, object, uid);
                Ok(Some(uid))
            }
            Got::Broken if expected.is_none() => {
                self.model.create(n);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn open(&mut self, scene: &Scene<'_>, n: u8) -> Verdict<Option<Uid>> {
        let known = self.named(n);
        let expected = Self::bad(n).or(known.is_none().then_some(Kind::NotFound));
        let (var, spelled) = (self.code.variable('o'), self.spell(n));
        self.code.line(|| format!("let {var} = store.open({spelled})"));
        let got = scene.judge(&self.code, scene.store.open(self.name(n)), expected)?;
        self.note(&got);
        if let (Got::Done(object), Some(uid)) = (got, known) {
            self.keep(var, object, uid);
            return Ok(Some(uid));
        }
        Ok(None)
    }

    pub(super) fn open_or_create(&mut self, scene: &Scene<'_>, n: u8) -> Verdict<Option<Uid>> {
        let (var, spelled) = (self.code.variable('o'), self.spell(n));
        self.code.line(|| format!("let {var} = store.open_or_create({spelled})"));
        let got = scene.judge(&self.code, scene.store.open_or_create(self.name(n)), Self::bad(n))?;
        self.note(&got);
        match got {
            Got::Done(object) => {
                let uid = self.named(n).unwrap_or_else(|| self.model.create(n));
                self.keep(var, object, uid);
                Ok(Some(uid))
            }
            Got::Broken if Self::bad(n).is_none() && self.named(n).is_none() => {
                self.model.create(n);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn exists(&mut self, scene: &Scene<'_>, n: u8) -> Verdict<Option<Uid>> {
        let spelled = self.spell(n);
        self.code.line(|| format!("store.exists({spelled})"));
        let got = scene.judge(&self.code, scene.store.exists(self.name(n)), Self::bad(n))?;
        self.note(&got);
        if let Got::Done(len) = got {
            let known = self.named(n).map(|uid| self.model.get(uid).content.len);
            ensure(len == known, || format!("exists says {len:?}, it should say {known:?}"))?;
        }
        Ok(None)
    }

    pub(super) fn rename(&mut self, scene: &Scene<'_>, from: u8, to: u8) -> Verdict<Option<Uid>> {
        let known = self.named(from);
        let bad = Self::bad(from).or(Self::bad(to));
        let expected = bad.or(known.is_none().then_some(Kind::NotFound));
        let replaced = self.named(to).filter(|_| expected.is_none() && from != to);
        replaced.into_iter().for_each(|uid| self.unlatch_object(uid));
        let (old, new) = (self.spell(from), self.spell(to));
        self.code.line(|| format!("store.rename({old}, {new})"));
        let got = scene.judge(&self.code, scene.store.rename(self.name(from), self.name(to)), expected)?;
        self.note(&got);
        if matches!(got, Got::Done(()) | Got::Broken) && expected.is_none() && from != to {
            self.lingering = 0;
            self.model.unname(to);
            if let Some(uid) = self.model.names.remove(&from) {
                self.model.names.insert(to, uid);
            }
            replaced.into_iter().for_each(|uid| self.bury_if_gone(uid));
        }
        Ok(known)
    }

    pub(super) fn unlink(&mut self, scene: &Scene<'_>, n: u8) -> Verdict<Option<Uid>> {
        let known = self.named(n);
        let expected = Self::bad(n).or(known.is_none().then_some(Kind::NotFound));
        known.into_iter().for_each(|uid| self.unlatch_object(uid));
        let spelled = self.spell(n);
        self.code.line(|| format!("store.unlink({spelled})"));
        let got = scene.judge(&self.code, scene.store.unlink(self.name(n)), expected)?;
        self.note(&got);
        if matches!(got, Got::Done(()) | Got::Broken) && expected.is_none() {
            self.lingering = 0;
            self.model.unname(n);
            known.into_iter().for_each(|uid| self.bury_if_gone(uid));
        }
        Ok(known)
    }

    /// Compares the names that the store lists for this thread.
    ///
    /// # Errors
    /// When a name, a length or a number differs.
    pub fn compare_names(&self, entries: &[pagestone::store::Entry]) -> Verdict {
        for (&n, uid) in &self.model.names {
            let object = &self.model.all[uid];
            let entry = entries.iter().find(|entry| entry.name == self.name(n));
            let Some(entry) = entry else { return Err(format!("{} is not listed", self.spell(n))) };
            ensure(
                entry.len == object.content.len
                    && object.id.is_none_or(|id| id == entry.id)
                    && entry.kind == 1,
                || {
                    format!(
                        "{}: listed {entry:?}, model {} {:?}",
                        self.spell(n),
                        object.content.len,
                        object.id
                    )
                },
            )?;
        }
        Ok(())
    }

    /// Whether the result is the error for a change to a store that was opened to be read.
    #[must_use]
    pub fn is_read_only<T>(result: &pagestone::Result<T>) -> bool {
        matches!(result, Err(Error::ReadOnly))
    }
}
