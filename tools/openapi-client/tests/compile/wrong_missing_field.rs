//! A field that must be there cannot be left out.

use tools_openapi_client::generated::shared::PoolTimeouts;

fn main() {
    let _ = PoolTimeouts { gap_ms: 1 };
}
