//! An operation takes no other operation's body, and a task's id is no free text.

use tools_openapi_client::call::Connection;
use tools_openapi_client::generated::data::{self, SamplingRequest};

fn ask(connection: &Connection) {
    drop(data::task_submit(connection, None, &SamplingRequest::default()));
    drop(data::task_read(connection, "seven", None));
}

fn main() {}
