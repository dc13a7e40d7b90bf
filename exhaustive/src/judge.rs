//! The properties that span both halves: what became of each payload, told from the outside. SPEC sections 2.2 and 9.

use moteseal::device::Outcome;

use crate::catalog::{Name, Payload, Way};
use crate::device::word;
use crate::emit::Emit;

/// Payloads of each way that are told apart.
pub const PAYLOADS: usize = 8;

/// What became of one payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Fate {
    name: Option<Name>,
    delivered: bool,
    word: Option<Outcome>,
}

/// What became of every payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fates([[Fate; PAYLOADS]; 2]);

impl Fates {
    fn of(&mut self, payload: Payload) -> &mut Fate {
        &mut self.0[usize::from(payload.way == Way::Down)][usize::from(payload.index) % PAYLOADS]
    }

    /// Takes note of one effect of the half that receives what goes `way`.
    ///
    /// # Errors
    /// What is broken.
    pub fn note(&mut self, emit: &Emit, way: Way, names_repeat: bool) -> Result<(), String> {
        match emit {
            Emit::Broken(what) => Err(what.clone()),
            Emit::Named(payload, name) => self.named(*payload, *name, names_repeat),
            Emit::Delivered(payload, name) => {
                let fate = self.of(*payload);
                if payload.way != way || fate.name != Some(*name) {
                    return Err(format!(
                        "P1: {payload:?} was delivered as {name:?}, and sent as {:?}",
                        fate.name
                    ));
                }
                if std::mem::replace(&mut fate.delivered, true) {
                    return Err(format!("P2: {payload:?} was delivered twice"));
                }
                let same_name = |fate: &&Fate| fate.delivered && fate.name == Some(*name);
                if self.0[usize::from(way == Way::Down)].iter().filter(same_name).count() > 1 {
                    return Err(format!("M-105: two payloads were delivered under the name {name:?}"));
                }
                Ok(())
            }
            Emit::Told(payload, outcome) => self.told(*payload, *outcome),
            Emit::Restored => {
                // M-82, M-109: the queue of the backup does not know what was told since.
                self.0[1].iter_mut().for_each(|fate| fate.word = None);
                Ok(())
            }
            Emit::Sent(_) | Emit::Sealed(_) | Emit::Heard | Emit::Note(_) => Ok(()),
        }
    }

    fn named(&mut self, payload: Payload, name: Name, names_repeat: bool) -> Result<(), String> {
        let fate = self.of(payload);
        if fate.name.is_some_and(|other| other != name) {
            return Err(format!("M-95: {payload:?} was sealed twice"));
        }
        fate.name = Some(name);
        let way = &self.0[usize::from(payload.way == Way::Down)];
        let others = way.iter().filter(|fate| fate.name == Some(name)).count();
        if others > 1 && !names_repeat {
            return Err(format!("M-32, M-105: two payloads have the name {name:?}"));
        }
        Ok(())
    }

    fn told(&mut self, payload: Payload, outcome: Outcome) -> Result<(), String> {
        let fate = self.of(payload);
        if fate.word.is_some() {
            return Err(format!("M-102: {payload:?} has a second word, {}", word(outcome)));
        }
        fate.word = Some(outcome);
        let true_word = match outcome {
            Outcome::Acknowledged => fate.delivered,
            Outcome::Unsent => fate.name.is_none(),
            Outcome::Unknown => true,
        };
        if true_word {
            Ok(())
        } else {
            Err(format!("M-102: {payload:?} is told as {}, and is not", word(outcome)))
        }
    }
}
