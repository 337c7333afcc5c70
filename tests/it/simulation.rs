//! Anything that agencies, operators, endpoints, clocks and disks do, in any order; and what is promised
//! whatever they do.
//!
//! A case is a list of steps, each perhaps with a fault at its first write. The gateway is the real one on
//! its real store, without doors and without a clock; endpoints are reached over real mutual TLS. After
//! each step every new entry in the log must be explained by the step, and everything stored must stand as
//! a model of plain maps has it, which knows only what agencies were answered and what the entries say.
//! In the end whatever is queued is delivered or comes back within five days.
//!
//! `SIMULATION_CASES` says how many cases. A failure says its seed, and is shrunk to the fewest steps that
//! fail; `SIMULATION_SEED` repeats it, but for ids and for how long the worker waits between attempts.

mod model;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use crate::support::endpoint::Behaviour;
use crate::support::faulty_store::{Defect, Fault};
use crate::support::{TestGateway, case};
use world::World;

/// What somebody does. Numbers choose among what there is when it is done.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The hub asks: the bits say whom.
    Ask(u8),
    /// Somebody says something in an exchange: a party that may, or another.
    Say { exchange: u8, what: Said, by: By },
    /// Something is sent again: as it was, or another body under its key.
    SendAgain { which: u8, is_altered: bool },
    /// Somebody collects a message.
    Collect { message: u8, by: By },
    /// Somebody says a message is in its own record.
    Save { message: u8, by: By },
    /// The worker does what is due; perhaps another process beside it does too.
    Deliver { is_twice: bool },
    /// The endpoints behave so from now on.
    Endpoints(Behaviour),
    /// An operator has a returned message delivered again.
    Retry(u8),
    /// An operator gives a queued message up.
    GiveUp(u8),
    /// An agency's certificates are revoked.
    Revoke(u8),
    /// An agency renews its certificate.
    Renew(u8),
    /// An operator issues an agency a certificate.
    Issue(u8),
    /// The gateway stops and starts.
    Restart,
    /// So many seconds pass.
    Wait(u32),
    /// The database is backed up.
    BackUp,
    /// The last backup is put back, if nothing is lost by it.
    Restore,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    WillReply,
    WillNotReply,
    Partial,
    Response,
    Supplement,
    Outcome,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    /// Whoever may.
    Party,
    /// Somebody else: the next agency in the directory.
    Other,
}

/// Something done, with what goes wrong at its first write that can.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) fault: Option<Fault>,
    /// Whether an agency that got no answer asks again; if not, it never learns what became of it.
    pub(crate) asks_again: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let by = || prop_oneof![9 => Just(By::Party), 1 => Just(By::Other)];
    let said = prop_oneof![
        1 => Just(Said::WillReply),
        1 => Just(Said::WillNotReply),
        2 => Just(Said::Partial),
        3 => Just(Said::Response),
        1 => Just(Said::Supplement),
        1 => Just(Said::Outcome),
    ];
    let endpoints = prop_oneof![
        3 => Just(Behaviour::Take),
        2 => Just(Behaviour::AreDown),
        1 => Just(Behaviour::AreBusy),
        1 => Just(Behaviour::TakeAndFail),
        1 => Just(Behaviour::TakeAndVanish),
        1 => Just(Behaviour::Refuse),
    ];
    let say = (any::<u8>(), said, by());
    let wait = prop_oneof![1..120_u32, 600..7_200_u32, 80_000..450_000_u32];
    let op = prop_oneof![
        16 => (1..8_u8).prop_map(Op::Ask),
        16 => say.prop_map(|(exchange, what, by)| Op::Say { exchange, what, by }),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(which, is_altered)| Op::SendAgain { which, is_altered }),
        12 => (any::<u8>(), by()).prop_map(|(message, by)| Op::Collect { message, by }),
        8 => (any::<u8>(), by()).prop_map(|(message, by)| Op::Save { message, by }),
        16 => prop::bool::weighted(0.15).prop_map(|is_twice| Op::Deliver { is_twice }),
        8 => endpoints.prop_map(Op::Endpoints),
        6 => any::<u8>().prop_map(Op::Retry),
        3 => any::<u8>().prop_map(Op::GiveUp),
        1 => any::<u8>().prop_map(Op::Revoke),
        1 => any::<u8>().prop_map(Op::Renew),
        1 => any::<u8>().prop_map(Op::Issue),
        4 => Just(Op::Restart),
        10 => wait.prop_map(Op::Wait),
        1 => Just(Op::BackUp),
        1 => Just(Op::Restore),
    ];
    let fault = prop::option::weighted(0.15, prop::sample::select(&Fault::ALL[..]));
    (op, fault, any::<bool>()).prop_map(|(op, fault, asks_again)| Step { op, fault, asks_again })
}

