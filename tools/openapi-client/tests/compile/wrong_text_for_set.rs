//! A text is not a member of a closed set.

use tools_openapi_client::generated::data::TaskRequest;
use tools_openapi_client::generated::shared::Workload;

fn main() {
    let _ = TaskRequest::new("llamacpp", "haiku".to_owned(), Workload::Completion);
}
