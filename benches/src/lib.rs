//! Benchmarks of egret, side by side with its peers.
//!
//! What lives here: what every contestant shares, so that a comparison compares runtimes and nothing else. The harness is
//! the binary `compare`, see `src/bin/compare/main.rs`.

// The HTTP codec of the example `http_echo`, the very same file; its unit tests run with this crate's.
#[path = "../../examples/http_echo/codec.rs"]
pub mod codec;

pub mod session;