/// What was tried.
#[derive(Default)]
struct Tried {
    steps: usize,
    faults: usize,
    pushes: usize,
    /// How often what was logged.
    events: BTreeMap<String, usize>,
}

impl Tried {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.pushes += other.pushes;
        for (event, count) in &other.events {
            *self.events.entry(event.clone()).or_default() += count;
        }
    }
}

/// Cases, made from a seed.
struct Simulation {
    gateway: TestGateway,
    runtime: Runtime,
    seed: u64,
    cases: u32,
}

impl Simulation {
    fn new(cases: u32) -> Self {
        let seed = match std::env::var("SIMULATION_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
        };
        let runtime = Runtime::new().unwrap();
        Self { gateway: TestGateway::made(&case::partners(&[])), runtime, seed, cases }
    }

    /// Runs the cases; returns the fewest steps that fail and why, if any do.
    fn run(&self, defect: Option<Defect>) -> Result<Tried, (Vec<Step>, String)> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        let config = Config {
            cases: self.cases,
            failure_persistence: None,
            max_shrink_iters: 400,
            ..Config::default()
        };
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(config, random);
        let tried = RefCell::new(Tried::default());
        let home = self.gateway.home();
        let ran = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
            let case = async {
                let mut world = World::new(&home, defect).await;
                let ended = world.live(&steps).await;
                (ended, world.end().await)
            };
            let (ended, done) = self.runtime.block_on(case);
            tried.borrow_mut().add(&done);
            ended.map_err(TestCaseError::fail)
        });
        match ran {
            Ok(()) => Ok(tried.into_inner()),
            Err(TestError::Fail(why, steps)) => Err((steps, why.to_string())),
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    }
}

#[test]
fn what_is_promised_holds_whatever_happens() {
    let cases = std::env::var("SIMULATION_CASES").map_or(CASES, |text| text.parse().unwrap());
    let simulation = Simulation::new(cases);
    let begun = tokio::time::Instant::now();
    match simulation.run(None) {
        Ok(Tried { steps, faults, pushes, events }) => {
            let (seed, took_s) = (simulation.seed, begun.elapsed().as_secs_f64());
            println!("seed {seed}: {cases} cases, {steps} steps, {faults} faults, {pushes} pushes");
            println!("{took_s:.1} s; logged: {events:?}");
        }
        Err((steps, why)) => {
            panic!("SIMULATION_SEED={} fails: {why}\nsteps: {steps:#?}", simulation.seed)
        }
    }
}

/// Each defect is found, and the failure is short enough to be read.
#[test]
fn a_broken_promise_is_found() {
    let mut few = 0;
    for defect in Defect::ALL {
        let simulation = Simulation::new(60);
        let Err((steps, why)) = simulation.run(Some(defect)) else {
            panic!("SIMULATION_SEED={}: {defect:?} was not found", simulation.seed)
        };
        println!("{defect:?}: {why}\n{steps:?}\n");
        few += usize::from(steps.len() <= 8);
    }
    // What depends on when something happens cannot always be made shorter.
    assert!(few * 2 > Defect::ALL.len(), "failures are not shrunk: {few} of them");
}

/// As many as take some seconds.
const CASES: u32 = 64;
