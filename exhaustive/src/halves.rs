//! The states that one half was ever in, each once, and what each input leads to from there. The real code runs once for
//! every pair of a state and an input; the exploration of both halves together then only looks things up.
//!
//! That is exact: a half is a function of its state and its input, since time and randomness are part of both.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use crate::catalog::Catalog;
use crate::device::{self, DeviceState, Step};
use crate::emit::{Emit, fingerprint};
use crate::intern::{QuickBuild, number};
use crate::server::{self, ServerState};

/// Something that takes inputs, one step each.
pub trait Half: Hash + Sized {
    /// An input.
    type Input: Copy + Eq + Hash;

    /// What it leads to; nothing where it cannot happen or says nothing new.
    fn take(&self, input: Self::Input, catalog: &mut Catalog) -> Step<Self>;
}

impl Half for DeviceState {
    type Input = device::Input;

    fn take(&self, input: device::Input, catalog: &mut Catalog) -> Step<Self> {
        self.step(input, catalog)
    }
}

impl Half for ServerState {
    type Input = server::Input;

    fn take(&self, input: server::Input, catalog: &mut Catalog) -> Step<Self> {
        self.step(input, catalog)
    }
}

/// Where a step leads, and what it brings about.
pub type Next = Option<(u32, Rc<[Emit]>)>;

/// The states of one half.
pub struct Halves<S: Half> {
    ids: HashMap<u128, u32, QuickBuild>,
    states: Vec<S>,
    steps: HashMap<(u32, S::Input), Next, QuickBuild>,
}

impl<S: Half> Halves<S> {
    /// None yet.
    pub fn new() -> Self {
        Self { ids: HashMap::default(), states: Vec::new(), steps: HashMap::default() }
    }

    /// The number of a state.
    pub fn id(&mut self, state: S) -> u32 {
        let next = number(self.states.len());
        let id = *self.ids.entry(fingerprint(&state)).or_insert(next);
        if id == next {
            self.states.push(state);
        }
        id
    }

    /// The state with this number.
    pub fn state(&self, id: u32) -> &S {
        &self.states[id as usize]
    }

    /// What `input` leads to.
    pub fn step(&mut self, id: u32, input: S::Input, catalog: &mut Catalog) -> Next {
        if let Some(next) = self.steps.get(&(id, input)) {
            return next.clone();
        }
        let next = self.states[id as usize].take(input, catalog);
        let next = next.map(|(state, emits)| (self.id(state), emits.into()));
        self.steps.insert((id, input), next.clone());
        next
    }

    /// How many states there are.
    pub const fn len(&self) -> usize {
        self.states.len()
    }

    /// How often the real code ran.
    pub fn runs(&self) -> usize {
        self.steps.len()
    }
}
