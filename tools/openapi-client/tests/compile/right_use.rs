//! Every kind of operation, used as it is meant.

use tools_openapi_client::call::{CallError, Connection};
use tools_openapi_client::generated::data::{self, SamplingRequest, TaskRequest};
use tools_openapi_client::generated::shared::{EngineName, ErrorCode, Workload};
use tools_openapi_client::generated::{control, pool};

async fn ask(connection: &Connection) -> Result<(), CallError> {
    let mut request = TaskRequest::new(
        EngineName::Llamacpp,
        "haiku".to_owned(),
        Workload::Completion,
    );
    request.prompt = Some("Write a haiku".to_owned());
    request.max_tokens = Some(16);
    request.sampling = Some(SamplingRequest {
        temperature: Some(0.0),
        ..SamplingRequest::default()
    });
    let admitted = data::task_submit(connection, Some("c-1"), &request).await?;
    assert_eq!(admitted.status, 202);
    let task = admitted.body.task_id;
    let _response = data::task_stream(connection, task, None, None).await?;
    data::task_cancel(connection, task, None).await?;
    let _text: String = control::metrics(connection, None).await?.body;
    for known in control::pool_list(connection, None).await?.body {
        match pool::pool_read(connection, &known.id, None).await {
            Err(CallError::Refused(answer)) if answer.body.code == ErrorCode::NotFound => {}
            other => drop(other?),
        }
    }
    Ok(())
}

pub(crate) async fn check() {
    // Nobody listens on the port that stands for discarding.
    let connection = Connection::new("http://127.0.0.1:9", None).expect("a client");
    let error = ask(&connection).await.expect_err("nobody answers");
    assert!(
        matches!(
            error,
            CallError::Broken {
                operation: "task_submit",
                ..
            }
        ),
        "{error}"
    );
}
