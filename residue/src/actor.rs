//! A thread with a stack of its own that lives as long as the process: what a job leaves on it stays there to be found.

use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// What a job leaves lies at least so far below what the thread does between jobs, which would overwrite it.
const DEPTH: usize = 64 << 10;
const STACK_LEN: usize = 1 << 20;

type Job<S> = Box<dyn FnOnce(&mut Option<Box<S>>) + Send>;

/// A thread that owns a value and works on it.
pub struct Actor<S> {
    jobs: Sender<Job<S>>,
    is_deep: bool,
    /// An address on its stack.
    pub stack: usize,
}

impl<S: 'static> Actor<S> {
    /// Starts the thread; it has no value yet. If it `is_deep`, it works on it far deeper than it drops it.
    pub fn start(is_deep: bool) -> Self {
        let (jobs, todo) = channel::<Job<S>>();
        let (tell, told) = channel();
        let run = move || {
            let here = 0u8;
            tell.send((&raw const here).addr()).expect("somebody asks");
            let mut state = None;
            while let Ok(job) = todo.recv() {
                deep(job, &mut state);
            }
        };
        thread::Builder::new().stack_size(STACK_LEN).spawn(run).expect("there is memory");
        Self { jobs, is_deep, stack: told.recv().expect("the thread runs") }
    }

    /// Makes the value, or takes another.
    pub fn begin(&self, make: impl FnOnce() -> S + Send + 'static) {
        self.job(self.is_deep, move |state| *state = Some(Box::new(make())));
    }

    /// Does something with the value.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut S) -> T + Send + 'static) -> T {
        self.job(self.is_deep, move |state| work(state.as_mut().expect("it has begun")))
    }

    /// Drops the value.
    pub fn end(&self) {
        self.job(false, |state| *state = None);
    }

    fn job<T: Send + 'static>(
        &self,
        is_deep: bool,
        work: impl FnOnce(&mut Option<Box<S>>) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = channel();
        let job: Job<S> = Box::new(move |state| tell.send(work(state)).expect("somebody waits"));
        let job = if is_deep { Box::new(move |state: &mut _| deep(job, state)) } else { job };
        self.jobs.send(job).expect("the thread runs");
        told.recv().expect("the job has run")
    }
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "to stand far below what runs is its purpose")]
fn deep<S>(job: Job<S>, state: &mut Option<Box<S>>) {
    let below = black_box([0u8; DEPTH]);
    job(state);
    black_box(&below);
}
