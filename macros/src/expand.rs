//! Arguments and function put together.
//!
//! The function as it was written becomes an inner one, whole: so its types are inferred and its mistakes told as in any other function. The outer one
//! has its name, its attributes and its visibility.

use proc_macro2::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

use crate::arguments::{Arguments, Flavor};
use crate::error::{Error, Result};
use crate::function::Function;

/// Which attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Test,
}

/// What is compiled instead of `item`. After a mistake as much as is good, so that it is the only one told.
pub(crate) fn expand(kind: Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = match function(kind, item.clone()) {
        Ok(function) => function,
        Err(error) => return [item, error.into_tokens()].into_iter().collect(),
    };
    match Arguments::parse(kind, arguments) {
        Ok(arguments) => write(kind, arguments, function),
        Err(error) => {
            [write(kind, Arguments::none(kind), function), error.into_tokens()].into_iter().collect()
        }
    }
}

fn function(kind: Kind, item: TokenStream) -> Result<Function> {
    let function = Function::parse(item)?;
    match function.test {
        Some(span) if kind == Kind::Test => {
            Err(Error::new(span, "this makes it a test a second time: one attribute is enough"))
        }
        _ => Ok(function),
    }
}

fn write(kind: Kind, arguments: Arguments, function: Function) -> TokenStream {
    let Function { attributes, visibility, name, returns, body, test: _ } = function;
    let name = TokenStream::from(TokenTree::from(name));
    let nothing = Group::new(Delimiter::Parenthesis, TokenStream::new());
    let nothing = TokenStream::from(TokenTree::from(nothing));

    let mut outer = TokenStream::new();
    outer.extend([code("async fn"), name.clone(), nothing.clone(), returns.clone()]);
    outer.extend([TokenTree::from(body)]);
    // Nobody's code is to blame for the `expect`.
    outer.extend([code("#[allow(clippy::expect_used, clippy::unwrap_in_result)] let runtime =")]);
    outer.extend([arguments.path.unwrap_or_else(|| code("::egret"))]);
    outer.extend([code(match arguments.flavor {
        Flavor::MultiThread => "::Builder::new_multi_thread()",
        Flavor::CurrentThread => "::Builder::new_current_thread()",
    })]);
    if let Some(workers) = arguments.workers {
        let count = TokenTree::from(Literal::usize_suffixed(workers));
        outer.extend([code(".worker_threads")]);
        outer.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, count.into()))]);
    }
    outer.extend([code(".build().expect(\"egret's runtime can't be started\");")]);
    outer.extend([code("runtime.block_on")]);
    let call = [name.clone(), nothing.clone()].into_iter().collect();
    outer.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, call))]);

    let mut all = TokenStream::new();
    if kind == Kind::Test {
        all.extend([code("#[::core::prelude::v1::test]")]);
    }
    all.extend([attributes, visibility, code("fn"), name, nothing, returns]);
    all.extend([TokenTree::from(Group::new(Delimiter::Brace, outer))]);
    all
}

/// Tokens of ours, which belong to the attribute.
fn code(text: &str) -> TokenStream {
    let at = |mut token: TokenTree| {
        token.set_span(Span::call_site());
        token
    };
    let tokens: TokenStream = text.parse().expect("the texts in this file are tokens");
    tokens.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(kind: Kind, arguments: &str, item: &str) -> String {
        expand(kind, arguments.parse().unwrap(), item.parse().unwrap()).to_string()
    }

    /// The same tokens, whatever is between them.
    fn tokens(text: &str) -> String {
        text.parse::<TokenStream>().unwrap().to_string()
    }

    #[test]
    fn a_main_is_this() {
        let found = expanded(
            Kind::Main,
            "worker_threads = 3",
            "#[doc = \"x\"] pub async fn main() -> Result<(), E> { body }",
        );
        let expected = "#[doc = \"x\"] pub fn main() -> Result<(), E> {
            async fn main() -> Result<(), E> { body }
            #[allow(clippy::expect_used, clippy::unwrap_in_result)]
            let runtime = ::egret::Builder::new_multi_thread().worker_threads(3usize).build()
                .expect(\"egret's runtime can't be started\");
            runtime.block_on(main())
        }";
        assert_eq!(tokens(&found), tokens(expected));
    }

    #[test]
    fn a_test_is_this() {
        let found = expanded(Kind::Test, "crate = \"a::b\"", "#[should_panic] async fn it() { body }");
        let expected = "#[::core::prelude::v1::test] #[should_panic] fn it() {
            async fn it() { body }
            #[allow(clippy::expect_used, clippy::unwrap_in_result)]
            let runtime = a::b::Builder::new_current_thread().build()
                .expect(\"egret's runtime can't be started\");
            runtime.block_on(it())
        }";
        assert_eq!(tokens(&found), tokens(expected));
    }

    #[test]
    fn a_wrong_argument_leaves_a_function_so_that_it_is_the_only_error() {
        let found = expanded(Kind::Main, "flavor = \"basic\"", "async fn main() {}");
        assert!(found.contains("compile_error") && found.contains("there is no flavour `basic`"), "{found}");
        assert!(found.contains("block_on"), "{found}");
    }

    #[test]
    fn a_wrong_function_is_left_as_it_is_beside_its_error() {
        let found = expanded(Kind::Main, "", "fn main() { body }");
        assert!(found.starts_with(&tokens("fn main() { body }")), "{found}");
        assert_eq!(found.matches("compile_error").count(), 1, "{found}");
    }

    #[test]
    fn two_tests_in_one_are_an_error() {
        let found = expanded(Kind::Test, "", "#[test] async fn it() {}");
        assert!(found.contains("a test a second time"), "{found}");
        // A `main` under a test attribute is its author's business.
        assert!(!expanded(Kind::Main, "", "#[test] async fn it() {}").contains("compile_error"));
    }
}
