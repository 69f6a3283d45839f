//! The same operations through the generated client: it reads every success of the real daemons.

use serde_json::json;
use tools_openapi_client::call::{CallError, Connection};
use tools_openapi_client::generated::data::{self, TaskRequest};
use tools_openapi_client::generated::shared::{EngineName, ErrorCode, NodeState, Workload};
use tools_openapi_client::generated::{control, pool};

use crate::stage::Stage;

const ID: Option<&str> = Some("walk-client");

impl Stage {
    pub(crate) async fn visit_with_the_client(&mut self) {
        let daemon = Connection::new(&self.walk.bases[0], None).unwrap();
        let agent = Connection::new(&self.walk.bases[1], Some(&self.node_token)).unwrap();
        run_a_task(&daemon).await.unwrap();
        look_around(&daemon).await.unwrap();
        look_at_a_host(&agent).await.unwrap();
        let state: NodeState = serde_json::from_value(self.state(json!([]))).unwrap();
        let pusher = Connection::new(&self.walk.bases[0], Some(&self.node_token)).unwrap();
        let lease = control::node_push(&pusher, "walk-host", ID, &state)
            .await
            .unwrap();
        assert!(lease.body.lease_ms > lease.body.renew_ms);
        match control::node_push(&daemon, "walk-host", ID, &state).await {
            Err(CallError::Refused(answer)) => {
                assert_eq!(
                    (answer.status.as_u16(), answer.body.code),
                    (401, ErrorCode::Unauthorized)
                );
            }
            other => panic!("a push without the token: {other:?}"),
        }
    }
}

async fn run_a_task(daemon: &Connection) -> Result<(), CallError> {
    let mut request =
        TaskRequest::new(EngineName::Llamacpp, "e2e".to_owned(), Workload::Completion);
    request.prompt = Some("Write a haiku about the moon.".to_owned());
    request.max_tokens = Some(8);
    let admitted = data::task_submit(daemon, ID, &request).await?;
    assert_eq!(admitted.headers["x-correlation-id"], "walk-client");
    let task = admitted.body.task_id;
    let stream = data::task_stream(daemon, task, None, ID)
        .await?
        .text()
        .await
        .unwrap();
    assert!(stream.contains("event: end"), "{stream}");
    let status = data::task_read(daemon, task, ID).await?.body;
    assert_eq!(status.task_id, task);
    data::task_cancel(daemon, task, ID).await?;
    Ok(())
}

async fn look_around(daemon: &Connection) -> Result<(), CallError> {
    assert_eq!(control::health(daemon, ID).await?.body, "ok\n");
    assert_eq!(control::readiness(daemon, ID).await?.body, "ready\n");
    assert!(
        control::metrics(daemon, ID)
            .await?
            .body
            .contains("tokens_out_total")
    );
    assert!(
        !control::capabilities_read(daemon, ID)
            .await?
            .body
            .pools
            .is_empty()
    );
    assert!(!control::node_list(daemon, ID).await?.body.is_empty());
    assert!(!control::pool_list(daemon, ID).await?.body.is_empty());
    assert!(control::pool_health(daemon, "e2e", ID).await?.body.ready);
    Ok(())
}

async fn look_at_a_host(agent: &Connection) -> Result<(), CallError> {
    assert!(pool::health(agent, ID).await?.body.starts_with("ok "));
    assert_eq!(pool::readiness(agent, ID).await?.body, "ready\n");
    assert!(
        pool::metrics(agent, ID)
            .await?
            .body
            .contains("pool_preloads_total")
    );
    let node = pool::node_read(agent, ID).await?.body;
    assert_eq!(
        pool::pool_read(agent, "e2e", ID).await?.body.state.id,
        node.pools[0].id
    );
    Ok(())
}
