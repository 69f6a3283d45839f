//! Tasks: what a client can do to them, and every way to be refused.

use serde_json::{Value, json};

use crate::stage::{BODY_MAX, CONTROL_KEY, DATA_KEY, Stage, pool, task};
use crate::walk::{Ask, Body};

const D: &str = "data";

impl Stage {
    /// Every operation behind a key refuses a wrong key, and one of the other plane.
    pub(crate) async fn visit_gates(&mut self) {
        let mut gated = Vec::new();
        for contract in &self.walk.contracts {
            for documented in contract.documented() {
                let wrong = match (documented.status, documented.document) {
                    (401, _) => "a wrong key",
                    (403, "data") => CONTROL_KEY,
                    (403, _) => DATA_KEY,
                    _ => continue,
                };
                let status = (documented.status, documented.code);
                gated.push((documented.document, documented.operation, wrong, status));
            }
        }
        for (document, operation, wrong, (status, code)) in gated {
            // Operations live as long as the documents, which are read once.
            let operation = String::leak(operation);
            let ask = Ask::default().key(wrong);
            self.walk
                .visit(document, operation, ask, (status, &code))
                .await;
        }
    }

    pub(crate) async fn visit_data_plane(&mut self) {
        let first = self.visit_a_task().await;
        self.visit_bad_requests(&first).await;
        self.visit_a_hopeless_task().await;
        self.visit_bad_pools().await;
        let id = first["task_id"].as_str().unwrap().to_owned();
        let expired = (410, "STREAM_EXPIRED");
        self.until(D, "task_stream", || Ask::with("task_id", &id), expired)
            .await;
    }

    /// One task from its admission to after its end.
    async fn visit_a_task(&mut self) -> Value {
        let body = task(json!({ "task_id": "11111111-2222-4333-8444-555555555555" }));
        let admitted = self
            .walk
            .visit(D, "task_submit", Ask::json(body.clone()), (202, ""))
            .await;
        let admitted = admitted.json();
        let id = admitted["task_id"].as_str().unwrap().to_owned();
        let about = || Ask::with("task_id", &id);
        let seen = self.walk.visit(D, "task_stream", about(), (200, "")).await;
        assert!(seen.body.contains("event: end"), "{}", seen.body);
        self.walk.visit(D, "task_read", about(), (200, "")).await;
        self.walk.visit(D, "task_cancel", about(), (204, "")).await;
        // The same again is the same task.
        let again = self
            .walk
            .visit(D, "task_submit", Ask::json(body.clone()), (202, ""))
            .await;
        assert_eq!(again.json()["task_id"], admitted["task_id"]);
        body
    }

    async fn visit_bad_requests(&mut self, first: &Value) {
        let bad = (400, "INVALID_PARAMS");
        for changes in [
            json!({ "colour": 1 }),
            json!({ "max_tokens": 0 }),
            json!({ "ctx": 4096 }),
        ] {
            self.walk
                .visit(D, "task_submit", Ask::json(task(changes)), bad)
                .await;
        }
        for (id, expected) in [
            ("7", bad),
            ("%FF", bad),
            (crate::stage::NOBODY, (404, "NOT_FOUND")),
        ] {
            for operation in ["task_read", "task_stream", "task_cancel"] {
                self.walk
                    .visit(D, operation, Ask::with("task_id", id), expected)
                    .await;
            }
        }
        let id = first["task_id"].as_str().unwrap();
        let resumed = Ask::with("task_id", id).header("last-event-id", "nonsense");
        self.walk.visit(D, "task_stream", resumed, bad).await;
        let mut other = first.clone();
        other["prompt"] = json!("Something else.");
        for (body, expected) in [
            (task(json!({ "model_ref": "nobody" })), (404, "NOT_FOUND")),
            (other, (409, "CONFLICT")),
            (
                task(json!({ "prompt": "x".repeat(BODY_MAX) })),
                (413, "INVALID_PARAMS"),
            ),
        ] {
            self.walk
                .visit(D, "task_submit", Ask::json(body), expected)
                .await;
        }
        let text = Ask {
            body: Body::Raw("text/plain", task(json!({})).to_string().into_bytes()),
            ..Ask::default()
        };
        self.walk
            .visit(D, "task_submit", text, (415, "INVALID_PARAMS"))
            .await;
    }

    /// A deadline is known to be too short once the engine's speed has been measured.
    async fn visit_a_hopeless_task(&mut self) {
        for _ in 0..4 {
            let submit = Ask::json(task(json!({})));
            let admitted = self.walk.visit(D, "task_submit", submit, (202, "")).await;
            let id = admitted.json()["task_id"].as_str().unwrap().to_owned();
            self.walk
                .visit(D, "task_stream", Ask::with("task_id", id), (200, ""))
                .await;
        }
        let hasty = json!({ "deadline_ms": 1, "max_tokens": 400, "expected_tokens": 400 });
        self.walk
            .visit(
                D,
                "task_submit",
                Ask::json(task(hasty)),
                (409, "DEADLINE_UNMET"),
            )
            .await;
    }

    /// Tasks for pools that cannot run them, and one whose time runs out on the way.
    async fn visit_bad_pools(&mut self) {
        let mut unknown = pool(
            "walk-unknown",
            json!({ "phase": "preloading", "cause": "loading" }),
        );
        unknown.as_object_mut().unwrap().remove("model_digest");
        let broken = pool(
            "walk-broken",
            json!({ "phase": "broken", "cause": "it does not start" }),
        );
        let silent = self.silent_pool("walk-silent");
        let mut narrow = self.silent_pool("walk-narrow");
        narrow["queue"]["capacity"] = json!(1);
        self.push(json!([unknown, broken, silent, narrow])).await;
        // One task gets the slot, one gets the place in the queue.
        for expected in [(202, ""), (202, ""), (429, "ADMISSION_REJECT")] {
            let ask = Ask::json(task(json!({ "model_ref": "walk-narrow" })));
            self.walk.visit(D, "task_submit", ask, expected).await;
        }
        for (model, expected) in [
            ("walk-unknown", (503, "POOL_UNREADY")),
            ("walk-broken", (503, "POOL_UNAVAILABLE")),
        ] {
            let ask = Ask::json(task(json!({ "model_ref": model })));
            self.walk.visit(D, "task_submit", ask, expected).await;
        }
        let hopeless = task(json!({ "model_ref": "walk-silent", "deadline_ms": 1_500 }));
        let admitted = self
            .walk
            .visit(D, "task_submit", Ask::json(hopeless), (202, ""))
            .await;
        let id = admitted.json()["task_id"].as_str().unwrap().to_owned();
        self.walk
            .visit(D, "task_stream", Ask::with("task_id", &id), (200, ""))
            .await;
        self.walk
            .visit(D, "task_read", Ask::with("task_id", &id), (200, ""))
            .await;
    }

    /// A pool that looks ready, behind a port where nothing is answered.
    pub(crate) fn silent_pool(&self, id: &str) -> Value {
        let url = format!("http://{}", self.silent.local_addr().unwrap());
        pool(id, json!({ "endpoint": { "url": url } }))
    }
}
