//! The attributes `#[egret::main]` and `#[egret::test]`. Use them through `egret`, which exports both (feature `macros`, on by default).
//!
//! | module | what |
//! |---|---|
//! | `arguments` | what stands in the attribute's parentheses |
//! | `function` | the parts of the function under the attribute |
//! | `expand` | both put together: the function that is compiled instead |
//!
//! The tokens are taken apart by hand. All that has to be known of a function is where its attributes end, that it is `async`, that it takes
//! nothing, and which braces are its body; a parser of the whole language would be most of what a small program compiles. What is inside of the
//! return type and the body passes through untouched, with its spans, so that errors in it are shown where they are.

mod arguments;
mod error;
mod expand;
mod function;

use proc_macro::TokenStream;

use expand::Kind;

/// Makes an `async fn main` the program's: starts a runtime, runs the function on this thread until it is complete, and ends the runtime.
///
/// # Arguments
///
/// | | |
/// |---|---|
/// | `worker_threads = 4` | how many workers; one per processor if it isn't there |
/// | `flavor = "multi_thread"` | worker threads: what it is without it |
/// | `flavor = "current_thread"` | none: everything runs on this thread |
/// | `crate = "path"` | where egret is found, if it isn't `::egret` |
///
/// # The function
///
/// It is `async`, takes nothing, and returns what a `main` may return. It need not be called `main`; another function becomes one that
/// blocks its caller, which must not be a worker. Attributes and visibility stay.
///
/// # Panics
///
/// The function it makes panics if the runtime can't be started. To handle that, use [`Builder`](https://docs.rs/egret/latest/egret/struct.Builder.html)
/// by hand, which is all that the attribute does.
///
/// # Examples
///
/// ```
/// #[egret::main(worker_threads = 2)]
/// async fn main() -> std::io::Result<()> {
///     let listener = egret::net::TcpListener::bind("127.0.0.1:0").await?;
///     assert!(listener.local_addr()?.port() > 0);
///     Ok(())
/// }
/// ```
///
/// It stands for this:
///
/// ```
/// fn main() -> std::io::Result<()> {
///     async fn main() -> std::io::Result<()> {
///         // ..
///         Ok(())
///     }
///     let runtime = egret::Builder::new_multi_thread()
///         .worker_threads(2)
///         .build()
///         .expect("egret's runtime can't be started");
///     runtime.block_on(main())
/// }
/// ```
///
/// A function with arguments has nobody to pass them:
///
/// ```compile_fail
/// #[egret::main]
/// async fn main(arguments: Vec<String>) {}
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(Kind::Main, arguments.into(), item.into()).into()
}

/// Makes an `async fn` a test that runs in a runtime of its own.
///
/// The arguments are those of [`main`](macro@main). Without any, everything runs on the test's thread (`current_thread`), as with tokio's
/// attribute: a program's tests run side by side, and a test that blocks instead of awaiting blocks its tasks, too.
///
/// The runtime ends with the test: tasks that it left behind are dropped.
///
/// # Examples
///
/// ```
/// #[egret::test]
/// async fn an_answer() {
///     assert_eq!(egret::spawn(async { 42 }).await.unwrap(), 42);
/// }
///
/// #[egret::test(worker_threads = 2)]
/// #[should_panic(expected = "on purpose")]
/// async fn a_panic() {
///     panic!("on purpose");
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(Kind::Test, arguments.into(), item.into()).into()
}
