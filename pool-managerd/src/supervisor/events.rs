//! Where a worker can stand, what its state machine hears, and what it says.

use std::time::Duration;

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its engine is being fetched or built.
    Provisioning,
    /// Model, devices and memory are being checked.
    Preflight,
    /// Its process has been started and does not answer yet.
    Starting,
    /// Its model is loading.
    Preloading,
    /// It is being tested.
    SelfTest,
    /// It takes work.
    Ready,
    /// It is being stopped.
    Draining,
    /// It failed and waits for its next start.
    BackingOff,
    /// It failed too often.
    Broken,
}

impl Phase {
    /// The states in which something can fail.
    pub(super) const fn fails(self) -> bool {
        match self {
            Self::Provisioning
            | Self::Preflight
            | Self::Starting
            | Self::Preloading
            | Self::SelfTest
            | Self::Ready => true,
            Self::Draining | Self::BackingOff | Self::Broken => false,
        }
    }

    /// What goes on in it, in words.
    pub(super) const fn work(self) -> &'static str {
        match self {
            Self::Provisioning => "getting the engine",
            Self::Preflight => "checking the model",
            Self::Starting => "starting the engine",
            Self::Preloading => "loading the model",
            Self::SelfTest => "the self-test",
            Self::Ready | Self::Draining | Self::BackingOff | Self::Broken => "this",
        }
    }
}

/// The kind of a failure; a closed set, since it stands in metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No engine could be had.
    Provisioning,
    /// Model, devices or memory are not as they must be.
    Preflight,
    /// The process ended before it was ready.
    Start,
    /// A state lasted too long.
    Timeout,
    /// The self-test failed.
    SelfTest,
    /// The process ended.
    Exit,
    /// The process does not answer.
    Hang,
}

impl FailureKind {
    /// The name in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Preflight => "preflight",
            Self::Start => "start",
            Self::Timeout => "timeout",
            Self::SelfTest => "self-test",
            Self::Exit => "exit",
            Self::Hang => "hang",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The agent stops.
    Stop,
    /// A step of an attempt tells something.
    Attempt(u64, Report),
}

/// What a step of an attempt tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// What it is doing now.
    Progress(String),
    /// The engine is there.
    Provisioned,
    /// The checks passed; loading may take this long.
    Checked {
        /// From the start of the process to Ready.
        preload: Duration,
    },
    /// The process answers, its model is loading.
    Loading,
    /// The process says that it is ready.
    Loaded,
    /// The self-test passed.
    Tested,
    /// The step failed.
    Failed(FailureKind, String),
    /// A probe of the ready worker was answered.
    Answered,
    /// A probe was not answered; `progress` tells whether the process worked meanwhile.
    Silent {
        /// It used CPU time.
        progress: bool,
    },
    /// The process and everything below it are gone, or it never came to be.
    Gone(String),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Get the engine.
    Provision,
    /// Check model, devices and memory.
    Check,
    /// Start the process and ask it until it is loaded.
    Launch,
    /// Test it.
    Test,
    /// Probe it from time to time.
    Watch,
    /// Give up the step in progress.
    Abandon,
    /// Ask the process to end.
    Terminate,
    /// Remove the process and everything below it.
    Kill,
}

/// What became of an attempt to get ready, or of a ready worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It got ready.
    Ready,
    /// It did not get ready.
    NotReady(FailureKind),
    /// It was ready and failed.
    Lost(FailureKind),
}
