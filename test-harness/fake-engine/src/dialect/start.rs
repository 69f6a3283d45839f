//! How each engine says that it cannot start. These are the words that a supervisor has to read a
//! reason from; unlike the answers over HTTP they were not recorded here.

use std::net::SocketAddr;

use super::Dialect;
use crate::script::behaviour::StartFailure;

/// A start that failed: what stands on standard error, and the exit code.
pub(crate) fn failure(
    dialect: Dialect,
    failure: StartFailure,
    address: SocketAddr,
) -> (String, u8) {
    match failure {
        StartFailure::Oom => (out_of_memory(dialect).to_owned(), 1),
        StartFailure::PortTaken => (port_taken(dialect, address), 1),
        StartFailure::WrongModel => (wrong_model(dialect).to_owned(), 1),
        StartFailure::MissingLibrary => (
            "error while loading shared libraries: libcudart.so.12: cannot open shared object \
             file: No such file or directory"
                .to_owned(),
            127,
        ),
    }
}

fn out_of_memory(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Llamacpp => {
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: \
             cudaMalloc failed: out of memory\n\
             alloc_tensor_range: failed to allocate CUDA0 buffer of size 4294967296\n\
             llama_model_load: error loading model: unable to allocate CUDA0 buffer\n\
             main: exiting due to model loading error"
        }
        Dialect::Vllm | Dialect::Tgi => {
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a \
             total capacity of 23.99 GiB of which 1.25 GiB is free."
        }
        Dialect::Triton => {
            "[TensorRT-LLM][ERROR] CUDA runtime error in cudaMallocAsync: out of memory\n\
             error: creating server: Internal - failed to load all models"
        }
    }
}

fn port_taken(dialect: Dialect, address: SocketAddr) -> String {
    let (host, port) = (address.ip(), address.port());
    match dialect {
        Dialect::Llamacpp => {
            format!("couldn't bind HTTP server socket, hostname: {host}, port: {port}")
        }
        Dialect::Vllm => format!(
            "[Errno 98] error while attempting to bind on address ('{host}', {port}): address \
             already in use"
        ),
        Dialect::Tgi => {
            "Error: Webserver(Axum(Os { code: 98, kind: AddrInUse, message: \"Address already in \
             use\" }))"
                .to_owned()
        }
        Dialect::Triton => format!(
            "failed to start HTTP service: Unavailable - Socket '{host}:{port}' already in use"
        ),
    }
}

fn wrong_model(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Llamacpp => {
            "llama_model_load: error loading model: error loading model architecture: unknown \
             model architecture: 'unheard-of'\n\
             main: exiting due to model loading error"
        }
        Dialect::Vllm => {
            "ValueError: Model architectures ['UnheardOfForCausalLM'] are not supported for now."
        }
        Dialect::Tgi => "ValueError: Unsupported model type unheard-of",
        Dialect::Triton => {
            "UNAVAILABLE: Internal: unable to load model, configuration expects an unknown backend\n\
             error: creating server: Internal - failed to load all models"
        }
    }
}
