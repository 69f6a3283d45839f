//! Ids in paths, checked before any work is done for them.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use orchestrator_core::ids::{InvalidId, NodeId, PoolId};
use uuid::Uuid;

use crate::api::error::ApiError;

/// The task of `/v1/tasks/{id}`.
pub(crate) struct TaskPath(pub(crate) Uuid);

/// The pool of `/v1/pools/{id}`.
pub(crate) struct PoolPath(pub(crate) PoolId);

/// The node of `/v1/nodes/{id}`.
pub(crate) struct NodePath(pub(crate) NodeId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state, "task_id").await?;
        task_id(&text).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PoolPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state, "pool_id").await?;
        PoolId::parse(&text)
            .map(Self)
            .map_err(|problem| bad_id("pool_id", problem))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NodePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state, "node_id").await?;
        NodeId::parse(&text)
            .map(Self)
            .map_err(|problem| bad_id("node_id", problem))
    }
}

async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, ApiError> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text)
        .map_err(|_| ApiError::field(name, "in the path is not UTF-8"))
}

/// The usual form only: one id has one spelling but for the case of its digits.
// spec: OC-CTRL-2116
fn task_id(text: &str) -> Result<Uuid, ApiError> {
    let usual = text.len() == 36;
    Uuid::try_parse(text).ok().filter(|_| usual).ok_or_else(|| {
        ApiError::field(
            "task_id",
            "must be a UUID such as 6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e",
        )
    })
}

fn bad_id(field: &str, InvalidId: InvalidId) -> ApiError {
    ApiError::field(field, format!("is not an id: {InvalidId}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-CTRL-2116
    #[test]
    fn only_the_usual_form_of_a_task_id_is_read() {
        assert!(task_id("6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e").is_ok());
        for bad in [
            "",
            "7",
            "6f0c1f9e58d44ac58d8f0d8a3b1f2c4e",
            "{6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e}",
            "urn:uuid:6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e",
            "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4g",
        ] {
            assert!(task_id(bad).is_err(), "{bad:?}");
        }
    }
}
