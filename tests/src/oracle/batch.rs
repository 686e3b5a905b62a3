//! Steps that change several objects at once.

use super::bytes::too_far;
use super::hands::Hands;
use super::objects::Uid;
use super::outcome::{Got, Verdict};
use super::prelude::bytes;
use super::scene::Scene;
use super::tally::Event;

/// A write of a batch: the handle, the object, the place and the bytes.
type Staged = (usize, Uid, u64, Vec<u8>);

impl Hands {
    pub(super) fn batch(&mut self, scene: &Scene<'_>, parts: &[(u8, u64, u64)]) -> Verdict {
        self.unlatch_all();
        let var = self.code.variable('b');
        self.code.line(|| format!("let mut {var} = store.batch();"));
        let mut batch = scene.store.batch();
        let mut staged: Vec<Staged> = Vec::new();
        for (n, &(object, at, len)) in parts.iter().enumerate() {
            let h = usize::from(object) % self.handles.len();
            let (len, seed) = (len as usize, self.seed().wrapping_add(n as u8));
            let (handle, stored) = (&self.handles[h], bytes(seed, len));
            self.code.line(|| format!("{var}.write_at(&{}, {at}, &bytes({seed}, {len}))", handle.var));
            let result = batch.write_at(&handle.object, at, &stored);
            if let Got::Done(()) = scene.judge(&self.code, result, too_far(at, len as u64))?
                && len != 0
            {
                staged.push((h, handle.uid, at, stored));
            }
        }
        self.code.line(|| format!("{var}.commit()"));
        let got = scene.judge(&self.code, batch.commit(), None)?;
        self.note(&got);
        match got {
            Got::Done(()) => self.batched(scene, &staged, true),
            Got::Broken => self.batched(scene, &staged, false),
            Got::Full => self.batch_without_space(scene, &staged)?,
            Got::Refused => {}
        }
        // A failure of another thread may come in between: then the next comparison of everything is enough.
        if self.broken || !scene.alone {
            return Ok(());
        }
        staged.iter().try_for_each(|&(_, uid, ..)| self.look(scene, Some(uid)))
    }

    /// The model after a batch. If the batch returned, it is durable. If it failed, it may be there or not.
    fn batched(&mut self, scene: &Scene<'_>, staged: &[Staged], durable: bool) {
        if staged.is_empty() {
            return;
        }
        Event::Batched.happened();
        self.lingering = 0;
        let op = self.model.op;
        for (_, uid, at, stored) in staged {
            self.model.grow(*uid, at + stored.len() as u64);
        }
        for (_, uid, at, stored) in staged {
            let object = self.model.all.entry(*uid).or_default();
            object.content.store(*at, stored, &mut self.tokens);
            if durable {
                object.history.synced(op, *at, stored);
            } else {
                object.history.stored(op, *at, stored);
            }
        }
        if durable {
            self.model.passed(scene.recorded);
            self.model.committed();
        }
    }

    /// A batch found no space: nothing has changed, except perhaps what lies behind the ends of objects that were to grow.
    fn batch_without_space(&mut self, scene: &Scene<'_>, staged: &[Staged]) -> Verdict {
        for &(h, uid, at, ref stored) in staged {
            if at + stored.len() as u64 > self.model.get(uid).content.len {
                self.could_not_grow(scene, h)?;
            }
        }
        Ok(())
    }
}
