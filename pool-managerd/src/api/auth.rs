//! The node token at the door.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::error::ApiError;

/// The node token, by its digest, so that it is in no log and every comparison takes equal time.
#[derive(Debug)]
pub struct NodeToken([u8; 32]);

impl NodeToken {
    /// Keeps the digest of `token`.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn opens(&self, request: &Request) -> bool {
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = header
            .and_then(|text| text.strip_prefix("Bearer "))
            .unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given.trim()).into();
        self.0.ct_eq(&given).into()
    }
}

/// Lets through whoever shows the node token.
// spec: OC-POOL-3115, ORCH-3501
pub(crate) async fn require_node_token(
    State(token): State<Arc<NodeToken>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if token.opens(&request) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::Unauthorized)
    }
}
