//! A task cannot be made without its workload.

use tools_openapi_client::generated::data::TaskRequest;
use tools_openapi_client::generated::shared::EngineName;

fn main() {
    let _ = TaskRequest::new(EngineName::Llamacpp, "haiku".to_owned());
}
