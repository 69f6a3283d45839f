//! The API of pool-managerd.

use crate::stage::Stage;
use crate::walk::Ask;

const P: &str = "pool";

impl Stage {
    pub(crate) async fn visit_agent(&mut self) {
        for operation in ["health", "metrics", "readiness"] {
            self.walk
                .visit(P, operation, Ask::default(), (200, ""))
                .await;
        }
        let token = self.node_token.clone();
        let known = |id: &str| Ask::with("pool_id", id).key(&token);
        self.walk
            .visit(P, "node_read", Ask::default().key(&token), (200, ""))
            .await;
        for (id, expected) in [
            ("e2e", (200, "")),
            ("%FF", (400, "INVALID_PARAMS")),
            ("nowhere", (404, "NOT_FOUND")),
        ] {
            self.walk.visit(P, "pool_read", known(id), expected).await;
        }
        let node = self
            .walk
            .visit(P, "node_read", Ask::default().key(&token), (200, ""))
            .await;
        assert!(
            !node.body.contains("api_key"),
            "a worker's key is shown: {}",
            node.body
        );
    }
}
