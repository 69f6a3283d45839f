//! Random histories: what clients, engines, agents and the clock may do.

use orchestrator_core::fleet::FullPolicy;
use proptest::prelude::*;

/// One thing that happens. Numbers are small, so that they meet again.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Submit(Submission),
    Cancel { task: u8 },
    Pool(Report),
    RemovePool { pool: u8 },
    Attempt { which: Which, news: News },
    Advance { ms: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) task: u8,
    pub(crate) batch: bool,
    pub(crate) set: u8,
    pub(crate) bytes: u64,
    /// From now; without one the default of 100 ms counts.
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) session: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) pool: u8,
    pub(crate) set: u8,
    pub(crate) capacity: usize,
    pub(crate) bytes: u64,
    pub(crate) policies: [FullPolicy; 2],
    pub(crate) replicas: Vec<ReplicaReport>,
}

#[derive(Clone, Debug)]
pub(crate) struct ReplicaReport {
    pub(crate) replica: u8,
    pub(crate) incarnation: u64,
    pub(crate) slots: u32,
    pub(crate) readiness: Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    In { ms: u64 },
    No,
}

/// The attempt that news are about: mostly one that takes a slot, at times any at all.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Known { index: usize },
    Any { task: u8, attempt: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Started,
    Progressed { tokens: u32 },
    Completed { us: u64 },
    ReplicaFault,
    Timeout,
    Rejected,
    Released,
}

pub(crate) fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any_submission().prop_map(Op::Submit),
        2 => (0_u8..24).prop_map(|task| Op::Cancel { task }),
        4 => any_report().prop_map(Op::Pool),
        1 => (0_u8..3).prop_map(|pool| Op::RemovePool { pool }),
        8 => (any_which(), any_news()).prop_map(|(which, news)| Op::Attempt { which, news }),
        3 => (0_u64..40).prop_map(|ms| Op::Advance { ms }),
    ]
}

fn any_submission() -> impl Strategy<Value = Submission> {
    let deadline = prop_oneof![3 => Just(None), 1 => (0_u64..60).prop_map(Some)];
    let session = prop::option::of(0_u8..4);
    (
        0_u8..24,
        any::<bool>(),
        0_u8..2,
        0_u64..12,
        deadline,
        session,
    )
        .prop_map(
            |(task, batch, set, bytes, deadline_ms, session)| Submission {
                task,
                batch,
                set,
                bytes,
                deadline_ms,
                session,
            },
        )
}

fn any_report() -> impl Strategy<Value = Report> {
    let policy = prop::sample::select(vec![
        FullPolicy::Reject,
        FullPolicy::DropLru,
        FullPolicy::ShedLowPriority,
    ]);
    let policies = [policy.clone(), policy];
    let replicas = prop::collection::vec(any_replica(), 0..3);
    // The set is the pool's usual one, for otherwise nothing lasts long enough to be interesting.
    let moves = prop::bool::weighted(0.1);
    (0_u8..3, moves, 0_usize..5, 0_u64..30, policies, replicas).prop_map(
        |(pool, moves, capacity, bytes, policies, replicas)| Report {
            pool,
            set: (pool / 2 + u8::from(moves)) % 2,
            capacity,
            bytes,
            policies,
            replicas,
        },
    )
}

fn any_replica() -> impl Strategy<Value = ReplicaReport> {
    let readiness = prop_oneof![
        6 => Just(Ready::Yes),
        1 => (0_u64..80).prop_map(|ms| Ready::In { ms }),
        1 => Just(Ready::No),
    ];
    let incarnation = prop_oneof![6 => Just(0_u64), 1 => 1_u64..3];
    (0_u8..2, incarnation, 0_u32..4, readiness).prop_map(
        |(replica, incarnation, slots, readiness)| ReplicaReport {
            replica,
            incarnation,
            slots,
            readiness,
        },
    )
}

fn any_which() -> impl Strategy<Value = Which> {
    prop_oneof![
        6 => (0_usize..16).prop_map(|index| Which::Known { index }),
        1 => (0_u8..24, 0_u32..4).prop_map(|(task, attempt)| Which::Any { task, attempt }),
    ]
}

fn any_news() -> impl Strategy<Value = News> {
    prop_oneof![
        3 => Just(News::Started),
        1 => (0_u32..5).prop_map(|tokens| News::Progressed { tokens }),
        3 => (1_u64..50).prop_map(|us| News::Completed { us }),
        3 => Just(News::ReplicaFault),
        1 => Just(News::Timeout),
        1 => Just(News::Rejected),
        3 => Just(News::Released),
    ]
}
