//! Pools, nodes, discovery and probes.

use serde_json::json;

use crate::stage::{BODY_MAX, Stage, pool};
use crate::walk::{Ask, Body};

const C: &str = "control";

impl Stage {
    pub(crate) async fn visit_control_plane(&mut self) {
        for operation in [
            "health",
            "readiness",
            "metrics",
            "capabilities_read",
            "node_list",
            "pool_list",
            "pool_health",
        ] {
            self.walk
                .visit(C, operation, Ask::default(), (200, ""))
                .await;
        }
        for (id, expected) in [
            ("%FF", (400, "INVALID_PARAMS")),
            ("a%20b", (400, "INVALID_PARAMS")),
            ("nowhere", (404, "NOT_FOUND")),
        ] {
            self.walk
                .visit(C, "pool_health", Ask::with("pool_id", id), expected)
                .await;
        }
        self.visit_pushes().await;
    }

    async fn visit_pushes(&mut self) {
        let token = self.node_token.clone();
        let bad = (400, "INVALID_PARAMS");
        let good = self.state(json!([]));
        let taken = self.state(json!([pool("e2e", json!({}))]));
        let large = self.state(json!([pool("a", json!({ "cause": "x".repeat(BODY_MAX) }))]));
        let twice = self.state(json!([pool("a", json!({})), pool("a", json!({}))]));
        for (body, expected) in [
            (Body::Json(good.clone()), (200, "")),
            (Body::Json(json!({})), bad),
            (Body::Json(twice), bad),
            (Body::Raw("application/json", b"{".to_vec()), bad),
            (Body::Json(taken), (409, "CONFLICT")),
            (Body::Json(large), (413, "INVALID_PARAMS")),
            (
                Body::Raw("text/plain", good.to_string().into_bytes()),
                (415, "INVALID_PARAMS"),
            ),
        ] {
            let ask = Ask {
                body,
                ..Ask::default()
            }
            .key(&token);
            self.walk.visit(C, "node_push", ask, expected).await;
        }
        let ask = Ask {
            body: Body::Json(good),
            ..Ask::with("node_id", "a%20b")
        };
        self.walk.visit(C, "node_push", ask.key(&token), bad).await;
    }
}
