//! `cancel`: ends a task.

use serde_json::json;
use uuid::Uuid;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn cancel(context: &Context, id: Uuid, output: &Output) -> Result<(), Failure> {
    context.client()?.cancel(id).await?;
    if output.is_json() {
        return output.document(&json!({ "task_id": id, "canceled": true }));
    }
    output.say(&format!("{id} is canceled, unless it had ended before"));
    Ok(())
}
