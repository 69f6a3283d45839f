//! A closed set has no other names.

use tools_openapi_client::generated::shared::EngineName;

fn main() {
    let _ = EngineName::Onnx;
}
