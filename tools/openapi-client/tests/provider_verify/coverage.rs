//! Whether everything that is documented was visited.

use std::collections::BTreeSet;

use crate::contract::Documented;
use crate::walk::Walk;

/// Answers that cannot be provoked from outside: operation (`*` for any), status and code, and why.
const EXCUSED: [(&str, u16, &str, &str); 5] = [
    (
        "*",
        500,
        "INTERNAL",
        "a defect of the server: its own tests make a handler panic",
    ),
    ("task_read", 503, "POOL_UNAVAILABLE", STOPPED),
    ("task_stream", 503, "POOL_UNAVAILABLE", STOPPED),
    ("task_cancel", 503, "POOL_UNAVAILABLE", STOPPED),
    ("node_push", 503, "POOL_UNAVAILABLE", STOPPED),
];
const STOPPED: &str = "the scheduler ends after the last connection: only a race could show it";

/// Headers that an operation's answers need not carry: operation, status, and why.
const ABSENT: [(&str, u16, &str); 1] = [(
    "readiness",
    503,
    "nobody knows when a pool gets ready, and the document says `where that is known`",
)];

pub(crate) fn problems(walk: &Walk) -> Vec<String> {
    let documented: BTreeSet<_> = walk
        .contracts
        .iter()
        .flat_map(|contract| contract.documented())
        .collect();
    let mut problems = Vec::new();
    for missing in documented
        .difference(&walk.visited)
        .filter(|missing| !is_excused(missing))
    {
        problems.push(format!("not visited: {missing:?}"));
    }
    for excused in documented
        .iter()
        .filter(|documented| is_excused(documented))
    {
        if walk.visited.contains(excused) {
            problems.push(format!("visited, so it needs no excuse: {excused:?}"));
        }
    }
    for (operation, status, code, _) in EXCUSED {
        if !documented
            .iter()
            .any(|known| fits(known, operation, status, code))
        {
            problems.push(format!(
                "excused, but not documented: {operation} {status} {code}"
            ));
        }
    }
    problems.extend(header_problems(walk));
    for event in ["started", "token", "metrics", "end", "error"] {
        if !walk.events.contains(event) {
            problems.push(format!("no stream had the event `{event}`"));
        }
    }
    problems
}

/// Documented headers that no answer carried.
fn header_problems(walk: &Walk) -> Vec<String> {
    let mut problems = Vec::new();
    for Documented {
        document,
        operation,
        status,
        ..
    } in &walk.visited
    {
        let is_absent = |name: &str| {
            name != "x-correlation-id"
                && ABSENT
                    .iter()
                    .any(|(of, when, _)| of == operation && when == status)
        };
        for name in walk.contract(document).headers(operation, *status).keys() {
            let at = format!("{document} {operation} {status} {name}");
            if !walk.headers.contains(&at) && !is_absent(name) {
                problems.push(format!("documented, and never seen: {at}"));
            }
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

fn is_excused(documented: &Documented) -> bool {
    let mut excused = EXCUSED.iter();
    excused.any(|(operation, status, code, _)| fits(documented, operation, *status, code))
}

fn fits(documented: &Documented, operation: &str, status: u16, code: &str) -> bool {
    (operation == "*" || operation == documented.operation)
        && (status, code) == (documented.status, documented.code.as_str())
}
